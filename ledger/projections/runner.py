"""The projection runner: page → fold → rows → position, in one transaction.

View rows and the position they stand for commit together, so each fact counts exactly once,
whatever is killed when. All tables of a projection can be dropped and built again from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ledger.facts import Fact
from ledger.projections.rows import Rows
from ledger.store.database import writing
from ledger.store.logs import LogHead, all_heads, read_log
from ledger.store.schema import METADATA, tracking

PAGE: Final = 500
"""Facts per transaction."""


class Projection(Protocol):
    """A view: its name, the tables it alone writes, and its fold."""

    @property
    def name(self) -> str:
        """What its position is kept under."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """The tables it alone writes."""
        ...

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact; facts it does not know change nothing."""
        ...


def catch_up(
    engine: Engine,
    projections: Iterable[Projection],
    *,
    on_page: Callable[[str, int, int], None] | None = None,
) -> None:
    """Bring every projection of every arena to the head its log has now.

    ``on_page(projection, position, head)`` is told of each page, for progress displays.
    """
    with engine.connect() as connection:
        heads = all_heads(connection)
        rows = connection.execute(select(tracking))
        known = {(row.projection, row.log_id): row.position for row in rows}
    for projection in projections:
        for head in heads:
            # A view that is up to date is not written to: readers take no write lock.
            position = known.get((projection.name, head.log_id), 0)
            while position < head.position:
                position = _page(engine, projection, head)
                if on_page is not None:
                    on_page(projection.name, position, head.position)


def rebuild(
    engine: Engine,
    projections: Sequence[Projection],
    *,
    on_page: Callable[[str, int, int], None] | None = None,
) -> None:
    """Drop the tables of these projections, make them anew and replay the log into them.

    The table of positions is made where somebody dropped it too; the log is only read.
    """
    tables = [table for projection in projections for table in projection.tables]
    names = [projection.name for projection in projections]
    with writing(engine) as connection:
        METADATA.drop_all(connection, tables=tables)
        METADATA.create_all(connection, tables=[*tables, tracking])
        connection.execute(delete(tracking).where(tracking.c.projection.in_(names)))
    catch_up(engine, projections, on_page=on_page)


def _page(engine: Engine, projection: Projection, head: LogHead) -> int:
    with writing(engine) as connection:
        position = _locked_position(connection, projection.name, head.log_id)
        page = read_log(connection, head.log_id, after=position, limit=PAGE)
        if not page:
            return max(position, head.position)
        rows = Rows(connection, head.log_id)
        for logged in page:
            projection.fold(rows, logged.position, logged.fact)
        rows.write()
        connection.execute(
            update(tracking)
            .where(tracking.c.projection == projection.name, tracking.c.log_id == head.log_id)
            .values(position=page[-1].position)
        )
        return page[-1].position


def _locked_position(connection: Connection, name: str, log_id: int) -> int:
    query = select(tracking.c.position).where(
        tracking.c.projection == name, tracking.c.log_id == log_id
    )
    position: int | None = connection.execute(query.with_for_update()).scalar()
    if position is None:
        try:
            with connection.begin_nested():
                first = insert(tracking).values(projection=name, log_id=log_id, position=0)
                connection.execute(first)
        except IntegrityError:  # another process began this view first: go on where it stands
            return int(connection.execute(query.with_for_update()).scalar_one())
        return 0
    return position
