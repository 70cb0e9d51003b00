"""Paying the fee and committing, in one flow that can be cut anywhere and never pays twice.

The plan is pure (:func:`next_step`): from what is remembered (:class:`Progress`) and what the
finalized blocks show (:class:`Seen`) to the one thing to do next. Around it :class:`Flow` looks,
remembers before it sends, and sends (DOMAIN 2: the coldkey pays, then the hotkey commits with the
proof).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from chain.commit_checks import Commitment, Terms, check_before_paying
from chain.lookup import Outlook, look_up, next_sending
from chain.orders import CommitOrder, FeeOrder, Order
from chain.payments import payment_extrinsic
from chain.port import (
    Block,
    Chain,
    ChainError,
    ChainReader,
    ChainUnavailableError,
    Sending,
    UnknownBlockError,
)
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import BATCH_ALL, PaymentExtrinsic, executed_to, expected_remark
from ledger.rules.quote import payload_bytes

MAX_ROUNDS: Final = 8
"""How often the flow looks and sends before it gives up: two steps, and a few lost nonces."""


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
    payment: Sent | None = None
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
    ``spare`` is an unused payment for the same hotkey and digest that was found on chain, and
    ``commitment`` a commit that carries the payment already.
    """

    head: int
    payment: Outlook | None = None
    commit: Outlook | None = None
    spare: Paid | None = None
    commitment: Committed | None = None


@dataclass(frozen=True, slots=True)
class Pay:
    """Send the fee; ``again`` is a sending that may still land and is sent once more."""

    again: Sent | None


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
    sent, outlook = progress.payment, seen.payment
    if sent is not None and outlook is not None:
        landed = outlook.landed
        if landed is not None and landed.carries(fee_order(progress, terms)):
            if landed.extrinsic.success:
                paid = Paid(landed.extrinsic.hash, landed.block.hash, landed.block.number)
                return Remember(msgspec.structs.replace(progress, paid=paid))
            msg = (
                f"the payment failed in block {landed.block.number}: {landed.extrinsic.error}; "
                "nothing but the network's fee was taken, so mend that and start again with "
                "another --state"
            )
            raise CommitRefusedError(msg)
        if landed is None and outlook.may_still_land:
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
            # It was refused by the runtime and has used its nonce; what can be mended is not known
            # here, so it is said once and tried anew when the miner asks for it.
            msg = (
                f"the commit failed in block {landed.block.number}: {landed.extrinsic.error}; the "
                "payment is still unused, so mend that and run this again"
            )
            raise CommitFailedError(msg)
        if landed is None and outlook.may_still_land:
            return PutCommit(paid, sent)
    known_at = seen.head + 1 + (progress.reveal_in_blocks or 0)
    if known_at - paid.block > terms.fee.payment_max_age_blocks:
        msg = (
            f"the payment of block {paid.block} would be older than the policy's "
            f"{terms.fee.payment_max_age_blocks} blocks when the commit becomes known; it stays "
            "visible as unclaimed, and another --state pays anew"
        )
        raise CommitRefusedError(msg)
    return PutCommit(paid, None)


class CommitFailedError(CommitRefusedError):
    """The commit's extrinsic failed; the next run may try another."""


def fee_order(progress: Progress, terms: Terms) -> FeeOrder:
    """The payment of this commit."""
    return FeeOrder(
        destination=terms.fee.treasury_ss58,
        amount_rao=terms.fee.fee_rao,
        remark=expected_remark(progress.hotkey, progress.digest),
    )


def commit_order(progress: Progress, paid: Paid) -> CommitOrder:
    """The commitment with the proof of its payment."""
    payload = payload_bytes(progress.image, progress.digest, paid.extrinsic_hash, paid.block_hash)
    return CommitOrder(
        netuid=progress.netuid, payload=payload, reveal_in_blocks=progress.reveal_in_blocks
    )


# -- the flow -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Flow:
    """Pays and commits over a chain, as often as it takes and never twice.

    ``look_back_blocks`` is how far an unused payment is searched for where none is remembered.
    ``say`` is told what is being done, one line each.
    """

    chain: Chain
    memory: Memory
    commitment: Commitment
    terms: Terms
    coldkey: str
    look_back_blocks: int
    say: Callable[[str], None] = field(default=lambda _: None)

    def run(self) -> Progress:
        """Do all that is left; the progress when the commitment is in a finalized block.

        Raises :class:`CommitRefusedError` for what must not be done, the chain's errors otherwise:
        running it again then goes on where it stopped.
        """
        progress = self._begun()
        for _ in range(MAX_ROUNDS):
            step = next_step(progress, self._seen(progress), self.terms)
            if isinstance(step, Done):
                return progress
            progress = self._do(progress, step)
        msg = (
            f"after {MAX_ROUNDS} tries it is not done, because other extrinsics of the same keys "
            "keep coming in between; stop those and run this again"
        )
        raise ChainUnavailableError(msg)

    def rehearse(self) -> Step:
        """What :meth:`run` would do first. Remembers and sends nothing."""
        progress = self._begun(keep=False)
        return next_step(progress, self._seen(progress), self.terms)

    def _begun(self, *, keep: bool = True) -> Progress:
        wanted, known = self.commitment, self.memory.load()
        head = self.chain.finalized_head()
        if known is not None:
            self._must_be_the_same(known)
            if known.commit is not None and known.committed is None and keep:
                known = self._without_failed_commit(known)
        needs_payment = known is None or known.paid is None
        check_before_paying(
            self.chain,
            wanted,
            self.terms,
            coldkey=self.coldkey,
            head=head,
            pays=needs_payment and (known is None or known.payment is None),
        )
        if known is not None:
            return known
        return Progress(
            wanted.genesis,
            wanted.netuid,
            wanted.hotkey,
            wanted.image,
            wanted.digest,
            wanted.reveal_in_blocks,
        )

    def _must_be_the_same(self, known: Progress) -> None:
        wanted = self.commitment
        for name in ("genesis", "netuid", "hotkey", "image", "digest", "reveal_in_blocks"):
            before, now = getattr(known, name), getattr(wanted, name)
            if before != now:
                msg = (
                    f"the state file is about another {name} ({before} there, {now} now); name "
                    "the one of this commit by --state, or a new one"
                )
                raise CommitRefusedError(msg)
        if known.payment is not None and known.payment.signer != self.coldkey and not known.paid:
            msg = (
                f"the payment was sent by {known.payment.signer} and this wallet's coldkey is "
                f"{self.coldkey}; open the wallet that paid"
            )
            raise CommitRefusedError(msg)

    def _without_failed_commit(self, known: Progress) -> Progress:
        """A commit whose extrinsic failed was told of in the run before; this one tries anew."""
        if known.commit is None or known.paid is None:
            return known
        landed = look_up(self.chain, known.commit.sending).landed
        if landed is None or landed.extrinsic.success:
            return known
        return msgspec.structs.replace(known, commit=None)

    # -- looking ----------------------------------------------------------------------------

    def _seen(self, progress: Progress) -> Seen:
        head = self.chain.finalized_head().number
        if progress.committed is not None:
            return Seen(head)
        if progress.paid is None:
            outlook = None if progress.payment is None else self._outlook(progress.payment)
            settled = outlook is not None and (outlook.landed is not None or outlook.may_still_land)
            ours = outlook is not None and outlook.landed is not None
            other = ours and not outlook.landed.carries(fee_order(progress, self.terms))
            spare = None if settled and not other else self._spare(progress, head)
            return Seen(head, payment=outlook, spare=spare)
        if progress.commit is not None:
            return Seen(head, commit=self._outlook(progress.commit))
        return Seen(head, commitment=self._commitment(progress, progress.paid, head))

    def _outlook(self, sent: Sent) -> Outlook:
        self.say(f"looking for nonce {sent.nonce} of {sent.signer} after block {sent.after_block}")
        return look_up(self.chain, sent.sending)

    def _spare(self, progress: Progress, head: int) -> Paid | None:
        """The oldest unused payment of this hotkey and digest in the last blocks."""
        first = max(1, head - self.look_back_blocks + 1)
        self.say(f"looking for a payment made before, in blocks {first} to {head}")
        return find_payment(
            self.chain, progress, self.terms, coldkey=self.coldkey, blocks=range(first, head + 1)
        )

    def _commitment(self, progress: Progress, paid: Paid, head: int) -> Committed | None:
        """A commit that carries this payment already; a sealed one cannot be recognised so."""
        if head > paid.block:
            self.say(f"looking for the commit in blocks {paid.block} to {head}")
        for number in range(paid.block, head + 1):
            block = self.chain.block(number)
            for commit in self.chain.commits(block, progress.netuid):
                payload = parse_payload(commit.payload)
                if (
                    commit.succeeded
                    and commit.hotkey == progress.hotkey
                    and isinstance(payload, CommitPayload)
                    and payload.payment_tx == paid.extrinsic_hash
                ):
                    return Committed(commit.extrinsic_hash or "", block.hash, number)
        return None

    # -- doing ------------------------------------------------------------------------------

    def _do(self, progress: Progress, step: Step) -> Progress:
        match step:
            case Remember():
                self.memory.save(step.progress)
                return step.progress
            case Pay():
                sent = step.again or self._next(self.coldkey)
                progress = msgspec.structs.replace(progress, payment=sent)
                self.memory.save(progress)
                self.say(f"paying with nonce {sent.nonce}, in a block after {sent.after_block}")
                self._send(fee_order(progress, self.terms), sent)
            case PutCommit():
                sent = step.again or self._next(progress.hotkey)
                progress = msgspec.structs.replace(progress, commit=sent)
                self.memory.save(progress)
                self.say(f"committing with nonce {sent.nonce}, in a block after {sent.after_block}")
                self._send(commit_order(progress, step.paid), sent)
            case Done():
                pass
        return progress

    def _next(self, signer: str) -> Sent:
        sending = next_sending(self.chain, signer)
        return Sent(sending.signer, sending.nonce, sending.after_block)

    def _send(self, order: Order, sent: Sent) -> None:
        """Send and wait. What became of it is read from the blocks, whatever this says."""
        receipt = self.chain.send(self.chain.prepare(order, sent.sending))
        self.say(f"it is in the finalized block {receipt.block.number}")


def find_payment(
    chain: ChainReader, progress: Progress, terms: Terms, *, coldkey: str, blocks: range
) -> Paid | None:
    """The oldest payment in ``blocks`` that would pay for this commit and that no commit used."""
    remark = expected_remark(progress.hotkey, progress.digest)
    found: dict[str, Paid] = {}
    for number in blocks:
        try:
            block = chain.block(number)
        except UnknownBlockError:
            continue  # before the chain's first block
        for extrinsic in block.extrinsics:
            if extrinsic.signer != coldkey or extrinsic.call.name != BATCH_ALL:
                continue
            payment = payment_extrinsic(block, extrinsic)
            if _pays(payment, remark, terms):
                found[extrinsic.hash.lower()] = Paid(extrinsic.hash, block.hash, number)
        for used in _used_in(chain, block, progress.netuid):
            found.pop(used, None)
    return next(iter(found.values()), None)


def _pays(payment: PaymentExtrinsic, remark: str, terms: Terms) -> bool:
    return (
        payment.success
        and payment.remarks == (remark,)
        and executed_to(payment, terms.fee.treasury_ss58) >= terms.fee.fee_rao
    )


def _used_in(chain: ChainReader, block: Block, netuid: int) -> list[str]:
    payloads = (parse_payload(commit.payload) for commit in chain.commits(block, netuid))
    return [item.payment_tx for item in payloads if isinstance(item, CommitPayload)]
