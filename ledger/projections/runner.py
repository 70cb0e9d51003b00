"""The projection runner: page → fold → rows → position, in one transaction.

View rows and the position they stand for commit together, so each fact counts exactly once,
whatever is killed when and however many runners there are. A page of the log is read and decoded
once for all views that lag; each view then folds it in a transaction of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import DBAPIError

from ledger.facts import Fact
from ledger.projections.garbage import not_collecting
from ledger.projections.rows import Rows
from ledger.store.bell import bell_of
from ledger.store.codec import topics_of
from ledger.store.database import folding
from ledger.store.logs import LogHead, LogPage, all_heads, read_page
from ledger.store.tracking import OTHERS_POLL_S, Place, locked_place, move_to, positions
from ledger.store.writer import writer_of

PAGE: Final = 10_000
"""Positions per transaction (and at most ``MAX_PAGE_BYTES`` of facts)."""

MAX_KEPT_VIEWS: Final = 16
"""Of so many views and arenas, those folded last, a runner keeps rows from page to page."""

OnPage = Callable[[str, int, int], None]
"""Told of each page of a view: its name, its position, and the head it is on its way to."""


class FoldFailedError(Exception):
    """A view cannot take a fact of the log; the message names both."""


class Projection(Protocol):
    """A view: its name, the tables it alone writes, the facts it knows, and its fold."""

    @property
    def name(self) -> str:
        """What its position is kept under."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """The tables it alone writes."""
        ...

    @property
    def knows(self) -> Sequence[type[Fact]]:
        """The facts that change its rows; no other is read for it."""
        ...

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact that it knows."""
        ...


def catch_up(
    engine: Engine, projections: Iterable[Projection], *, on_page: OnPage | None = None
) -> None:
    """Bring every projection of every arena to the head its log has now.

    Raises :class:`FoldFailedError`.
    """
    Runner(engine, projections).catch_up(on_page=on_page)


def follow(
    engine: Engine,
    projections: Iterable[Projection],
    stop: threading.Event,
    *,
    on_page: OnPage | None = None,
) -> None:
    """Keep every projection at the head of every log until ``stop`` is set.

    What this process appends is folded at once, what others append within
    :data:`~ledger.store.tracking.OTHERS_POLL_S`. Raises what the database says where it cannot be
    used; begun again, it goes on where the views stand.
    """
    runner, writer = Runner(engine, projections), writer_of(engine)
    appends = writer.wait_for_append(-1, 0)
    while not stop.is_set():
        runner.catch_up(on_page=on_page)
        appends = writer.wait_for_append(appends, OTHERS_POLL_S)


class Runner:
    """Folds the logs of one database into some projections.

    It keeps the rows it last read or wrote, so that a page reads few of them again; they count only
    as long as no other runner moved the view on. ``suffix`` is appended to the names of tables and
    of kept positions: a rebuild runs beside the live views. Not for two threads at once.
    """

    def __init__(
        self,
        engine: Engine,
        projections: Iterable[Projection],
        *,
        suffix: str = "",
        transaction: Callable[[Engine], AbstractContextManager[Connection]] = folding,
    ) -> None:
        self._engine = engine
        self._projections = tuple(projections)
        self._suffix = suffix
        self._transaction = transaction
        known = {kind for projection in self._projections for kind in projection.knows}
        self.topics = topics_of(known)
        """What is read of the log for any of them."""
        self._kept: dict[tuple[str, int], tuple[Place, Rows]] = {}

    def catch_up(self, *, on_page: OnPage | None = None) -> None:
        """Bring every projection of every arena to the head its log has now."""
        with self._engine.connect() as connection:
            heads = all_heads(connection)
            known = positions(connection)
        for head in heads:
            # A view that is up to date is not written to: readers take no write lock.
            behind = {
                projection: position
                for projection in self._projections
                if (position := known.get((projection.name + self._suffix, head.log_id), 0))
                < head.position
            }
            while behind:
                behind = self._page(head, behind, on_page)

    def _page(
        self, head: LogHead, behind: dict[Projection, int], on_page: OnPage | None
    ) -> dict[Projection, int]:
        """One page for those that stand at its beginning or inside it; who is still behind."""
        with not_collecting():
            return self._folded(head, behind, on_page)

    def _folded(
        self, head: LogHead, behind: dict[Projection, int], on_page: OnPage | None
    ) -> dict[Projection, int]:
        after = min(behind.values())
        with self._engine.connect() as connection:
            upto = min(after + PAGE, head.position)
            page = read_page(connection, head.log_id, after=after, upto=upto, topics=self.topics)
        for projection, position in behind.items():
            if position >= page.upto:
                continue
            with self._transaction(self._engine) as connection:
                moved = self.fold(connection, head.log_id, projection, page)
            bell_of(self._engine).ring()
            behind[projection] = moved
            if on_page is not None:
                on_page(projection.name, moved, head.position)
        return {one: position for one, position in behind.items() if position < head.position}

    def fold(
        self, connection: Connection, log_id: int, projection: Projection, page: LogPage
    ) -> int:
        """Fold what is new of a page in the open transaction; where the view stands then."""
        view = projection.name + self._suffix
        place = locked_place(connection, view, log_id)
        at = place.position
        if not page.after <= at < page.upto:
            return at  # another runner was faster, or began anew
        kept_at, rows = self._kept.pop((view, log_id), (None, None))
        if rows is None or kept_at != place:
            rows = Rows(connection, log_id, self._suffix)
        rows.use(connection)
        knows = frozenset(projection.knows)
        for logged in page.facts:
            position, fact = logged.position, logged.fact
            if position > at and type(fact) in knows:
                try:
                    projection.fold(rows, position, fact)
                except DBAPIError:  # the database's failure and not the fact's: told as any other
                    raise
                except Exception as error:
                    msg = (
                        f"the view '{projection.name}' cannot take '{fact.fact_key}' "
                        f"({fact.topic}, position {position}): {error}"
                    )
                    raise FoldFailedError(msg) from error
        rows.write()
        move_to(connection, view, log_id, page.upto)
        # Only a commit makes them true; where it fails, the position differs and they are let go.
        self._kept[view, log_id] = (Place(page.upto, place.generation), rows)
        while len(self._kept) > MAX_KEPT_VIEWS:
            del self._kept[next(iter(self._kept))]
        return page.upto
