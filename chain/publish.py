"""Setting weights: due or not, intent before sending, receipt after, read back from the chain.

An intent names its extrinsic by signer and nonce before anything is sent. One without a receipt
(the process died, the answer was lost) is looked up in the finalized blocks first: what landed is
never sent again, and of all that was sent under one nonce at most one lands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from chain.beside import held_from
from chain.lookup import can_no_longer_land, look_up, never_landed, next_sending
from chain.orders import WeightsOrder
from chain.port import (
    MORTAL_BLOCKS,
    Block,
    BlockRef,
    ChainReader,
    ChainWriter,
    Extrinsic,
    Prepared,
    PrunedStateError,
    Sending,
    SendRefusedError,
)
from chain.weights_due import Outlook, Run, outlook_of, why_due
from chain.weights_log import WeightsLog
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.block_facts import HeldWeights
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.policy import WeightPolicy
from ledger.rules.weights import WeightVector, held_form

REVEAL_WAIT_BLOCKS: Final = 1_100
"""How long sealed weights may stay unseen where the chain no longer says: three epochs of 360."""
STATE_KEPT_BLOCKS: Final = 200
"""Older states are not asked for: a node without an archive keeps 256."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a call of :meth:`WeightPublisher.publish` came to; ``receipt`` None: nothing was sent,
    or the answer is open."""

    outlook: Outlook
    receipt: WeightsReceipt | None = None


class WeightPublisher:
    """Publishes one validator's weights. ``reader`` and ``writer`` may be one chain."""

    def __init__(
        self, reader: ChainReader, writer: ChainWriter, ledger: Ledger, *, validator_hotkey: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._ledger = ledger
        self._validator = validator_hotkey
        self._log = WeightsLog(ledger, validator_hotkey)

    # -- settling -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Give every intent the receipt it can have: it landed, or it never will.

        One that may still land stays open; :meth:`publish` sends it again under its own nonce.
        """
        for intent in self._log.unanswered():
            self._settle(intent)
        self.look_back()

    def _settle(self, intent: WeightsSubmitted) -> None:
        sending = self._sending(intent)
        if sending is None:
            self._settle_former(intent)
            return
        try:
            outlook = look_up(self._reader, sending)
        except PrunedStateError as pruned:
            self._settle_unseen(intent, sending, pruned)
            return
        if outlook.landed is not None:
            extrinsic, block = outlook.landed.extrinsic, outlook.landed.block
            if self._is_it(intent, extrinsic):
                self._receive(intent, block, extrinsic)
            else:
                name, place = extrinsic.call.name, f"block {block.number}"
                error = f"nonce {sending.nonce} was used by another {name} in {place}"
                self._log.receive(intent, block=None, extrinsic_hash=None, error=error)
        elif not outlook.may_still_land:
            error = f"not found on chain up to block {outlook.head}, and too late to land"
            self._log.receive(intent, block=None, extrinsic_hash=None, error=error)

    def _settle_unseen(
        self, intent: WeightsSubmitted, sending: Sending, error: PrunedStateError
    ) -> None:
        """An intent so old that no node has its blocks any more: its nonce may tell.

        Weights are set again and again, so one vector of which nobody knows what became of it must
        not keep back the next, which may be the burn vector of a pause.
        """
        if never_landed(self._reader, sending):
            why = f"nonce {sending.nonce} was never used, and it is too late to land"
            self._log.receive(intent, block=None, extrinsic_hash=None, error=why)
        elif can_no_longer_land(self._reader, sending):
            self._give_up(intent, error)
        else:
            raise error

    def _give_up(self, intent: WeightsSubmitted, error: PrunedStateError) -> None:
        why = f"nobody knows what became of it: {error}"
        self._log.receive(intent, block=None, extrinsic_hash=None, error=why)
        detail = f"the weights of {self._validator} for block {intent.for_block}: {why}"
        raise_alert(self._ledger, "weights_outcome_unknown", detail)

    def _settle_former(self, intent: WeightsSubmitted) -> None:
        """An intent of version 1 has no nonce: it is found by its values."""
        order, head = self._order(intent), self._reader.finalized_head().number
        last = intent.for_block + MORTAL_BLOCKS
        for number in range(intent.for_block + 1, min(head, last) + 1):
            try:
                block = self._reader.block(number)
            except PrunedStateError as pruned:
                self._give_up(intent, pruned)
                return
            for extrinsic in block.extrinsics:
                if extrinsic.signer == self._validator and order.is_call(extrinsic.call):
                    self._receive(intent, block, extrinsic)
                    return
        if head > intent.for_block:
            error = f"not found on chain up to block {head}"
            self._log.receive(intent, block=None, extrinsic_hash=None, error=error)

    def _receive(self, intent: WeightsSubmitted, block: Block, extrinsic: Extrinsic) -> None:
        error = None if extrinsic.success else extrinsic.error or "the extrinsic failed"
        self._log.receive(intent, block=block.number, extrinsic_hash=extrinsic.hash, error=error)

    # -- reading back ---------------------------------------------------------------------------

    def look_back(self) -> None:
        """Compare what the chain holds with the newest vector that landed, until it is known.

        Sealed weights show only when the runtime reveals them; until then this changes nothing. A
        difference raises an alert, once.
        """
        standing = self._log.standing()
        if standing is None or self._log.is_held(standing) or self._log.is_told(standing):
            return
        head = self._reader.finalized_head()
        sealed = standing.intent.sealed_hash is not None
        is_old = head.number - standing.block > STATE_KEPT_BLOCKS
        at = head if sealed or is_old else self._reader.block(standing.block).ref
        held = self._held(at)
        agrees = held_form(held.uids, held.values).digest == standing.intent.digest
        if sealed and not agrees and head.number < standing.block + self._reveal_blocks():
            return
        self._log.read_back(standing, at, held)
        if not agrees:
            self._log.tell(standing, at, holds_any=bool(held.uids))

    def _held(self, at: BlockRef) -> HeldWeights:
        """What the chain holds of the validator; empty where it holds nothing."""
        for row in self._reader.validator_weights(self._ledger.arena.netuid, at.hash):
            if row.hotkey == self._validator:
                return held_from(row)
        return HeldWeights(self._validator, (), (), None)

    def _reveal_blocks(self) -> int:
        terms = self._writer.weights_terms(self._ledger.arena.netuid, self._validator)
        return terms.reveal_blocks or REVEAL_WAIT_BLOCKS

    # -- publishing -----------------------------------------------------------------------------

    def publish(
        self,
        vector: WeightVector,
        policy: WeightPolicy,
        *,
        burn_uid_eligible: bool | None,
        missing: Sequence[Run] = (),
    ) -> Published:
        """Send ``vector`` if :meth:`outlook` says so.

        Raises :class:`~chain.port.OutcomeUnknownError` when the answer is lost: call again, and it
        is looked up first. :class:`~chain.port.ChainUnavailableError` when the node does not
        answer.
        """
        self.settle()
        outlook = self.outlook(vector, policy, burn_uid_eligible=burn_uid_eligible, missing=missing)
        if outlook.alert is not None:
            raise_alert(self._ledger, outlook.alert, outlook.why)
        if not outlook.send or outlook.due is None or outlook.terms is None:
            return Published(outlook)
        again = outlook.due.again
        order = WeightsOrder(
            netuid=self._ledger.arena.netuid,
            uids=vector.uids,
            values=vector.values,
            version_key=outlook.terms.version_key if again is None else again.version_key,
        )
        sending = None if again is None else self._sending(again)
        if sending is None:
            sending = next_sending(self._reader, self._validator)
        try:
            prepared = self._writer.prepare(order, sending)
        except SendRefusedError as error:
            why = f"weights not sent: {error}"
            if again is not None:  # what was sent of it may have landed by now: settling will say
                return Published(replace(outlook, send=False, why=why))
            raise_alert(self._ledger, "weights_not_built", why)
            return Published(replace(outlook, send=False, why=why, alert="weights_not_built"))
        if again is not None:
            return Published(outlook, self._send(again, prepared, is_first=False))
        intent = self._log.intend(
            vector, prepared, version_key=order.version_key, reason=outlook.due.reason
        )
        return Published(outlook, self._send(intent, prepared, is_first=True))

    def _send(
        self, intent: WeightsSubmitted, prepared: Prepared, *, is_first: bool
    ) -> WeightsReceipt | None:
        try:
            receipt = self._writer.send(prepared)
        except SendRefusedError as error:
            if is_first:
                return self._log.receive(intent, block=None, extrinsic_hash=None, error=str(error))
            # What was sent of it before may still land; settling says when it cannot any more.
            self._settle(intent)
            return self._log.receipt_of(intent)
        failure = None if receipt.success else receipt.error or "the extrinsic failed"
        answer = self._log.receive(
            intent,
            block=receipt.block.number,
            extrinsic_hash=receipt.extrinsic_hash,
            error=failure,
        )
        if answer.success:
            self.look_back()
        return answer

    def outlook(
        self,
        vector: WeightVector,
        policy: WeightPolicy,
        *,
        burn_uid_eligible: bool | None,
        missing: Sequence[Run] = (),
    ) -> Outlook:
        """Whether ``vector`` would be sent now, and why. Changes nothing, sends nothing.

        ``missing`` are the blocks that the log lacks.
        """
        due = why_due(self._log, vector, policy)
        if isinstance(due, str):
            return Outlook(send=False, why=due)
        terms = self._writer.weights_terms(self._ledger.arena.netuid, self._validator)
        return outlook_of(
            due,
            vector,
            policy,
            terms,
            burn_uid_eligible=burn_uid_eligible,
            missing=missing,
            who=self._validator,
        )

    # -- words ----------------------------------------------------------------------------------

    def _order(self, intent: WeightsSubmitted) -> WeightsOrder:
        return WeightsOrder(
            netuid=self._ledger.arena.netuid,
            uids=intent.uids,
            values=intent.values,
            version_key=intent.version_key,
        )

    def _is_it(self, intent: WeightsSubmitted, extrinsic: Extrinsic) -> bool:
        """Whether an extrinsic of the intent's nonce is its own, and not one of another vector."""
        if intent.sealed_hash is not None:
            return extrinsic.hash == intent.sealed_hash
        return self._order(intent).is_call(extrinsic.call)

    def _sending(self, intent: WeightsSubmitted) -> Sending | None:
        if intent.nonce is None or intent.sent_after is None:
            return None
        return Sending(self._validator, intent.nonce, intent.sent_after)
