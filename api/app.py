"""The composition root: settings in, an open ledger with its views out. Wired here, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from api.settings import Settings
from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.queries.scope import Scope, ViewBehindError, find_arena, scope_at
from ledger.store.database import DatabaseError, open_engine, place_of
from ledger.store.logs import LogHead, all_heads
from ledger.store.migrate import require_schema, schema_state

REFRESH_TRIES: Final = 5
"""How often views are brought up to date for one question while writers keep adding facts."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a face needs. Writing goes through :meth:`ledger`, reading through :meth:`at`."""

    settings: Settings
    engine: Engine

    def arenas(self) -> list[LogHead]:
        """All arenas' logs."""
        with self.engine.connect() as connection:
            return all_heads(connection)

    def ledger(self, network: str, netuid: int) -> Ledger:
        """The arena's application; raises ``UnknownArenaError``."""
        with self.engine.connect() as connection:
            head = find_arena(connection, network, netuid)
        return Ledger(self.engine, head.arena)

    def refresh(self) -> None:
        """Bring all views up to date with the log."""
        catch_up(self.engine, PROJECTIONS)

    @contextmanager
    def at(self, network: str, netuid: int, block: int | None = None) -> Iterator[Scope]:
        """An open read of an arena at a block (the newest by default).

        Every view has folded at least the prefix that is read. Views are only written to where one
        lags, so that a read costs no write lock. Raises ``UnknownArenaError``,
        ``BlockOutOfRangeError``, and ``ViewBehindError`` if writers stay faster for
        :data:`REFRESH_TRIES` tries.
        """
        for left in reversed(range(REFRESH_TRIES)):
            with self.engine.connect() as connection:
                scope = scope_at(connection, find_arena(connection, network, netuid), block)
                try:
                    # Asked in the read itself: a fact recorded after a refresh is seen here.
                    scope.needs(PROJECTIONS)
                except ViewBehindError:
                    if not left:
                        raise
                else:
                    yield scope
                    return
            self.refresh()

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


def open_services(
    settings: Settings, *, create: bool = True, views_may_lack: bool = False
) -> Services:
    """Open the database. Raises ``DatabaseError`` with what to do.

    With ``create`` a missing SQLite file is made and an empty database gets its tables; without, a
    mistyped name leaves nothing behind. With ``views_may_lack`` tables of views may be missing,
    for whoever is about to make them.
    """
    engine = open_engine(settings.database_url)
    if not create:
        require_file(engine)
        if schema_state(engine) == "empty":
            msg = f"the database at {place_of(engine)} is empty; {_MAKE_ONE}"
            raise DatabaseError(msg)
    require_schema(engine, views_may_lack=views_may_lack)
    return Services(settings, engine)


def require_file(engine: Engine) -> None:
    """Raise ``DatabaseError`` where connecting would make a new SQLite file."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:":
        return
    # A `file:` URI says by its own `mode` whether the file may be made.
    if not name.startswith("file:") and not Path(name).exists():
        msg = f"there is no database at {place_of(engine)}; {_MAKE_ONE}"
        raise DatabaseError(msg)


_MAKE_ONE: Final = (
    "name another in LEDGER_DATABASE_URL, or make it with 'cacheon-ledger arena open' or "
    "'cacheon-ledger db upgrade'"
)
