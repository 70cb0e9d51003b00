"""Making views anew from the log, beside the live ones, and putting them in their place at once.

The new tables have their own names and kept positions, and get their indexes when they are full,
which is faster. Reads go on from the live tables until one transaction takes the new ones in.
Whoever starts a rebuild begins at the first fact, also where an earlier one was left half-way: it
may be of an older program. Two rebuilds of the same views at once are two runners of one view:
they share the work, and the first one that is done puts it in place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import (
    Connection,
    Engine,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    delete,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from ledger.projections.runner import PAGE, OnPage, Projection, Runner
from ledger.store.bell import bell_of
from ledger.store.database import DatabaseError, folding, writing
from ledger.store.logs import all_heads, read_page
from ledger.store.many_rows import quoted
from ledger.store.schema import METADATA, snapshots, tracking
from ledger.store.tracking import locked_place

NEXT: Final = "__next"
"""What the names of new tables, of their indexes and of their kept positions end in."""

LOCK_WAIT_MS: Final = 200
"""How long putting a view in place waits for its readers: less than PostgreSQL takes to call it a
deadlock, so that never a reader is the one that is sent away."""

_TURNS_LOCK: Final = 0x6361_6368_656F_6F
"""PostgreSQL's advisory lock of whoever makes, fills, indexes or renames new tables."""

PLACING_TRIES: Final = 150
_PAUSE_S: Final = 0.2


def rebuild(
    engine: Engine, projections: Iterable[Projection], *, on_page: OnPage | None = None
) -> None:
    """Replay the log into new tables of these projections, and put them in the place of the old.

    The tables of positions and of snapshots are made where somebody dropped them, too; the log is
    only read. Raises
    :class:`~ledger.store.database.DatabaseError` if readers held a view for the whole of
    :data:`PLACING_TRIES` tries; the live views stand as they were then.
    """
    projections = tuple(projections)
    _begin(engine, projections)
    with _unless_placed_by_another(engine, projections):
        _runner(engine, projections).catch_up(on_page=on_page)
    for projection in projections:
        with _unless_placed_by_another(engine, (projection,)):
            _place(engine, projection)
    bell_of(engine).ring()


def _runner(engine: Engine, projections: tuple[Projection, ...]) -> Runner:
    return Runner(engine, projections, suffix=NEXT, transaction=_filling_tables)


@contextmanager
def _changing_tables(engine: Engine) -> Iterator[Connection]:
    """One transaction that makes or renames tables."""
    with writing(engine) as connection:
        _wait_for_turn(connection)
        yield connection


@contextmanager
def _filling_tables(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes a page to new tables."""
    with folding(engine) as connection:
        _wait_for_turn(connection)
        yield connection


def _wait_for_turn(connection: Connection) -> None:
    """Rebuilds of one database at once take turns; SQLite lets only one writer in anyway."""
    if connection.dialect.name == "postgresql":
        # Another one may be indexing for minutes; what comes after waits no longer than usual.
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.execute(select(func.pg_advisory_xact_lock(_TURNS_LOCK)))
        connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")


def _begin(engine: Engine, projections: tuple[Projection, ...]) -> None:
    metadata = MetaData()
    shadows = [_shadow(table, metadata) for table in _tables(projections)]
    names = [projection.name + NEXT for projection in projections]
    with _changing_tables(engine) as connection:
        METADATA.create_all(connection, tables=[tracking, snapshots])
        metadata.drop_all(connection, tables=shadows)
        metadata.create_all(connection, tables=shadows)
        connection.execute(delete(tracking).where(tracking.c.projection.in_(names)))


def _tables(projections: Iterable[Projection]) -> list[Table]:
    return [table for projection in projections for table in projection.tables]


def _shadow(table: Table, metadata: MetaData) -> Table:
    """The new table beside a live one: its columns and primary key, no other index yet."""
    columns = [column._copy() for column in table.columns]
    key = PrimaryKeyConstraint(
        *(column.name for column in table.primary_key), name=f"pk_{table.name}{NEXT}"
    )
    with_rowid = table.dialect_options["sqlite"]["with_rowid"]
    return Table(table.name + NEXT, metadata, *columns, key, sqlite_with_rowid=with_rowid)


@contextmanager
def _unless_placed_by_another(
    engine: Engine, projections: tuple[Projection, ...]
) -> Iterator[None]:
    """Another rebuild may be done first: then there is nothing left to fold or to place."""
    try:
        yield
    except DBAPIError:  # a table is missing, which says so: or it is something else
        there = set(inspect(engine).get_table_names())
        if all(table.name + NEXT in there for table in _tables(projections)):
            raise


def _index(engine: Engine, projection: Projection) -> None:
    """Give the new tables their indexes, under names of their own."""
    with _changing_tables(engine) as connection:
        for table in projection.tables:
            shadow = _shadow(table, MetaData())
            for index in _indexes(table):
                own = Index(
                    f"{index.name}{NEXT}",
                    *(shadow.c[column.name] for column in index.columns),
                    postgresql_where=index.dialect_options["postgresql"]["where"],
                )
                own.create(connection, checkfirst=True)


def _place(engine: Engine, projection: Projection) -> None:
    runner = _runner(engine, (projection,))
    for _ in range(PLACING_TRIES):
        # What was recorded meanwhile, or everything where another rebuild began anew: in pages of
        # its own, so that little is left for the transaction that changes the tables.
        runner.catch_up()
        if engine.dialect.name == "postgresql":
            _index(engine, projection)
        try:
            with _changing_tables(engine) as connection:
                if _swap(connection, runner, projection):
                    return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
                raise
            time.sleep(_PAUSE_S)
    msg = (
        f"the new view '{projection.name}' could not be put in place: somebody reads or folds the "
        "old one without end, or begins a rebuild again and again; end that and rebuild again"
    )
    raise DatabaseError(msg)


def _swap(connection: Connection, runner: Runner, projection: Projection) -> bool:
    """Put the new tables in the place of the live ones; whether nothing is left to do.

    What little came meanwhile is folded here. Nothing is changed where more than a page came, or
    where another rebuild made the new tables anew, without indexes.
    """
    there = set(inspect(connection).get_table_names())
    if not all(table.name + NEXT in there for table in projection.tables):
        # Another rebuild was done first. Facts of no concern may have moved the new position on.
        connection.execute(delete(tracking).where(tracking.c.projection == projection.name + NEXT))
        return True
    generations: dict[int, int] = {}
    for head in all_heads(connection):
        # A live runner holds this row while it writes: nobody else does until this is committed.
        live = locked_place(connection, projection.name, head.log_id)
        generations[head.log_id] = live.generation + 1
        at = locked_place(connection, projection.name + NEXT, head.log_id).position
        if head.position - at > PAGE:
            return False
        while at < head.position:
            page = read_page(
                connection, head.log_id, after=at, upto=head.position, topics=runner.topics
            )
            at = runner.fold(connection, head.log_id, projection, page)
    if connection.dialect.name == "postgresql":
        if not _all_indexed(connection, projection):
            return False
        _lock(connection, [table for table in projection.tables if table.name in there])
    METADATA.drop_all(connection, tables=projection.tables)
    for table in projection.tables:
        rename = f"ALTER TABLE {quoted(table.name + NEXT)} RENAME TO {quoted(table.name)}"
        connection.exec_driver_sql(rename)
        _name_indexes(connection, table)
    kept = tracking.c.projection
    connection.execute(delete(tracking).where(kept == projection.name))
    for log_id, generation in generations.items():
        connection.execute(
            update(tracking)
            .where(kept == projection.name + NEXT, tracking.c.log_id == log_id)
            .values(projection=projection.name, generation=generation)
        )
    return True


def _all_indexed(connection: Connection, projection: Projection) -> bool:
    found = inspect(connection)
    return all(
        {f"{index.name}{NEXT}" for index in table.indexes}
        <= {index["name"] for index in found.get_indexes(table.name + NEXT)}
        for table in projection.tables
    )


def _lock(connection: Connection, tables: list[Table]) -> None:
    """Wait, not long, for the readers of PostgreSQL's tables."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
    if tables:
        names = ", ".join(quoted(table.name) for table in tables)
        connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")


def _name_indexes(connection: Connection, table: Table) -> None:
    if connection.dialect.name == "postgresql":
        names = [f"pk_{table.name}", *(str(index.name) for index in _indexes(table))]
        for name in names:
            rename = f"ALTER INDEX {quoted(name + NEXT)} RENAME TO {quoted(name)}"
            connection.exec_driver_sql(rename)
        return
    for index in _indexes(table):  # SQLite cannot rename one, and the old one had the name
        index.create(connection)


def _indexes(table: Table) -> list[Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))
