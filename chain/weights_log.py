"""What one validator sent, as the log knows it, and the facts that sending adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chain.port import MORTAL_BLOCKS, BlockRef, Sending
from ledger.application import Ledger, Unit
from ledger.commands.causes import after_decision
from ledger.observations import WeightsReadBack, WeightsReceipt, WeightsSubmitted
from ledger.rules.weights import WeightVector, vector_digest

OPEN_FOR_BLOCKS: Final = 2 * MORTAL_BLOCKS
"""Before anything new is sent, all is settled but what may still land: no intent is left open by a
settled one that is this much older than the newest."""

Weights = tuple[tuple[int, int], ...]


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

    def intent_for(self, vector: WeightVector) -> WeightsSubmitted | None:
        """The intent to send this vector of this block, also one of version 1."""
        former = self._ledger.known(self._sent_key(vector.block))
        known = self._ledger.known(self._sent_key(vector.block, vector.digest))
        for fact in (known, former):
            if isinstance(fact, WeightsSubmitted) and fact.digest == vector.digest:
                return fact
        return None

    def is_read_back(self, standing: Standing) -> bool:
        """Whether what the chain held was noted at or after the vector's block."""
        seen = self._ledger.newest(WeightsReadBack, where=self._is_ours)
        return seen is not None and seen.block >= standing.block

    def _is_ours(self, fact: WeightsSubmitted | WeightsReceipt | WeightsReadBack) -> bool:
        return fact.validator_hotkey == self._validator

    def _sent_key(self, *parts: object) -> str:
        return ":".join(map(str, ("weights-sent", self._ledger.arena, self._validator, *parts)))

    # -- recording ------------------------------------------------------------------------------

    def intend(
        self, vector: WeightVector, sending: Sending, *, version_key: int, reason: str
    ) -> WeightsSubmitted:
        """Record that ``vector`` is about to be sent as ``sending``."""
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
        """Record what became of an intent; ``block`` None: it never landed."""

        def note(unit: Unit) -> WeightsReceipt:
            unit.because(intent)
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

    def read_back(self, standing: Standing, block: BlockRef, held: Weights) -> WeightsReadBack:
        """Record the weights that the chain holds, in the canonical form."""
        uids, values = tuple(uid for uid, _ in held), tuple(value for _, value in held)

        def note(unit: Unit) -> WeightsReadBack:
            unit.because(standing.receipt)
            return unit.observe(
                WeightsReadBack,
                f"weights-held:{unit.context.arena}:{self._validator}:{block.number}",
                block=block.number,
                validator_hotkey=self._validator,
                uids=uids,
                values=values,
                digest=vector_digest(uids, values),
            )

        return self._ledger.decide(note)
