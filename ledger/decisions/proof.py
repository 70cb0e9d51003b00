"""A proof of payment, as commits name it: a block's hash and an extrinsic's hash.

Identity: genesis, payment_block, payment_tx. Defends the order of R8 (DOMAIN 2): the first accepted
commit in (block, index) order takes a payment. So where a commit waits for a node's answer, a later
one that names the same proof waits behind it, whatever the node answers meanwhile.
"""

from __future__ import annotations

from uuid import UUID

from ledger.decisions.base import Aggregate
from ledger.facts import Context, Fact, fact


@fact("proof.awaited.v1")
class ProofAwaited(Fact, frozen=True, kw_only=True):
    """A commit that names the proof was deferred. Key: ``proof-awaited:<submission id>``."""

    submission_id: UUID


class Proof(Aggregate):
    """Who was deferred over a proof, in the order in which they became known."""

    waiting: tuple[UUID, ...] = ()

    def wait(self, context: Context, submission_id: UUID) -> None:
        """Put a deferred commit in the line; once."""
        if submission_id not in self.waiting:
            self.record(
                context,
                ProofAwaited,
                f"proof-awaited:{submission_id}",
                submission_id=submission_id,
            )

    def before(self, submission_id: UUID) -> tuple[UUID, ...]:
        """Those in the line before it; all of them where it is not in it."""
        if submission_id in self.waiting:
            return self.waiting[: self.waiting.index(submission_id)]
        return self.waiting

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case ProofAwaited():
                self.waiting = (*self.waiting, fact.submission_id)
            case _:
                msg = f"a proof of payment cannot take a {fact.topic}"
                raise TypeError(msg)
