"""Paying and committing over a chain: looks, remembers before it sends, and sends.

What to do next is :func:`chain.commit.next_step`'s to say; here is all that touches the outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from chain.commit import (
    CommitRefusedError,
    Committed,
    Done,
    FeeSent,
    Memory,
    Paid,
    Pay,
    Progress,
    PutCommit,
    Remember,
    Seen,
    Sent,
    Step,
    commit_order,
    fee_order,
    next_step,
)
from chain.commit_checks import Commitment, Terms, check_before_paying
from chain.lookup import Outlook, look_up, next_sending
from chain.orders import Order
from chain.payments import payment_extrinsic
from chain.port import (
    Block,
    Chain,
    ChainReader,
    ChainUnavailableError,
    SendRefusedError,
    UnknownBlockError,
)
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import BATCH_ALL, PaymentExtrinsic, executed_to, expected_remark

MAX_ROUNDS: Final = 8
"""How often the flow looks and does before it gives up: four steps, and a few lost nonces."""


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
            try:
                progress = self._do(progress, step)
            except SendRefusedError:
                # The nonce may have been taken by something else: then another is tried, if all
                # that must hold before paying holds still.
                if self._is_open(self.memory.load() or progress):
                    raise
                progress = self._begun()
        msg = (
            f"after {MAX_ROUNDS} tries it is not done, because other extrinsics of the same keys "
            "keep coming in between; stop those and run this again"
        )
        raise ChainUnavailableError(msg)

    def rehearse(self) -> Step:
        """What :meth:`run` would do first. Remembers and sends nothing."""
        progress = self._begun()
        return next_step(progress, self._seen(progress), self.terms)

    def _is_open(self, progress: Progress) -> bool:
        """Whether what was sent last may still land."""
        sent = progress.payment if progress.paid is None else progress.commit
        return sent is not None and look_up(self.chain, sent.sending).may_still_land

    def _begun(self) -> Progress:
        wanted, known = self.commitment, self.memory.load()
        head = self.chain.finalized_head()
        if known is not None:
            self._must_be_the_same(known)
            known = self._without_failures(self._payment_settled(known))
            self._must_be_the_payers(known)
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

    def _payment_settled(self, known: Progress) -> Progress:
        """What became of a payment, before anything is asked of this wallet: once it has landed,
        or cannot any more, whose wallet sent it no longer matters."""
        if known.payment is None or known.paid is not None:
            return known
        outlook = self._outlook(known.payment)
        if not _is_settled(outlook, fee_order(known, known.payment)):
            return msgspec.structs.replace(known, payment=None)
        if outlook.landed is None or not outlook.landed.extrinsic.success:
            return known
        seen = Seen(outlook.head, payment=outlook, owner_then=self._owner_then(known, outlook))
        step = next_step(known, seen, self.terms)
        return step.progress if isinstance(step, Remember) else known

    def _must_be_the_payers(self, known: Progress) -> None:
        sent = known.payment
        if sent is not None and known.paid is None and sent.signer != self.coldkey:
            msg = (
                f"the payment was sent by {sent.signer} and this wallet's coldkey is "
                f"{self.coldkey}; open the wallet that paid, or run this again after block "
                f"{sent.sending.last_block}, when it has landed or cannot any more"
            )
            raise CommitRefusedError(msg)

    def _without_failures(self, known: Progress) -> Progress:
        """An extrinsic that failed was told of in the run before; this one tries anew."""
        if known.payment is not None and known.paid is None and self._failed(known.payment):
            return msgspec.structs.replace(known, payment=None)
        if known.commit is not None and known.committed is None and self._failed(known.commit):
            return msgspec.structs.replace(known, commit=None)
        return known

    def _failed(self, sent: Sent) -> bool:
        landed = look_up(self.chain, sent.sending).landed
        return landed is not None and not landed.extrinsic.success

    # -- looking ----------------------------------------------------------------------------

    def _seen(self, progress: Progress) -> Seen:
        head = self.chain.finalized_head().number
        if progress.committed is not None:
            return Seen(head)
        if progress.paid is None:
            sent = progress.payment
            outlook = None if sent is None else self._outlook(sent)
            if sent is not None and _is_settled(outlook, fee_order(progress, sent)):
                return Seen(head, payment=outlook, owner_then=self._owner_then(progress, outlook))
            return Seen(head, payment=outlook, spare=self._spare(progress, head))
        outlook = None if progress.commit is None else self._outlook(progress.commit)
        if _is_settled(outlook, commit_order(progress, progress.paid)):
            return Seen(head, commit=outlook)
        found = self._commitment(progress, progress.paid, head)
        return Seen(head, commit=outlook, commitment=found)

    def _outlook(self, sent: Sent) -> Outlook:
        self.say(f"looking for nonce {sent.nonce} of {sent.signer} after block {sent.after_block}")
        return look_up(self.chain, sent.sending)

    def _owner_then(self, progress: Progress, outlook: Outlook | None) -> str | None:
        """The hotkey's owner in the state of the block that took the payment."""
        landed = None if outlook is None else outlook.landed
        return None if landed is None else self.chain.owner(progress.hotkey, landed.block.hash)

    def _spare(self, progress: Progress, head: int) -> Paid | None:
        """The oldest unused payment of this hotkey and digest in the last blocks that is young
        enough, as one made now would be: an expired one pays for nothing."""
        window = self.terms.fee.payment_max_age_blocks
        young = head + self.commitment.takes_blocks - window
        first = max(1, young, head - self.look_back_blocks + 1)
        self.say(f"looking for a payment made before, in blocks {first} to {head}")
        return find_payment(
            self.chain, progress, self.terms, coldkey=self.coldkey, blocks=range(first, head + 1)
        )

    def _commitment(self, progress: Progress, paid: Paid, head: int) -> Committed | None:
        """A commit that carries this payment already; a sealed one cannot be recognised so."""
        # Before it was sent there was none, and a node may have thrown that state away.
        first = paid.block if progress.commit is None else progress.commit.after_block
        if head > first:
            self.say(f"looking for the commit in blocks {first} to {head}")
        for number in range(first, head + 1):
            block = self.chain.block(number)
            for commit in self.chain.commits(block, progress.netuid):
                payload = parse_payload(commit.payload)
                if (
                    commit.succeeded
                    and commit.hotkey == progress.hotkey
                    and isinstance(payload, CommitPayload)
                    and payload.payment_tx == paid.extrinsic_hash
                    and payload.digest == progress.digest
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
                fee = step.again or self._next_fee()
                progress = msgspec.structs.replace(progress, payment=fee)
                self.memory.save(progress)
                self.say(f"paying with nonce {fee.nonce}, in a block after {fee.after_block}")
                self._send(fee_order(progress, fee), fee)
            case PutCommit():
                sent = step.again or self._next(progress.hotkey)
                progress = msgspec.structs.replace(progress, commit=sent)
                self.memory.save(progress)
                self.say(f"committing with nonce {sent.nonce}, in a block after {sent.after_block}")
                self._send(commit_order(progress, step.paid), sent)
            case Done():
                pass
        return progress

    def _next_fee(self) -> FeeSent:
        sent, fee = self._next(self.coldkey), self.terms.fee
        return FeeSent(sent.signer, sent.nonce, sent.after_block, fee.fee_rao, fee.treasury_ss58)

    def _next(self, signer: str) -> Sent:
        sending = next_sending(self.chain, signer)
        return Sent(sending.signer, sending.nonce, sending.after_block)

    def _send(self, order: Order, sent: Sent) -> None:
        """Send and wait. What became of it is read from the blocks, whatever this says."""
        receipt = self.chain.send(self.chain.prepare(order, sent.sending))
        self.say(f"it is in the finalized block {receipt.block.number}")


def _is_settled(outlook: Outlook | None, order: Order) -> bool:
    """Whether ``order`` has landed, failed or not, or may still: then no other is looked for."""
    if outlook is None:
        return False
    landed = outlook.landed
    return outlook.may_still_land if landed is None else landed.carries(order)


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
            if not _pays(payment, remark, terms):
                continue
            # R7 asks the state of the payment's own block.
            if chain.owner(progress.hotkey, block.hash) == coldkey:
                found[extrinsic.hash.lower()] = Paid(extrinsic.hash, block.hash, number)
        for used in _used_in(chain, block, progress):
            found.pop(used, None)
    return next(iter(found.values()), None)


def _pays(payment: PaymentExtrinsic, remark: str, terms: Terms) -> bool:
    return (
        payment.success
        and payment.remarks == (remark,)
        and executed_to(payment, terms.fee.treasury_ss58) >= terms.fee.fee_rao
    )


def _used_in(chain: ChainReader, block: Block, progress: Progress) -> list[str]:
    """The payments that commits of this hotkey and digest name: no other commit uses one up.

    Anybody can name a payment, and R7 and R8 refuse all but its own hotkey and digest.
    """
    return [
        payload.payment_tx
        for commit in chain.commits(block, progress.netuid)
        if commit.succeeded
        and commit.hotkey == progress.hotkey
        and isinstance(payload := parse_payload(commit.payload), CommitPayload)
        and payload.digest == progress.digest
    ]
