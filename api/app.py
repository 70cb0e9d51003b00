"""The composition root: settings in, an open ledger with its views out. Wired here, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from api.settings import Settings
from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.queries.scope import Scope, find_arena, scope_at
from ledger.store.database import open_engine
from ledger.store.logs import LogHead, all_heads
from ledger.store.migrate import require_schema


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
        """An open read of an arena at a block (the newest by default), on views up to date."""
        self.refresh()
        with self.engine.connect() as connection:
            yield scope_at(connection, find_arena(connection, network, netuid), block)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


def open_services(settings: Settings) -> Services:
    """Open the database; an empty one gets its tables. Raises ``DatabaseError`` with what to do."""
    engine = open_engine(settings.database_url)
    require_schema(engine)
    return Services(settings, engine)
