"""A proof of payment, as commits name it: a block's hash and an extrinsic's hash.

Identity: genesis, payment_block, payment_tx. Defends the order of R8 (DOMAIN 2): the first accepted
commit in (block, index) order takes a payment. So where a commit waits for a node's answer, a later
one that names the same proof waits behind it, whatever the node answers meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ledger.decisions.base import Aggregate
from ledger.decisions.submission import CommitSeen
from ledger.facts import Context, Fact, fact


@fact("proof.awaited.v1")
class ProofAwaited(Fact, frozen=True, kw_only=True):
    """A commit that names the proof was deferred. Key: ``proof-awaited:<submission id>``.

    ``block``, ``rank`` (0 a reveal, 1 an extrinsic), ``index`` and ``nth`` are its place.
    """

    submission_id: UUID
    block: int
    rank: int
    index: int
    nth: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A commit in the line: in which arena, and its place there."""

    submission_id: UUID
    arena: str
    place: tuple[int, int, int, int]

    @classmethod
    def of(cls, commit: CommitSeen) -> Waiting:
        """A commit as it stands in the line."""
        rank = 0 if commit.form == "timelocked" else 1
        place = (commit.block, rank, commit.index, commit.nth)
        return cls(commit.originator_id, commit.arena, place)


class Proof(Aggregate):
    """Who was deferred over a proof, in the order in which they are judged.

    Within an arena that is the order of their places on the chain, whenever they became known: a
    block that is read late out of a gap comes before later ones. Arenas are read each at its own
    pace, so that between them it is the order in which they became known.
    """

    line: tuple[Waiting, ...] = ()

    def wait(self, context: Context, commit: CommitSeen) -> None:
        """Put a deferred commit in the line; once."""
        one = Waiting.of(commit)
        if all(other.submission_id != one.submission_id for other in self.line):
            block, rank, index, nth = one.place
            self.record(
                context,
                ProofAwaited,
                f"proof-awaited:{one.submission_id}",
                submission_id=one.submission_id,
                block=block,
                rank=rank,
                index=index,
                nth=nth,
            )

    def before(self, commit: CommitSeen) -> tuple[UUID, ...]:
        """Those in the line before a commit, also where it is not in it yet."""
        one = Waiting.of(commit)
        return tuple(other.submission_id for other in self.line[: self._turn(one)])

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case ProofAwaited():
                place = (fact.block, fact.rank, fact.index, fact.nth)
                one = Waiting(fact.submission_id, fact.arena, place)
                turn = self._turn(one)
                self.line = (*self.line[:turn], one, *self.line[turn:])
            case _:
                msg = f"a proof of payment cannot take a {fact.topic}"
                raise TypeError(msg)

    def _turn(self, one: Waiting) -> int:
        """Where a commit stands, or would: before the first later one of its arena."""
        for turn, other in enumerate(self.line):
            if other.arena == one.arena and other.place >= one.place:
                return turn
        return len(self.line)
