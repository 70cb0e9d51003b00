"""Facts: what every event of the log carries, and the registry of their names.

A fact is an immutable record, named in the past tense. ``fact_key`` is unique in the installation:
the same fact again is a no-op, the same key with other content is a conflict. ``effective_block``
is the last finalized block ingested when it was recorded, so within an arena it never decreases.
``causation`` is the key of the fact it followed from, ``correlation`` that of the first one in the
chain, so that a payout can be walked back to the extrinsic that began it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self, TypeVar
from uuid import UUID

import msgspec

from ledger.keys import ArenaKey, natural_id

ENVELOPE: Final = frozenset(
    {
        "originator_id",
        "originator_version",
        "arena",
        "fact_key",
        "effective_block",
        "causation",
        "correlation",
    }
)
"""The fields that say how a fact was recorded; the rest is what it says."""

MAX_FACT_BYTES: Final = 1_048_576
MAX_FACT_KEY_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Context:
    """Where and why a fact is being recorded: its arena, the block, and what it follows from."""

    arena: ArenaKey
    block: int
    causation: str | None = None
    correlation: str | None = None

    def because(self, fact: Fact) -> Context:
        """The context of what follows from ``fact``."""
        return replace(self, causation=fact.fact_key, correlation=fact.correlation or fact.fact_key)


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all events. Subclasses add flat fields: integers with their unit, text, tuples."""

    topic: ClassVar[str] = ""

    originator_id: UUID
    originator_version: int
    arena: str
    fact_key: str
    effective_block: int
    causation: str | None = None
    correlation: str | None = None

    @property
    def arena_key(self) -> ArenaKey:
        """The arena whose log holds this fact."""
        return ArenaKey.parse(self.arena)

    @property
    def advances_to(self) -> int | None:
        """The block this fact moves its arena's time to; None for all that merely happen in it."""
        return None

    def content(self) -> dict[str, Any]:
        """What the fact says, without how it was recorded: what makes two facts the same."""
        return {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name not in ENVELOPE
        }


class Observation(Fact, frozen=True, kw_only=True):
    """Something merely seen: no rule, no state, a stream of its own under its fact key."""

    @classmethod
    def seen(cls, context: Context, fact_key: str, /, **content: Any) -> Self:
        """The observation of that key, ready to be recorded."""
        return cls(
            originator_id=natural_id("observation", fact_key),
            originator_version=1,
            arena=str(context.arena),
            fact_key=fact_key,
            effective_block=context.block,
            causation=context.causation,
            correlation=context.correlation,
            **content,
        )


FactT = TypeVar("FactT", bound=type[Fact])

FACTS: Final[dict[str, type[Fact]]] = {}
"""Every event type by its topic, ``<room>.<event>.v<version>``."""


def fact(topic: str) -> Callable[[FactT], FactT]:
    """Register an event type under the topic that the log will know it by for ever."""

    def register(cls: FactT) -> FactT:
        if topic in FACTS:
            msg = f"two event types claim the topic '{topic}'"
            raise ValueError(msg)
        cls.topic = topic
        FACTS[topic] = cls
        return cls

    return register


UPCASTERS: Final[dict[str, Callable[[Any], Fact]]] = {}
"""By the topic of an old version: what makes the next version of it."""

UpcasterT = TypeVar("UpcasterT", bound=Callable[..., Fact])


def upcast(from_topic: str) -> Callable[[UpcasterT], UpcasterT]:
    """Register a pure function from an old version of an event to its next one.

    It keeps the envelope. The bytes in the log stay as they were written; the event is read as its
    newest version by all such steps in a row.
    """

    def register(step: UpcasterT) -> UpcasterT:
        if from_topic in UPCASTERS:
            msg = f"two upcasters claim the topic '{from_topic}'"
            raise ValueError(msg)
        UPCASTERS[from_topic] = step
        return step

    return register
