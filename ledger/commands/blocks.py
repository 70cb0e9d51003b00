"""Recording a finalized block: what it changed, what it paid, and its commits judged.

The rim gathers :class:`BlockFacts` from a chain; :func:`record_block` turns them into facts, all in
one transaction: the block itself first, then who holds what, then money, then commits in their
order, each with its verdict. A commit whose payment could not be looked up is recorded and
deferred; :func:`judge_deferred` goes on with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import RefusalCode
from ledger.commands.thrones import vacate
from ledger.decisions.arena import Arena
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission
from ledger.keys import block_key, payment_id, submission_id
from ledger.observations import (
    AlphaBurnSeen,
    BalanceObserved,
    BlockObserved,
    EpochObserved,
    NetworkFeeSeen,
    NeuronObserved,
    OwnerChanged,
    SubnetOwnerObserved,
    TreasuryTransferSeen,
)
from ledger.policy import FeePolicy, PolicyError
from ledger.rules.payload import CommitPayload, MalformedPayload
from ledger.rules.payments import (
    CommitFacts,
    PaymentAccepted,
    PaymentEvidence,
    PaymentRefused,
    executed_to,
    judge_payment,
)

MAX_REMARKS: Final = 16
MAX_REMARK_CHARS: Final = 256
"""How much of a payment's remarks is kept: anybody may send a batch of megabytes of them."""

MAX_PAYLOAD_CHARS: Final = 4_096
"""How much of a payload is kept as text; its SHA-256 covers all of it."""

FORGIVEN_BY_CREDIT: Final = frozenset(
    {
        RefusalCode.PAYMENT_ALREADY_USED,
        RefusalCode.PAYMENT_EXPIRED,
        RefusalCode.REMARK_MISMATCH,
    }
)
"""What a credit makes good: the payment served an earlier submission, with another digest."""


@dataclass(frozen=True, slots=True)
class NeuronChange:
    """A UID came to a hotkey; ``replaced_hotkey`` held it before, None if nobody did."""

    uid: int
    hotkey: str
    coldkey: str
    replaced_hotkey: str | None


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """A hotkey's coldkey changed."""

    hotkey: str
    old_coldkey: str
    new_coldkey: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """One extrinsic of the block moved money to the treasury."""

    extrinsic_index: int
    extrinsic_hash: str
    sender: str
    amount_rao: int
    outer_call: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A transfer out of the treasury's address."""

    event_index: int
    extrinsic_index: int
    extrinsic_hash: str
    destination: str
    amount_rao: int


@dataclass(frozen=True, slots=True)
class FeePaid:
    """A transaction fee the treasury's address paid."""

    extrinsic_index: int
    fee_rao: int


@dataclass(frozen=True, slots=True)
class AlphaBurned:
    """Alpha burned by the treasury's address; ``spent_rao`` is None where no TAO paid for it."""

    extrinsic_index: int
    extrinsic_hash: str
    how: str
    coldkey: str
    hotkey: str
    netuid: int
    spent_rao: int | None
    alpha: int


@dataclass(frozen=True, slots=True)
class EpochPaid:
    """An epoch's rows, as parallel tuples; alpha in 10^-9."""

    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    coldkeys: tuple[str, ...]
    incentive_alpha: tuple[int, ...]
    dividends_alpha: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CommitFound:
    """A commit that became known in the block, with what the chain showed about its payment.

    ``evidence`` is None where the node could not answer; ``unanswered`` then says what failed.
    """

    hotkey: str
    coldkey: str | None
    uid: int | None
    form: str
    index: int
    payload: bytes
    parsed: CommitPayload | MalformedPayload
    succeeded: bool
    evidence: PaymentEvidence | None
    unanswered: str = ""

    @property
    def place(self) -> str:
        """The place in the block: ``r<n>`` among reveals, ``x<n>`` as an extrinsic."""
        return f"{'r' if self.form == 'timelocked' else 'x'}{self.index}"

    @property
    def order(self) -> tuple[int, int]:
        """The order of judging inside the block: reveals before extrinsics, then by place."""
        return (0 if self.form == "timelocked" else 1, self.index)


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """Everything the ledger wants to know of one finalized block."""

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int
    neurons: tuple[NeuronChange, ...] = ()
    owners: tuple[OwnerChange, ...] = ()
    subnet_owner: tuple[str, str] | None = None
    deposits: tuple[Deposit, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    fees: tuple[FeePaid, ...] = ()
    burns: tuple[AlphaBurned, ...] = ()
    epoch: EpochPaid | None = None
    commits: tuple[CommitFound, ...] = ()


@dataclass(frozen=True, slots=True)
class OpeningState:
    """Who held what in the state of the block an arena opened at."""

    block_hash: str
    neurons: tuple[NeuronChange, ...]
    subnet_owner: tuple[str, str] | None


def record_opening(ledger: Ledger, state: OpeningState) -> None:
    """Record the state an arena opened with; recording it again changes nothing."""

    def work(unit: Unit) -> None:
        facts = BlockFacts(
            number=unit.block,
            hash=state.block_hash,
            parent_hash="",
            timestamp_ms=None,
            spec_version=0,
            neurons=state.neurons,
            subnet_owner=state.subnet_owner,
        )
        _record_registry(unit, facts)

    ledger.decide(work)


def record_block(ledger: Ledger, facts: BlockFacts) -> None:
    """Record one finalized block and everything in it; recording it again changes nothing.

    Raises ``FactConflictError`` (and records the alarm) for another block under a recorded number.
    """
    header = {
        "hash": facts.hash,
        "parent_hash": facts.parent_hash,
        "timestamp_ms": facts.timestamp_ms,
        "spec_version": facts.spec_version,
    }

    def work(unit: Unit) -> None:
        if facts.number <= unit.block:
            key = block_key(unit.context.arena, facts.number)
            if unit.ledger.known(key) is not None:
                unit.observe(BlockObserved, key, number=facts.number, **header)
            return
        block = unit.advance(facts.number, **header)
        unit.because(block)
        _record_registry(unit, facts)
        _record_money(unit, facts)
        for commit in sorted(facts.commits, key=lambda found: found.order):
            _record_commit(unit, facts, commit)

    ledger.decide(work)


def judge_deferred(ledger: Ledger, submission: UUID, evidence: PaymentEvidence) -> None:
    """Judge a deferred commit, now that the node answered."""

    def work(unit: Unit) -> None:
        found = unit.get(Submission, submission)
        if found.commit is None or found.status not in {"known", "deferred"}:
            return
        commit = found.commit
        parsed: CommitPayload | MalformedPayload
        if commit.image and commit.digest and commit.payment_tx and commit.payment_block:
            parsed = CommitPayload(
                commit.image, commit.digest, commit.payment_tx, commit.payment_block
            )
        else:
            parsed = MalformedPayload("the payload was malformed when it was recorded")
        facts = CommitFacts(str(found.id), commit.hotkey, commit.block, parsed)
        unit.because(commit)
        _judge(unit, found, facts, evidence)

    ledger.decide(work)


def record_balances(
    ledger: Ledger, balances: tuple[tuple[str, str, int, str], ...], *, about_block: int
) -> None:
    """Record balances as the outside states them: (asset, account, amount, source) each."""

    def work(unit: Unit) -> None:
        for asset, account, amount, source in balances:
            unit.observe(
                BalanceObserved,
                f"balance:{unit.context.arena}:{asset}:{account}:{about_block}",
                asset=asset,
                account=account,
                amount=amount,
                source=source,
                about_block=about_block,
            )

    ledger.decide(work)


# -- who holds what -------------------------------------------------------------------------


def _record_registry(unit: Unit, facts: BlockFacts) -> None:
    arena = unit.context.arena
    for change in facts.neurons:
        unit.observe(
            NeuronObserved,
            f"neuron:{arena}:{facts.number}:{change.uid}",
            block=facts.number,
            uid=change.uid,
            hotkey=change.hotkey,
            coldkey=change.coldkey,
            replaced_hotkey=change.replaced_hotkey,
        )
    for owner in facts.owners:
        unit.observe(
            OwnerChanged,
            f"owner:{arena}:{facts.number}:{owner.hotkey}",
            block=facts.number,
            hotkey=owner.hotkey,
            old_coldkey=owner.old_coldkey,
            new_coldkey=owner.new_coldkey,
        )
    if facts.subnet_owner is not None:
        hotkey, coldkey = facts.subnet_owner
        unit.observe(
            SubnetOwnerObserved,
            f"subnet-owner:{arena}:{facts.number}",
            block=facts.number,
            hotkey=hotkey,
            coldkey=coldkey,
        )
    came = {change.hotkey for change in facts.neurons}
    left = {change.replaced_hotkey for change in facts.neurons} - came - {None}
    if left:
        vacate(unit, lambda hotkey: hotkey in left)


# -- money ----------------------------------------------------------------------------------


def _record_money(unit: Unit, facts: BlockFacts) -> None:
    arena = unit.context.arena
    treasury = _fee_policy(unit.arena, facts.number).treasury_ss58
    for deposit in facts.deposits:
        identity = payment_id(arena.genesis, facts.hash, deposit.extrinsic_index)
        payment = unit.begin(Payment, identity)  # this block is new, and so is what is in it
        payment.see(
            unit.context,
            f"payment:{arena.genesis}:{facts.hash}:{deposit.extrinsic_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=deposit.extrinsic_index,
            extrinsic_hash=deposit.extrinsic_hash,
            sender=deposit.sender,
            treasury=treasury,
            amount_rao=deposit.amount_rao,
            outer_call=deposit.outer_call,
            remarks=_kept_remarks(deposit.remarks),
        )
    for out in facts.withdrawals:
        unit.observe(
            TreasuryTransferSeen,
            f"out:{arena}:{facts.hash}:{out.event_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=out.extrinsic_index,
            extrinsic_hash=out.extrinsic_hash,
            destination=out.destination,
            amount_rao=out.amount_rao,
        )
    for fee in facts.fees:
        unit.observe(
            NetworkFeeSeen,
            f"fee:{arena}:{facts.hash}:{fee.extrinsic_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=fee.extrinsic_index,
            payer=treasury,
            fee_rao=fee.fee_rao,
        )
    burns_of: dict[int, int] = {}
    for burn in facts.burns:
        burns_of[burn.extrinsic_index] = place = burns_of.get(burn.extrinsic_index, 0) + 1
        further = f":{place}" if place > 1 else ""  # one batch may burn several times
        unit.observe(
            AlphaBurnSeen,
            f"burn:{arena}:{facts.hash}:{burn.extrinsic_index}{further}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=burn.extrinsic_index,
            extrinsic_hash=burn.extrinsic_hash,
            how=burn.how,
            coldkey=burn.coldkey,
            hotkey=burn.hotkey,
            netuid=burn.netuid,
            spent_rao=burn.spent_rao,
            alpha=burn.alpha,
        )
    if facts.epoch is not None:
        unit.observe(
            EpochObserved,
            f"epoch:{arena}:{facts.number}",
            block=facts.number,
            block_hash=facts.hash,
            uids=facts.epoch.uids,
            hotkeys=facts.epoch.hotkeys,
            coldkeys=facts.epoch.coldkeys,
            incentive_alpha=facts.epoch.incentive_alpha,
            dividends_alpha=facts.epoch.dividends_alpha,
        )


# -- commits --------------------------------------------------------------------------------


def _record_commit(unit: Unit, facts: BlockFacts, commit: CommitFound) -> None:
    arena = unit.context.arena
    identity = submission_id(arena, commit.hotkey, facts.number, commit.place, commit.payload)
    submission = unit.get(Submission, identity)
    parsed = commit.parsed if isinstance(commit.parsed, CommitPayload) else None
    seen = submission.see(
        unit.context,
        f"commit:{identity}",
        track=next(iter(unit.arena.policy_at(facts.number).tracks)),
        hotkey=commit.hotkey,
        coldkey=commit.coldkey,
        uid=commit.uid,
        form=commit.form,
        block=facts.number,
        block_hash=facts.hash,
        index=commit.index,
        payload=commit.payload.decode("utf-8", "replace")[:MAX_PAYLOAD_CHARS],
        payload_sha256=hashlib.sha256(commit.payload).hexdigest(),
        image=parsed.image if parsed else None,
        digest=parsed.digest if parsed else None,
        payment_tx=parsed.payment_tx if parsed else None,
        payment_block=parsed.payment_block if parsed else None,
    )
    if seen is None:
        return
    outer, unit.context = unit.context, unit.context.because(seen)
    judged = CommitFacts(
        str(identity), commit.hotkey, facts.number, commit.parsed, commit.succeeded
    )
    needs_chain = commit.succeeded and parsed is not None
    if commit.evidence is None and needs_chain:
        submission.defer(unit.context, commit.unanswered)
    else:
        _judge(unit, submission, judged, commit.evidence or PaymentEvidence())
    unit.context = outer


def _judge(
    unit: Unit, submission: Submission, commit: CommitFacts, evidence: PaymentEvidence
) -> None:
    payment = _payment_of(unit, commit, evidence)
    credit = payment is not None and payment.credit_of == commit.hotkey
    taken_by = payment.consumed_by if payment is not None and not credit else None
    fee = _fee_policy(unit.arena, evidence.block_number or commit.block_number)
    verdict = judge_payment(commit, evidence.consumed(str(taken_by) if taken_by else None), fee)
    if isinstance(verdict, PaymentRefused) and not (
        credit and set(verdict.codes) <= FORGIVEN_BY_CREDIT
    ):
        submission.refuse(unit.context, verdict.codes, _sentence(commit, verdict))
        return
    if payment is None:
        msg = f"submission {submission.id} was accepted without a payment: this is a defect"
        raise AssertionError(msg)
    try:
        consumed = payment.consume(unit.context, submission.id, commit.hotkey, fee.fee_rao)
    except DecisionRefusedError as error:  # e.g. refunded: money that is no longer there
        submission.refuse(unit.context, (RefusalCode.PAYMENT_ALREADY_USED,), str(error))
        return
    submission.accept(
        unit.context.because(consumed),
        payment.id,
        fee.fee_rao if not credit else 0,
        verdict.overpaid_rao if isinstance(verdict, PaymentAccepted) and not credit else 0,
        by_credit=credit,
    )


def _payment_of(unit: Unit, commit: CommitFacts, evidence: PaymentEvidence) -> Payment | None:
    """The payment a commit names; one from before the arena opened is noted here and now."""
    extrinsic = evidence.extrinsic
    if extrinsic is None or evidence.block_number is None:
        return None
    if not isinstance(commit.payload, CommitPayload):
        return None
    genesis, block_hash = unit.context.arena.genesis, commit.payload.payment_block
    payment = unit.get(Payment, payment_id(genesis, block_hash, extrinsic.index))
    treasury = _fee_policy(unit.arena, evidence.block_number).treasury_ss58
    amount_rao = executed_to(extrinsic, treasury)
    if payment.seen is None and extrinsic.success and amount_rao and extrinsic.signer:
        payment.see(
            unit.context,
            f"payment:{genesis}:{block_hash}:{extrinsic.index}",
            block=evidence.block_number,
            block_hash=block_hash,
            extrinsic_index=extrinsic.index,
            extrinsic_hash=commit.payload.payment_tx,
            sender=extrinsic.signer,
            treasury=treasury,
            amount_rao=amount_rao,
            outer_call=extrinsic.outer_call,
            remarks=_kept_remarks(extrinsic.remarks),
        )
    return payment


def _kept_remarks(remarks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(remark[:MAX_REMARK_CHARS] for remark in remarks[:MAX_REMARKS])


def _fee_policy(arena: Arena, block: int) -> FeePolicy:
    """The fee in force at a block; before the arena opened, the one it opened with."""
    try:
        return arena.policy_at(block).fee
    except PolicyError:
        return arena.policies[0].policy.fee


def _sentence(commit: CommitFacts, verdict: PaymentRefused) -> str:
    if isinstance(commit.payload, MalformedPayload):
        return commit.payload.detail
    return f"refused: {', '.join(code.value for code in verdict.codes)}"
