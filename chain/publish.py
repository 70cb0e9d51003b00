"""Setting weights: intent before sending, receipt after, read back from the chain.

An intent without a receipt (the process died, the answer was lost) is looked up on chain before
anything is sent again: what landed once is never sent twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chain.beside import held_from
from chain.lookup import next_sending
from chain.orders import WeightsOrder
from chain.port import Block, BlockRef, Chain, SendRefusedError, ValidatorWeights
from ledger.application import Ledger, Unit
from ledger.commands.alerts import raise_alert
from ledger.commands.causes import after_decision
from ledger.commands.subnet import record_held
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.policy import WeightPolicy
from ledger.rules.weights import WeightVector

SET_WEIGHTS: Final = "SubtensorModule.set_weights"


@dataclass(frozen=True, slots=True)
class SentBefore:
    """The last vector this validator sent, as the log knows it; ``success`` None: no answer yet."""

    for_block: int
    digest: str
    success: bool | None


class WeightPublisher:
    """Publishes one validator's weights."""

    def __init__(
        self, chain: Chain, ledger: Ledger, *, validator_hotkey: str, version_key: int
    ) -> None:
        self._chain = chain
        self._ledger = ledger
        self._validator = validator_hotkey
        self._version_key = version_key

    def settle(self) -> None:
        """Give every intent of ours a receipt: find it on chain, or say that it never landed.

        An intent whose block is still the chain's head was not sent yet: :meth:`publish` sends it.
        """
        intent = self._open_intent()
        if intent is None:
            return
        head = self._chain.finalized_head().number
        landed = self._find(intent, head)
        if landed is not None:
            receipt = self._receipt(intent, landed[0].ref, landed[1], None)
            self._read_back(landed[0].ref, receipt)
        elif head > intent.for_block:
            self._receipt(intent, None, None, f"not found on chain up to block {head}")

    def publish(
        self,
        vector: WeightVector,
        policy: WeightPolicy,
        *,
        last: SentBefore | None,
        burn_uid_eligible: bool | None,
        reason: str | None = None,
    ) -> WeightsReceipt | None:
        """Send ``vector`` if it is due; its receipt, or None when nothing was to be sent.

        Due at first, when the result changed, or ``stale_after_blocks`` after the last one, but not
        within ``rate_limit_blocks`` (DOMAIN 5). Nothing is sent, and an alert is recorded, while
        ingest lags more than the policy's limit or the burn UID is not eligible.
        """
        self.settle()
        why = reason or self._due(vector, policy, last)
        if why is None or self._held_back(vector, policy, burn_uid_eligible):
            return None
        intent = self._intend(vector, why)
        if self._ledger.known(self._receipt_key(intent)) is not None:
            return None
        try:
            order = WeightsOrder(
                netuid=self._ledger.arena.netuid,
                uids=intent.uids,
                values=intent.values,
                version_key=intent.version_key,
            )
            sending = next_sending(self._chain, self._validator)
            receipt = self._chain.send(self._chain.prepare(order, sending))
        except SendRefusedError as error:
            return self._receipt(intent, None, None, str(error))
        if not receipt.success:
            return self._receipt(intent, receipt.block, receipt.extrinsic_hash, receipt.error)
        answer = self._receipt(intent, receipt.block, receipt.extrinsic_hash, None)
        self._read_back(receipt.block, answer)
        return answer

    # -- when ---------------------------------------------------------------------------------

    def _due(
        self, vector: WeightVector, policy: WeightPolicy, last: SentBefore | None
    ) -> str | None:
        if last is None:
            return "first vector"
        age = vector.block - last.for_block
        if age == 0 and last.success is None:
            return "sent before and never answered"
        if age < max(1, policy.rate_limit_blocks):
            return None
        if last.success is False or last.digest != vector.digest:
            return "results changed"
        if age >= policy.stale_after_blocks:
            return f"{age} blocks old"
        return None

    def _held_back(
        self, vector: WeightVector, policy: WeightPolicy, burn_uid_eligible: bool | None
    ) -> bool:
        lag = self._chain.finalized_head().number - vector.block
        if lag > policy.max_ingest_lag_blocks:
            limit = policy.max_ingest_lag_blocks
            detail = f"weights not sent: ingest lags {lag} blocks, {limit} are allowed"
            raise_alert(self._ledger, "ingest_lag", detail)
            return True
        if burn_uid_eligible is not True:
            what = "is not known to belong" if burn_uid_eligible is None else "does not belong"
            detail = f"weights not sent: burn UID {policy.burn_uid} {what} to the subnet's owner"
            raise_alert(self._ledger, "burn_uid_not_eligible", detail)
            return True
        return False

    # -- facts --------------------------------------------------------------------------------

    def _intend(self, vector: WeightVector, reason: str) -> WeightsSubmitted:
        share = dict(vector.shares)
        holder = {line.uid: line.hotkey for line in vector.explained}
        key = f"weights-sent:{self._ledger.arena}:{self._validator}:{vector.block}"
        known = self._ledger.known(key)
        if isinstance(known, WeightsSubmitted):
            return known

        def note(unit: Unit) -> WeightsSubmitted:
            unit.context = after_decision(unit, vector.block)
            return unit.observe(
                WeightsSubmitted,
                key,
                for_block=vector.block,
                validator_hotkey=self._validator,
                uids=vector.uids,
                hotkeys=tuple(holder.get(uid) or "" for uid in vector.uids),
                shares_ppm=tuple(share[uid] for uid in vector.uids),
                values=vector.values,
                digest=vector.digest,
                version_key=self._version_key,
                reason=reason,
            )

        return self._ledger.decide(note)

    def _receipt_key(self, intent: WeightsSubmitted) -> str:
        return f"weights-receipt:{self._ledger.arena}:{self._validator}:{intent.for_block}"

    def _receipt(
        self,
        intent: WeightsSubmitted,
        block: BlockRef | None,
        extrinsic_hash: str | None,
        error: str | None,
    ) -> WeightsReceipt:
        def note(unit: Unit) -> WeightsReceipt:
            unit.because(intent)
            return unit.observe(
                WeightsReceipt,
                self._receipt_key(intent),
                for_block=intent.for_block,
                validator_hotkey=self._validator,
                digest=intent.digest,
                block=block.number if block else None,
                extrinsic_hash=extrinsic_hash,
                success=error is None,
                error=error,
            )

        return self._ledger.decide(note)

    def _read_back(self, block: BlockRef, receipt: WeightsReceipt) -> None:
        held = self._chain.validator_weights(self._ledger.arena.netuid, block.hash)
        ours = [item for item in held if item.hotkey == self._validator]
        if not ours:
            detail = f"the chain holds no weights of {self._validator} at block {block.number}"
            raise_alert(self._ledger, "weights_not_held", detail)
            return
        self._note_held(ours[0], block, receipt)

    def _note_held(self, held: ValidatorWeights, block: BlockRef, receipt: WeightsReceipt) -> None:
        def note(unit: Unit) -> None:
            unit.because(receipt)
            record_held(unit, block.number, held_from(held))

        self._ledger.decide(note)

    # -- looking before sending again -----------------------------------------------------------

    def _open_intent(self) -> WeightsSubmitted | None:
        """The newest intent of ours that has no receipt."""
        newest = self._ledger.newest(
            WeightsSubmitted, where=lambda fact: fact.validator_hotkey == self._validator
        )
        if newest is None or self._ledger.known(self._receipt_key(newest)) is not None:
            return None
        return newest

    def _find(self, intent: WeightsSubmitted, head: int) -> tuple[Block, str] | None:
        for number in range(intent.for_block + 1, head + 1):
            block = self._chain.block(number)
            for extrinsic in block.extrinsics:
                args = extrinsic.call.args
                if (
                    extrinsic.call.name == SET_WEIGHTS
                    and extrinsic.success
                    and extrinsic.signer == self._validator
                    and args["netuid"] == self._ledger.arena.netuid
                    and tuple(args["dests"]) == intent.uids
                    and tuple(args["weights"]) == intent.values
                ):
                    return block, extrinsic.hash
        return None
