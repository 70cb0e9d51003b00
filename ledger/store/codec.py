"""Facts to bytes and back: a mapper for the eventsourcing library on typed msgspec JSON.

A stored event's ``state`` is the JSON of the whole fact, envelope included, with its fields in the
order they are declared: the canonical bytes that a digest or a Merkle leaf can be taken of. They
stay as they were written; an event of an old version is read as its newest
(:mod:`ledger.store.versions`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

import ledger.decisions.arena
import ledger.decisions.contest
import ledger.decisions.credits
import ledger.decisions.payment
import ledger.decisions.proof
import ledger.decisions.rental
import ledger.decisions.rental_budget
import ledger.decisions.submission
import ledger.decisions.treasury
import ledger.decisions.unclaimed
import ledger.observations  # noqa: F401  every room registers its events by being imported
from ledger.facts import FACTS, MAX_FACT_BYTES, MAX_FACT_KEY_CHARS, UPCASTERS, Fact
from ledger.store.versions import decoders_of, versions_up_to


class FactCodecError(ValueError):
    """A fact that cannot be written, or bytes that are no fact; the message is one sentence."""


class StoredFact(StoredEvent):
    """A stored event with what the recorder needs beside it."""

    originator_id: UUID
    arena: str
    fact_key: str
    effective_block: int
    advances_to: int | None

    def __init__(
        self,
        originator_id: UUID,
        originator_version: int,
        topic: str,
        state: bytes,
        arena: str,
        fact_key: str,
        effective_block: int,
        advances_to: int | None,
    ) -> None:
        # At once: a frozen dataclass sets one field after the other, which every command pays for.
        self.__dict__.update(
            originator_id=originator_id,
            originator_version=originator_version,
            topic=topic,
            state=state,
            arena=arena,
            fact_key=fact_key,
            effective_block=effective_block,
            advances_to=advances_to,
        )


_ENCODER: Final = msgspec.json.Encoder()

# Made when the program starts, which therefore fails at once where an old version leads nowhere.
DECODE: Final = {topic: of.decode for topic, of in decoders_of(FACTS, UPCASTERS).items()}
"""By topic what makes a fact of its bytes, for loops over many; :func:`decode` says what is wrong
with bytes that do not fit."""


def encode(fact: Fact) -> bytes:
    """The canonical bytes of a fact; raises :class:`FactCodecError` beyond the limits."""
    state = _ENCODER.encode(fact)
    if len(state) > MAX_FACT_BYTES:
        msg = f"fact '{fact.fact_key}' has {len(state)} bytes; a fact has at most {MAX_FACT_BYTES}"
        raise FactCodecError(msg)
    if not 0 < len(fact.fact_key) <= MAX_FACT_KEY_CHARS:
        msg = f"the key of a {fact.topic} must have 1 to {MAX_FACT_KEY_CHARS} characters"
        raise FactCodecError(msg)
    if "\0" in fact.fact_key:
        msg = f"the key of a {fact.topic} holds a NUL character, which PostgreSQL cannot keep"
        raise FactCodecError(msg)
    return state


def decode(topic: str, state: bytes) -> Fact:
    """The fact of stored bytes, in its newest version.

    Raises :class:`FactCodecError` naming the topic.
    """
    make = DECODE.get(topic)
    if make is None:
        msg = f"the log holds a '{topic}', which this program does not know; use a newer one"
        raise FactCodecError(msg)
    try:
        return make(state)
    except msgspec.DecodeError as error:
        msg = f"a stored '{topic}' does not fit its schema: {error}"
        raise FactCodecError(msg) from error


def read_as(topic: str) -> tuple[str, ...]:
    """The topics whose events are read as this one: itself and its older versions."""
    return versions_up_to(FACTS, topic)


def topics_of(kinds: Iterable[type[Fact]]) -> tuple[str, ...]:
    """The topics whose stored bytes are read as one of these types, in order."""
    return tuple(sorted({topic for kind in kinds for topic in read_as(kind.topic)}))


def stored(fact: Fact) -> StoredFact:
    """One fact as the recorder writes it; raises :class:`FactCodecError` beyond the limits."""
    return StoredFact(
        fact.originator_id,
        fact.originator_version,
        fact.topic,
        encode(fact),
        fact.arena,
        fact.fact_key,
        fact.effective_block,
        fact.advances_to,
    )


class FactMapper(Mapper[UUID]):
    """The library's mapper, for facts instead of its own event classes."""

    def __init__(self) -> None:
        super().__init__(transcoder=JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredFact:
        """One fact as the recorder writes it."""
        return stored(cast("Fact", domain_event))

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """One fact as it was recorded."""
        return cast("DomainEventProtocol[UUID]", decode(stored_event.topic, stored_event.state))
