"""Why a writer's facts were not recorded as they came."""

from __future__ import annotations

from ledger.facts import Fact
from ledger.store.codec import StoredFact, decode


class HeadMovedError(Exception):
    """Another writer moved the arena's block meanwhile; decide again at the new one."""


class FactConflictError(Exception):
    """A recorded fact's key came again with other content. ``known`` is what the log holds."""

    def __init__(self, known: Fact, offered: Fact) -> None:
        self.known = known
        self.offered = offered
        self.differs = _difference(known, offered)
        super().__init__(
            f"fact '{known.fact_key}' is recorded already, otherwise: {self.differs}; what is "
            "recorded stays, and a correction is a fact of its own"
        )


class BlockOrderError(Exception):
    """A block that is not after the arena's newest one, under a key the log does not know."""


def same_or_conflict(topic: str, state: bytes, stored: StoredFact) -> None:
    """Raise :class:`FactConflictError` unless ``stored`` says what the recorded bytes say.

    Of the same thing, too: two payments' refunds may be alike in all but the payment.
    """
    known = decode(topic, state)
    offered = decode(stored.topic, stored.state)
    same = known.topic == offered.topic and known.originator_id == offered.originator_id
    if not same or known.content() != offered.content():
        raise FactConflictError(known, offered)


def _difference(known: Fact, offered: Fact) -> str:
    if known.topic != offered.topic:
        return f"it is a {known.topic}, not a {offered.topic}"
    old, new = known.content(), offered.content()
    if old == new:
        return f"it is of {known.originator_id}, not of {offered.originator_id}"
    return "; ".join(
        f"{name}: {old[name]!r} is recorded, {new[name]!r} was offered"
        for name in old
        if old[name] != new[name]
    )
