"""What people decide about payments: claims, credits, refunds (decision 0033).

Every decision says who made it and why. That a claim's signature holds is checked by
:mod:`chain.claims` before, and can be checked again by whoever reads the log.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from ledger.addresses import require_ss58
from ledger.application import Ledger, Unit
from ledger.commands.money import fee_policy
from ledger.commands.said import check_actor, must_be_one_line
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.credits import PaymentCredited
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission
from ledger.decisions.unclaimed import ClaimRefused, PaymentClaimed, RefundDecided
from ledger.rules.claims import SignedClaim, payment_name
from ledger.units import Rao

MAX_REASON_CHARS: Final = 500

BY_HAND: Final = "by_hand"
"""The cause of a credit that a person gave and no rule."""

ENDED: Final = frozenset({"scored", "disqualified", "superseded", "copy"})
"""A submission in one of these states is done with: crediting it by hand takes no place in a
queue and no contest from anybody."""


def record_claim(ledger: Ledger, identity: UUID, claim: SignedClaim) -> PaymentClaimed:
    """Record a claim whose signature was found to hold; recording it again is a no-op."""
    if claim.arena != ledger.arena:
        msg = f"the claim is for arena {claim.arena} and not for {ledger.arena}; hand it in there"
        raise DecisionRefusedError(msg)
    if claim.hotkey is not None:
        require_ss58(claim.hotkey)

    def work(unit: Unit) -> PaymentClaimed:
        payment = unit.get(Payment, identity)
        deposit = payment.deposit(unit.context, "be claimed")
        name = payment_name(deposit.extrinsic_hash, deposit.block, deposit.extrinsic_index)
        if claim.payment != name:
            msg = f"the claim is of payment {claim.payment} and not of {name}"
            raise DecisionRefusedError(msg)
        if claim.wants == "credit":
            _must_cover_the_fee(unit, payment)
        return payment.make_claim(
            unit.context.because(deposit),
            claimant=claim.claimant,
            wants=claim.wants,
            hotkey=claim.hotkey,
            signature=claim.signature,
        )

    return ledger.decide(work)


def grant_claim(
    ledger: Ledger, identity: UUID, actor: str, reason: str, *, number: int | None = None
) -> RefundDecided | PaymentCredited:
    """Grant the open claim of a payment; with ``number`` only if it is that one."""
    _check(actor, reason)

    def work(unit: Unit) -> RefundDecided | PaymentCredited:
        payment = _claimed(unit, identity, number)
        if payment.open_claim().wants == "credit":
            _must_cover_the_fee(unit, payment)
        return payment.grant_claim(unit.context, actor, reason)

    return ledger.decide(work)


def refuse_claim(
    ledger: Ledger, identity: UUID, actor: str, reason: str, *, number: int | None = None
) -> ClaimRefused:
    """Refuse the open claim of a payment; with ``number`` only if it is that one."""
    _check(actor, reason)
    return ledger.decide(
        lambda unit: _claimed(unit, identity, number).refuse_claim(unit.context, actor, reason)
    )


def decide_refund(ledger: Ledger, identity: UUID, actor: str, reason: str) -> RefundDecided:
    """Decide that a payment goes back to its sender, claimed or not; again is a no-op."""
    _check(actor, reason)

    def work(unit: Unit) -> RefundDecided:
        payment = _followed(unit, identity, "be refunded")
        return payment.decide_refund(unit.context, actor, reason)

    return ledger.decide(work)


def credit_payment(
    ledger: Ledger, identity: UUID, hotkey: str, actor: str, reason: str
) -> PaymentCredited:
    """Let a hotkey's next submission pay with a payment that nobody claimed; again is a no-op."""
    _check(actor, reason)
    require_ss58(hotkey)

    def work(unit: Unit) -> PaymentCredited:
        payment = _followed(unit, identity, "be credited")
        if not payment.granted_to(hotkey):
            _must_cover_the_fee(unit, payment)
        return payment.give_credit(unit.context, hotkey, actor, reason)

    return ledger.decide(work)


def credit_submission(
    ledger: Ledger, identity: UUID, hotkey: str, actor: str, reason: str
) -> PaymentCredited:
    """Give the hotkey of a submission that ended its fee back in kind; again is a no-op.

    Refused while it waits or runs, for then the rules may still credit it.
    """
    _check(actor, reason)

    def work(unit: Unit) -> PaymentCredited:
        submission = unit.get(Submission, identity)
        commit = submission.commit
        if commit is None or submission.payment_id is None:
            msg = f"submission {identity} is unknown here or was never paid for"
            raise DecisionRefusedError(msg)
        if commit.hotkey != hotkey:
            msg = f"submission {identity} is of {commit.hotkey}, so {hotkey} gets no credit for it"
            raise DecisionRefusedError(msg)
        if submission.status not in ENDED:
            msg = (
                f"submission {identity} is {submission.status}; only one that ended is credited "
                "by hand"
            )
            raise DecisionRefusedError(msg)
        payment = unit.get(Payment, submission.payment_id)
        unit.because(commit)
        payment.credit(unit.context, identity, hotkey, BY_HAND, decided_by=actor, reason=reason)
        if payment.credited is None:
            msg = f"payment {payment.id} has no credit after one was given: this is a defect"
            raise AssertionError(msg)
        return payment.credited

    return ledger.decide(work)


# -- inside ---------------------------------------------------------------------------------


def _followed(unit: Unit, identity: UUID, what: str) -> Payment:
    """The payment; what follows names its open claim as the cause, else its arrival."""
    payment = unit.get(Payment, identity)
    unit.because(payment.claim or payment.deposit(unit.context, what))
    return payment


def _claimed(unit: Unit, identity: UUID, number: int | None) -> Payment:
    payment = unit.get(Payment, identity)
    claim = payment.open_claim()
    if number is not None and claim.number != number:
        msg = f"the open claim of payment {identity} is number {claim.number}, not {number}"
        raise DecisionRefusedError(msg)
    unit.because(claim)
    return payment


def _must_cover_the_fee(unit: Unit, payment: Payment) -> None:
    """A credit pays the fee that was in force at the payment's block (R5), so it must cover it."""
    deposit = payment.deposit(unit.context, "be credited")
    fee_rao = fee_policy(unit.arena, deposit.block).fee_rao
    if deposit.amount_rao < fee_rao:
        msg = (
            f"payment {payment.id} is of {Rao(deposit.amount_rao)}, less than the fee of "
            f"{Rao(fee_rao)}, so it can be no credit; claim or decide a refund"
        )
        raise DecisionRefusedError(msg)


def _check(actor: str, reason: str) -> None:
    check_actor(actor)
    must_be_one_line("a reason", reason, MAX_REASON_CHARS)
