"""Recording a commit and judging its payment (R1 to R10), now or when the node answers."""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import RefusalCode
from ledger.commands.block_facts import BlockFacts, CommitFound, SealedFound
from ledger.commands.money import fee_policy, kept_remarks
from ledger.decisions.credits import PaymentCredited
from ledger.decisions.payment import Payment, PaymentConsumed
from ledger.decisions.proof import Proof
from ledger.decisions.submission import CommitSeen, Submission
from ledger.keys import block_key, filled_key, payment_id, proof_id, submission_id
from ledger.observations import SealedCommitSeen
from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, MalformedPayload
from ledger.rules.payments import (
    CommitFacts,
    PaymentEvidence,
    PaymentRefused,
    expired,
    judge_payment,
    reached,
)

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

FORGIVEN_BY_GRANT: Final = FORGIVEN_BY_CREDIT | {
    RefusalCode.WRONG_DESTINATION,
    RefusalCode.TRANSFER_NOT_EXECUTED,
    RefusalCode.AMOUNT_TOO_SMALL,
    RefusalCode.AMBIGUOUS_REMARKS,
    RefusalCode.COLDKEY_UNKNOWN,
    RefusalCode.SIGNER_NOT_OWNER,
    RefusalCode.NOT_BATCH_ALL,
    RefusalCode.NO_TREASURY_TRANSFER,
    RefusalCode.REMARK_MISSING,
}
"""What a credit out of unclaimed money makes good: a person said that this money pays for this
hotkey, so how it was sent, by whom and with which remark no longer matters (R4 to R7). What came in
must cover the fee all the same, whichever call moved it (decision 0033)."""


def record_commit(unit: Unit, facts: BlockFacts, commit: CommitFound) -> None:
    """Record a commit and its verdict, or that it waits for one."""
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
        nth=commit.nth,
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
    if not commit.succeeded or parsed is None:
        _judge(unit, submission, judged, PaymentEvidence())
    else:
        proof = _proof(unit, parsed, expected_new=True)
        first = _not_judged_before(unit, proof, seen)
        evidence = commit.evidence
        if first is not None or evidence is None or not _can_judge(unit, judged, evidence):
            unread = evidence.unread if evidence else ""
            deferred = submission.defer(unit.context, commit.unanswered or unread or _behind(first))
            if deferred is not None:
                proof.wait(unit.context.because(deferred), seen)
        else:
            _judge(unit, submission, judged, evidence)
    unit.context = outer


def record_sealed(unit: Unit, facts: BlockFacts, sealed: SealedFound) -> None:
    """Record that a timelocked commitment was made; nobody knows yet what it says."""
    place = f"{sealed.extrinsic_index}:{sealed.nth}"
    unit.observe(
        SealedCommitSeen,
        f"sealed:{unit.context.arena}:{facts.hash}:{place}",
        block=facts.number,
        block_hash=facts.hash,
        hotkey=sealed.hotkey,
        coldkey=sealed.coldkey,
        uid=sealed.uid,
        extrinsic_index=sealed.extrinsic_index,
        nth=sealed.nth,
        extrinsic_hash=sealed.extrinsic_hash,
        reveal_round=sealed.reveal_round,
        succeeded=sealed.succeeded,
    )


def judge_deferred(ledger: Ledger, submission: UUID, evidence: PaymentEvidence) -> bool:
    """Judge a deferred commit, now that the node answered; whether it is judged now.

    It is not while an earlier commit that names the same payment is not: that one comes first (R8).
    Nor where nobody can show the payment, unless that has expired and no credit could forgive it.
    """

    def work(unit: Unit) -> bool:
        found = unit.get(Submission, submission)
        commit = found.commit
        if commit is None or found.status not in {"known", "deferred"}:
            return commit is not None
        parsed: CommitPayload | MalformedPayload
        if commit.image and commit.digest and commit.payment_tx and commit.payment_block:
            parsed = CommitPayload(
                commit.image, commit.digest, commit.payment_tx, commit.payment_block
            )
            proof = _proof(unit, parsed, expected_new=False)
            if _not_judged_before(unit, proof, commit) is not None:
                return False
        else:
            parsed = MalformedPayload("the payload was malformed when it was recorded")
        facts = CommitFacts(str(found.id), commit.hotkey, commit.block, parsed)
        if not _can_judge(unit, facts, evidence):
            return False
        unit.because(commit)
        _judge(unit, found, facts, evidence)
        return True

    return ledger.decide(work)


def _can_judge(unit: Unit, commit: CommitFacts, evidence: PaymentEvidence) -> bool:
    """Whether the verdict is certain: also unread, an expired payment is refused (R10).

    But not while its block is missing in the log, for filling it shows all that is wrong, nor where
    the hotkey has a credit, which may be of that payment and forgives its age.
    """
    if not evidence.unread:
        return True
    paid_at = commit.block_number if evidence.block_number is None else evidence.block_number
    if not expired(commit, evidence, fee_policy(unit.arena, paid_at)) or _is_missing(unit, paid_at):
        return False
    credited = unit.ledger.newest(
        PaymentCredited,
        where=lambda fact: (
            fact.hotkey == commit.hotkey
            and unit.get(Payment, fact.originator_id).credit_of == commit.hotkey
        ),
    )
    return credited is None


def _is_missing(unit: Unit, number: int) -> bool:
    """Whether a block lies in a gap of the log that is not filled there."""
    arena = unit.context.arena
    keys = (block_key(arena, number), filled_key(arena, number))
    return number > unit.arena.opened_at_block and all(
        unit.ledger.known(key) is None for key in keys
    )


def _judge(
    unit: Unit, submission: Submission, commit: CommitFacts, evidence: PaymentEvidence
) -> None:
    paid_at = commit.block_number if evidence.block_number is None else evidence.block_number
    fee = fee_policy(unit.arena, paid_at)
    payment = _payment_of(unit, commit, evidence, fee.treasury_ss58)
    credit = payment is not None and payment.is_credit(unit.context.arena, commit.hotkey)
    taken_by = payment.taken_by if payment is not None and not credit else None
    verdict = judge_payment(commit, evidence.consumed(taken_by), fee)
    if isinstance(verdict, PaymentRefused) and not _forgiven(unit, verdict, payment, commit, fee):
        submission.refuse(unit.context, verdict.codes, _sentence(commit, verdict))
        return
    if payment is None:
        msg = f"submission {submission.id} was accepted without a payment: this is a defect"
        raise AssertionError(msg)
    taken = payment.consume(unit.context, submission.id, commit.hotkey, fee.fee_rao)
    paid = isinstance(taken, PaymentConsumed)
    submission.accept(
        unit.context.because(taken),
        payment.id,
        fee.fee_rao if paid else 0,
        taken.overpaid_rao if isinstance(taken, PaymentConsumed) else 0,
        by_credit=not paid,
    )


def _forgiven(
    unit: Unit,
    verdict: PaymentRefused,
    payment: Payment | None,
    commit: CommitFacts,
    fee: FeePolicy,
) -> bool:
    """Whether a credit of the hotkey makes good all that is wrong with its payment."""
    if payment is None or not payment.is_credit(unit.context.arena, commit.hotkey):
        return False
    if not payment.granted_to(commit.hotkey):
        return set(verdict.codes) <= FORGIVEN_BY_CREDIT
    came_rao = payment.deposit(unit.context, "pay").amount_rao
    return came_rao >= fee.fee_rao and set(verdict.codes) <= FORGIVEN_BY_GRANT


def _payment_of(
    unit: Unit, commit: CommitFacts, evidence: PaymentEvidence, treasury: str
) -> Payment | None:
    """The payment a commit names; one from before the arena opened is noted here and now."""
    extrinsic = evidence.extrinsic
    if extrinsic is None or evidence.block_number is None:
        return None
    if not isinstance(commit.payload, CommitPayload):
        return None
    genesis, block_hash = unit.context.arena.genesis, commit.payload.payment_block
    payment = unit.get(Payment, payment_id(genesis, block_hash, extrinsic.index))
    amount_rao = reached(extrinsic, treasury)
    if amount_rao is not None and extrinsic.signer:
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
            remarks=kept_remarks(extrinsic.remarks),
        )
    return payment


def _proof(unit: Unit, payload: CommitPayload, *, expected_new: bool) -> Proof:
    """The line of those who wait for this proof's verdict; as a rule nobody does."""
    genesis = unit.context.arena.genesis
    identity = proof_id(genesis, payload.payment_block, payload.payment_tx)
    return unit.begin(Proof, identity) if expected_new else unit.get(Proof, identity)


def _not_judged_before(unit: Unit, proof: Proof, commit: CommitSeen) -> UUID | None:
    """The first commit before this one that names the same proof and still waits."""
    for earlier in proof.before(commit):
        if unit.get(Submission, earlier).status == "deferred":
            return earlier
    return None


def _behind(earlier: UUID | None) -> str:
    return f"an earlier commit that names the same payment, {earlier}, is not judged yet"


def _sentence(commit: CommitFacts, verdict: PaymentRefused) -> str:
    if isinstance(commit.payload, MalformedPayload):
        return commit.payload.detail
    return f"refused: {', '.join(code.value for code in verdict.codes)}"
