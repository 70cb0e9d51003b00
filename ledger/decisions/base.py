"""What the aggregates share: an id, a version, and the facts not yet recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar
from uuid import UUID

from ledger.facts import Context, Fact

EventT = TypeVar("EventT", bound=Fact)


class DecisionRefusedError(Exception):
    """A command that the aggregate's rule forbids; the message is one sentence for its sender."""


class Aggregate:
    """An aggregate in the sense of the eventsourcing library (its mutable-aggregate protocol).

    ``version`` counts its facts, recorded and pending; 0 means that nothing has happened to it.
    ``sink`` takes the pending facts: a unit of work gives all its aggregates the same one, so that
    facts are recorded in the order in which they were decided.
    """

    def __init__(self, aggregate_id: UUID) -> None:
        self.id = aggregate_id
        self.version = 0
        self.last: Fact | None = None
        self.sink: list[Fact] = []

    @classmethod
    def project(cls, aggregate: Self | None, facts: Iterable[Fact]) -> Self | None:
        """Replay ``facts`` onto ``aggregate``; None if there are none (the library's projector)."""
        for fact in facts:
            if aggregate is None:
                aggregate = cls(fact.originator_id)
            aggregate.take(fact)
        return aggregate

    def take(self, fact: Fact) -> None:
        """Move on by one fact."""
        self.apply(fact)
        self.version = fact.originator_version
        self.last = fact

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact. Must accept everything :meth:`record` ever produced."""
        raise NotImplementedError

    def record(
        self, context: Context, event: type[EventT], fact_key: str, /, **content: Any
    ) -> EventT:
        """Make a fact of this aggregate pending, and apply it."""
        fact = event(
            originator_id=self.id,
            originator_version=self.version + 1,
            arena=str(context.arena),
            fact_key=fact_key,
            effective_block=context.block,
            causation=context.causation,
            correlation=context.correlation,
            **content,
        )
        self.take(fact)
        self.sink.append(fact)
        return fact
