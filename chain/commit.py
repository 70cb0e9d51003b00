"""Paying the fee and committing, in one flow that can be cut anywhere and never pays twice.

The plan is pure (:func:`next_step`): from what is remembered (:class:`Progress`) and what the
finalized blocks show (:class:`Seen`) to the one thing to do next. Around it
:class:`chain.commit_flow.Flow` looks, remembers before it sends, and sends (DOMAIN 2: the coldkey
pays, then the hotkey commits with the proof).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from chain.commit_checks import Terms
from chain.lookup import Outlook
from chain.orders import CommitOrder, FeeOrder
from chain.port import MORTAL_BLOCKS, ChainError, Sending
from ledger.rules.payments import expected_remark
from ledger.rules.quote import payload_bytes
from ledger.units import Rao


class CommitRefusedError(ChainError):
    """The flow cannot go on; the message is one sentence for the miner."""


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was about to be sent: recorded before it is."""

    signer: str
    nonce: int
    after_block: int

    @property
    def sending(self) -> Sending:
        """As the port has it."""
        return Sending(self.signer, self.nonce, self.after_block)


class FeeSent(Sent, frozen=True, forbid_unknown_fields=True):
    """A payment with its terms: those of its own policy, whatever is in force later."""

    amount_rao: int
    treasury_ss58: str


class Paid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payment in a finalized block: what the commit proves."""

    extrinsic_hash: str
    block_hash: str
    block: int


class Committed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The commitment in a finalized block."""

    extrinsic_hash: str
    block_hash: str
    block: int


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far one commit has come: what the state file holds. No secret is among it."""

    genesis: str
    netuid: int
    hotkey: str
    image: str
    digest: str
    reveal_in_blocks: int | None = None
    payment: FeeSent | None = None
    paid: Paid | None = None
    commit: Sent | None = None
    committed: Committed | None = None


class Memory(Protocol):
    """Where progress is kept across processes."""

    def load(self) -> Progress | None:
        """What was kept last; None where nothing was."""
        ...

    def save(self, progress: Progress) -> None:
        """Keep it; when this returns it outlives the machine's next failure."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the finalized blocks show of a progress.

    ``payment`` and ``commit`` are the outlooks of what was sent, None where nothing is remembered.
    ``owner_then`` is the hotkey's owner in the block that took the payment, None where none did.
    ``spare`` is an unused payment for the same hotkey and digest that was found on chain, and
    ``commitment`` a commit that carries the payment already.
    """

    head: int
    payment: Outlook | None = None
    owner_then: str | None = None
    commit: Outlook | None = None
    spare: Paid | None = None
    commitment: Committed | None = None


@dataclass(frozen=True, slots=True)
class Pay:
    """Send the fee; ``again`` is a sending that may still land and is sent once more."""

    again: FeeSent | None


@dataclass(frozen=True, slots=True)
class PutCommit:
    """Send the commitment; ``again`` as for :class:`Pay`."""

    paid: Paid
    again: Sent | None


@dataclass(frozen=True, slots=True)
class Remember:
    """Nothing to send: something was found on chain and is to be remembered."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Done:
    """All of it is in finalized blocks."""

    committed: Committed


Step = Pay | PutCommit | Remember | Done


def next_step(progress: Progress, seen: Seen, terms: Terms) -> Step:
    """The one thing to do next; raises :class:`CommitRefusedError` where nothing may be done.

    Pure. A payment is sent only when the blocks show that none of it landed and none can.
    """
    if progress.committed is not None:
        return Done(progress.committed)
    if progress.paid is None:
        return _payment_step(progress, seen, terms)
    return _commit_step(progress, progress.paid, seen, terms)


def _payment_step(progress: Progress, seen: Seen, terms: Terms) -> Step:
    sent, outlook, fee = progress.payment, seen.payment, terms.fee
    if sent is not None and outlook is not None:
        landed = outlook.landed
        if landed is not None and landed.carries(fee_order(progress, sent)):
            if landed.extrinsic.success:
                if seen.owner_then != sent.signer:
                    msg = (
                        f"the payment landed in block {landed.block.number}, when hotkey "
                        f"{progress.hotkey} belonged to {seen.owner_then or 'nobody'} and not to "
                        f"{sent.signer}, which paid, so a commit with it would be refused (R7); "
                        "it stays visible as unclaimed, and another --state pays anew"
                    )
                    raise CommitRefusedError(msg)
                paid = Paid(landed.extrinsic.hash, landed.block.hash, landed.block.number)
                return Remember(msgspec.structs.replace(progress, paid=paid))
            msg = (
                f"the payment failed in block {landed.block.number}: {landed.extrinsic.error}; "
                "nothing but the network's fee was taken, so mend that and run this again"
            )
            raise CommitRefusedError(msg)
        if landed is None and outlook.may_still_land:
            if (sent.amount_rao, sent.treasury_ss58) != (fee.fee_rao, fee.treasury_ss58):
                msg = (
                    f"a payment of {Rao(sent.amount_rao)} to {sent.treasury_ss58} was sent, and "
                    f"now the fee is {Rao(fee.fee_rao)} to {fee.treasury_ss58}; it may still land, "
                    f"so nothing is sent: run this again after block {sent.sending.last_block}"
                )
                raise CommitRefusedError(msg)
            return Pay(sent)
    if seen.spare is not None:
        return Remember(msgspec.structs.replace(progress, paid=seen.spare))
    return Pay(None)


def _commit_step(progress: Progress, paid: Paid, seen: Seen, terms: Terms) -> Step:
    if seen.commitment is not None:
        return Remember(msgspec.structs.replace(progress, committed=seen.commitment))
    sent, outlook = progress.commit, seen.commit
    if sent is not None and outlook is not None:
        landed = outlook.landed
        if landed is not None and landed.carries(commit_order(progress, paid)):
            if landed.extrinsic.success:
                done = Committed(landed.extrinsic.hash, landed.block.hash, landed.block.number)
                return Remember(msgspec.structs.replace(progress, committed=done))
            msg = (
                f"the commit failed in block {landed.block.number}: {landed.extrinsic.error}; the "
                "payment is still unused, so mend that and run this again"
            )
            raise CommitRefusedError(msg)
        if landed is None and outlook.may_still_land:
            _must_be_young(progress, paid, sent.sending.last_block, terms)
            return PutCommit(paid, sent)
    # What is sent now is sent after the head or a later block.
    _must_be_young(progress, paid, seen.head + MORTAL_BLOCKS, terms)
    return PutCommit(paid, None)


def _must_be_young(progress: Progress, paid: Paid, lands_by: int, terms: Terms) -> None:
    """Refuse a payment too old for a commit that lands in block ``lands_by`` at the latest."""
    known_by = lands_by + (progress.reveal_in_blocks or 0)
    if known_by - paid.block > terms.fee.payment_max_age_blocks:
        msg = (
            f"the payment of block {paid.block} may be older than the policy's "
            f"{terms.fee.payment_max_age_blocks} blocks when the commit becomes known, by block "
            f"{known_by}; it stays visible as unclaimed, and another --state pays anew"
        )
        raise CommitRefusedError(msg)


def fee_order(progress: Progress, sent: FeeSent) -> FeeOrder:
    """The payment of this commit."""
    return FeeOrder(
        destination=sent.treasury_ss58,
        amount_rao=sent.amount_rao,
        remark=expected_remark(progress.hotkey, progress.digest),
    )


def commit_order(progress: Progress, paid: Paid) -> CommitOrder:
    """The commitment with the proof of its payment."""
    payload = payload_bytes(progress.image, progress.digest, paid.extrinsic_hash, paid.block_hash)
    return CommitOrder(
        netuid=progress.netuid, payload=payload, reveal_in_blocks=progress.reveal_in_blocks
    )
