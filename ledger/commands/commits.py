"""Recording a commit and judging its payment (R1 to R10), now or when the node answers."""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import RefusalCode
from ledger.commands.block_facts import BlockFacts, CommitFound
from ledger.commands.money import fee_policy, kept_remarks
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission
from ledger.keys import payment_id, submission_id
from ledger.rules.payload import CommitPayload, MalformedPayload
from ledger.rules.payments import (
    CommitFacts,
    PaymentAccepted,
    PaymentEvidence,
    PaymentRefused,
    executed_to,
    judge_payment,
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


def record_commit(unit: Unit, facts: BlockFacts, commit: CommitFound) -> None:
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
    fee = fee_policy(unit.arena, evidence.block_number or commit.block_number)
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
    treasury = fee_policy(unit.arena, evidence.block_number).treasury_ss58
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
            remarks=kept_remarks(extrinsic.remarks),
        )
    return payment


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


def _sentence(commit: CommitFacts, verdict: PaymentRefused) -> str:
    if isinstance(commit.payload, MalformedPayload):
        return commit.payload.detail
    return f"refused: {', '.join(code.value for code in verdict.codes)}"
