"""What one validator sent, as the log knows it, and the facts that sending adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chain.port import MORTAL_BLOCKS, BlockRef, Prepared
from ledger.application import Ledger, Unit
from ledger.commands.alerts import note_alert, raise_alert
from ledger.commands.block_facts import HeldWeights
from ledger.commands.causes import after_decision
from ledger.commands.subnet import record_held
from ledger.observations import AlertRaised, WeightsReadBack, WeightsReceipt, WeightsSubmitted
from ledger.rules.weights import WeightVector

OPEN_FOR_BLOCKS: Final = 2 * MORTAL_BLOCKS
"""Before anything new is sent, all is settled but what may still land: no intent is left open by a
settled one that is this much older than the newest."""

COUNTED_FAILURES: Final = 10
"""Failures beyond these are not counted: the pause between tries has its limit by then."""

DIFFERENCES: Final = ("weights_differ", "weights_not_held")
"""Kinds of alert: the chain holds other weights than were sent, or none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest vector that landed: what the chain holds, or will hold when it is revealed."""

    intent: WeightsSubmitted
    receipt: WeightsReceipt

    @property
    def block(self) -> int:
        """The block it landed in."""
        return self.receipt.block or 0


class WeightsLog:
    """The sendings of one validator's weights."""

    def __init__(self, ledger: Ledger, validator: str) -> None:
        self._ledger = ledger
        self._validator = validator

    # -- reading --------------------------------------------------------------------------------

    def newest(self) -> WeightsSubmitted | None:
        """The newest intent, whatever became of it."""
        return self._ledger.newest(WeightsSubmitted, where=self._is_ours)

    def standing(self) -> Standing | None:
        """The newest vector that landed and succeeded."""
        receipt = self._ledger.newest(
            WeightsReceipt, where=lambda fact: self._is_ours(fact) and fact.success
        )
        if receipt is None:
            return None
        intent = self._ledger.known(receipt.sent_key)
        if not isinstance(intent, WeightsSubmitted):
            msg = f"the log has the receipt {receipt.fact_key} of nothing that was sent"
            raise TypeError(msg)
        return Standing(intent, receipt)

    def receipt_of(self, intent: WeightsSubmitted) -> WeightsReceipt | None:
        """What became of an intent; None: no answer yet."""
        found = self._ledger.known(intent.receipt_key)
        return found if isinstance(found, WeightsReceipt) else None

    def unanswered(self) -> list[WeightsSubmitted]:
        """The intents without a receipt, newest first."""
        newest = self.newest()
        found: list[WeightsSubmitted] = []
        if newest is None:
            return found

        def is_over(fact: WeightsSubmitted) -> bool:
            """Collects on the way back to what was settled before all that can be open."""
            if not self._is_ours(fact):
                return False
            if self.receipt_of(fact) is None:
                found.append(fact)
                return False
            return fact.for_block < newest.for_block - OPEN_FOR_BLOCKS

        self._ledger.newest(WeightsSubmitted, where=is_over)
        return found

    def _gave_way(self, intent: WeightsSubmitted) -> bool:
        """Whether a later vector was sent under the same nonce: its fate is what counts."""

        def took_over(fact: WeightsSubmitted) -> bool:
            return self._is_ours(fact) and fact.nonce == intent.nonce

        newest = self._ledger.newest(WeightsSubmitted, where=took_over)
        return newest is not None and newest.fact_key != intent.fact_key

    def failures(self, digest: str | None = None) -> int:
        """How many of the newest receipts in a row say that nothing was set.

        With ``digest`` only those of that vector count, up to :data:`COUNTED_FAILURES`.
        """
        failed = 0

        def ends(fact: WeightsReceipt) -> bool:
            nonlocal failed
            if not self._is_ours(fact):
                return False
            failed += not fact.success and digest in (None, fact.digest)
            return fact.success or failed == COUNTED_FAILURES

        self._ledger.newest(WeightsReceipt, where=ends)
        return failed

    def intent_for(self, vector: WeightVector) -> WeightsSubmitted | None:
        """The intent to send this vector of this block, also one of version 1."""
        former = self._ledger.known(self._sent_key(vector.block))
        known = self._ledger.known(self._sent_key(vector.block, vector.digest))
        for fact in (known, former):
            if isinstance(fact, WeightsSubmitted) and fact.digest == vector.digest:
                return fact
        return None

    def is_held(self, standing: Standing) -> bool:
        """Whether the chain was seen to hold this vector, in its block or later."""
        wanted = standing.intent.digest

        def shows(fact: WeightsReadBack) -> bool:
            return self._is_ours(fact) and fact.block >= standing.block and fact.digest == wanted

        return self._ledger.newest(WeightsReadBack, where=shows) is not None

    def is_told(self, standing: Standing) -> bool:
        """Whether an alert says that the chain holds something else."""
        words = self._difference(standing)

        def tells(fact: AlertRaised) -> bool:
            return fact.kind in DIFFERENCES and fact.detail.startswith(words)

        return self._ledger.newest(AlertRaised, where=tells) is not None

    def _difference(self, standing: Standing) -> str:
        return (
            f"the vector of {self._validator} for block {standing.intent.for_block}, which landed "
            f"in block {standing.block}, is not what the chain holds"
        )

    def _is_ours(self, fact: WeightsSubmitted | WeightsReceipt | WeightsReadBack) -> bool:
        return fact.validator_hotkey == self._validator

    def _sent_key(self, *parts: object) -> str:
        return ":".join(map(str, ("weights-sent", self._ledger.arena, self._validator, *parts)))

    # -- recording ------------------------------------------------------------------------------

    def intend(
        self, vector: WeightVector, prepared: Prepared, *, version_key: int, reason: str
    ) -> WeightsSubmitted:
        """Record that ``vector`` is about to be sent as it was prepared."""
        sending = prepared.sending
        share = dict(vector.shares)
        holder = {line.uid: line.hotkey for line in vector.explained}

        def note(unit: Unit) -> WeightsSubmitted:
            unit.context = after_decision(unit, vector.block)
            return unit.observe(
                WeightsSubmitted,
                self._sent_key(vector.block, vector.digest),
                for_block=vector.block,
                validator_hotkey=self._validator,
                uids=vector.uids,
                hotkeys=tuple(holder.get(uid) or "" for uid in vector.uids),
                shares_ppm=tuple(share[uid] for uid in vector.uids),
                values=vector.values,
                digest=vector.digest,
                version_key=version_key,
                reason=reason,
                nonce=sending.nonce,
                sent_after=sending.after_block,
                sealed_hash=prepared.hash if prepared.sealed else None,
            )

        return self._ledger.decide(note)

    def receive(
        self,
        intent: WeightsSubmitted,
        *,
        block: int | None,
        extrinsic_hash: str | None,
        error: str | None,
    ) -> WeightsReceipt:
        """Record what became of an intent; ``block`` None: it never landed.

        A failure raises an alert, but not where another vector took over the nonce.
        """
        is_failure = error is not None and not self._gave_way(intent)

        def note(unit: Unit) -> WeightsReceipt:
            unit.because(intent)
            if is_failure:
                detail = f"the weights of {self._validator} were not set: {error}"
                note_alert(unit, "weights_failed", detail)
            return unit.observe(
                WeightsReceipt,
                intent.receipt_key,
                for_block=intent.for_block,
                validator_hotkey=self._validator,
                digest=intent.digest,
                block=block,
                extrinsic_hash=extrinsic_hash,
                success=error is None,
                error=error,
            )

        return self._ledger.decide(note)

    def read_back(self, standing: Standing, block: BlockRef, held: HeldWeights) -> None:
        """Record the weights that the chain holds, in the canonical form."""

        def note(unit: Unit) -> None:
            unit.because(standing.receipt)
            record_held(unit, block.number, held)

        self._ledger.decide(note)

    def tell(self, standing: Standing, block: BlockRef, *, holds_any: bool) -> None:
        """Raise the alert that the chain holds other weights than those that landed, or none."""
        what = "other weights" if holds_any else "no weights"
        detail = f"{self._difference(standing)}: at block {block.number} it holds {what}"
        raise_alert(self._ledger, DIFFERENCES[0 if holds_any else 1], detail)
