"""What the aggregates share: an id, a version, and the facts not yet recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Final, Self, TypeVar
from uuid import UUID

from ledger.facts import Context, Fact

EventT = TypeVar("EventT", bound=Fact)
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})
"""The map that an aggregate begins with."""


class DecisionRefusedError(Exception):
    """A command that the aggregate's rule forbids; the message is one sentence for its sender."""


class Aggregate:
    """An aggregate in the sense of the eventsourcing library (its mutable-aggregate protocol).

    ``version`` counts its facts, recorded and pending; 0 means that nothing has happened to it.
    ``sink`` takes the pending facts: a unit of work gives all its aggregates the same one, so that
    facts are recorded in the order in which they were decided.

    A subclass declares its state as class attributes with a type and the value it begins with. The
    values are never changed in place, only replaced: so two copies share them, and one does not
    see what the other takes. They are what a snapshot keeps (:mod:`ledger.store.snapshots`).
    """

    STATE_VERSION: ClassVar[int] = 1
    """Raise it where ``apply`` gives the same attributes another meaning: it makes the snapshots
    of earlier programs unreadable, and they are made anew."""
    BESIDE: ClassVar[tuple[ModuleType, ...]] = ()
    """Modules that hold facts of this aggregate, or steps by which old ones are read: a snapshot is
    only read by a program that has the same ones."""

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

    def twin(self, sink: list[Fact]) -> Self:
        """The same state for another unit of work, whose pending facts go to ``sink``."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.sink = sink
        return twin

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
        self.sink.append(fact)
        self.take(fact)
        return fact


def without(mapping: Mapping[KeyT, ValueT], key: KeyT) -> Mapping[KeyT, ValueT]:
    """The same map without a key; itself where the key is not in it."""
    if key not in mapping:
        return mapping
    return {name: value for name, value in mapping.items() if name != key}
