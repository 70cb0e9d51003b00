"""How things stood in the log before one of its facts: what a decision of then rested on."""

from __future__ import annotations

from typing import TypeVar, cast
from uuid import UUID

from sqlalchemy import func, select

from ledger.application import Ledger
from ledger.decisions.arena import Arena
from ledger.decisions.base import Aggregate
from ledger.facts import Fact
from ledger.keys import arena_id
from ledger.store.schema import events

AggregateT = TypeVar("AggregateT", bound=Aggregate)


class StandingBefore:
    """The aggregates as they were when ``fact`` was recorded; ``LookupError`` if it never was."""

    def __init__(self, ledger: Ledger, fact: Fact) -> None:
        self.block = fact.effective_block
        self._ledger = ledger
        query = select(events.c.log_id, events.c.position).where(events.c.fact_key == fact.fact_key)
        with ledger.engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            msg = f"fact '{fact.fact_key}' is not in the log"
            raise LookupError(msg)
        self._log_id, self._position = row

    @property
    def arena(self) -> Arena:
        """The arena's own aggregate then."""
        return self.get(Arena, arena_id(self._ledger.arena))

    def get(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """The aggregate of that id then; a new one, of version 0, if nothing had happened to it."""
        query = select(func.max(events.c.originator_version)).where(
            events.c.originator_id == aggregate_id,
            events.c.log_id == self._log_id,
            events.c.position < self._position,
        )
        with self._ledger.engine.connect() as connection:
            newest = connection.execute(query).scalar()
        found = kind(aggregate_id)
        if newest is not None:
            for fact in self._ledger.events.get(aggregate_id, lte=newest):
                found.take(cast("Fact", fact))
        return found
