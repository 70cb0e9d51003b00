"""Money that no submission took: claimed by who paid, sent back, given away, or expired.

Facts of :class:`ledger.decisions.payment.Payment`, and what it refuses of a claim (decision 0033).
"""

from __future__ import annotations

import msgspec

from ledger.decisions.base import DecisionRefusedError
from ledger.facts import Fact, fact, upcast
from ledger.rules.claims import Wants


@fact("payment.claimed.v1")
class PaymentClaimed(Fact, frozen=True, kw_only=True):
    """Who paid wants an unclaimed payment back, or as a credit for a hotkey.

    ``number`` counts a payment's claims from 1. ``claimant`` is the coldkey that paid, and
    ``signature`` is its over the claim's text (:func:`ledger.rules.claims.claim_text`), in ``0x``
    hex: that it holds is checked before it is recorded, and can be by whoever reads the log.
    """

    number: int
    claimant: str
    wants: Wants
    hotkey: str | None
    signature: str


@fact("payment.claim_refused.v1")
class ClaimRefused(Fact, frozen=True, kw_only=True):
    """A claim was looked at and refused."""

    number: int
    decided_by: str
    reason: str


@fact("payment.refund_decided.v1")
class RefundDecided(Fact, frozen=True, kw_only=True):
    """The money is to go back to ``destination``; it has not moved yet."""

    amount_rao: int
    destination: str
    decided_by: str
    reason: str


@fact("payment.refunded.v1")
class PaymentRefundedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`PaymentRefunded`, without a reason."""

    amount_rao: int
    block: int
    extrinsic_hash: str
    actor: str


@fact("payment.refunded.v2")
class PaymentRefunded(Fact, frozen=True, kw_only=True):
    """An unclaimed payment went back to its sender: out of the treasury, in one extrinsic."""

    amount_rao: int
    block: int
    extrinsic_hash: str
    actor: str
    reason: str


@upcast("payment.refunded.v1")
def refunded_without_a_reason(old: PaymentRefundedV1) -> PaymentRefunded:
    """Nobody was asked for a reason then."""
    return PaymentRefunded(**msgspec.structs.asdict(old), reason="")


@fact("payment.contributed.v1")
class PaymentContributed(Fact, frozen=True, kw_only=True):
    """The payment was a gift: a contribution was booked that names its extrinsic."""

    contributor: str
    reference: str
    actor: str


@fact("payment.expired.v1")
class PaymentExpired(Fact, frozen=True, kw_only=True):
    """Nobody claimed the payment while policy allowed it (R10). The money stays visible."""

    age_blocks: int


def must_be_a_claim(
    payment: str, sender: str, *, claimant: str, wants: Wants, hotkey: str | None
) -> None:
    """Refuse a claim that is none of a payment of ``sender``, which people name ``payment``."""
    if (wants == "credit") != (hotkey is not None):
        msg = "a claim of a credit names the hotkey it is for, and a claim of a refund none"
        raise DecisionRefusedError(msg)
    if claimant != sender:
        msg = f"payment {payment} came from {sender}, so {claimant} cannot claim it"
        raise DecisionRefusedError(msg)


def claimed_otherwise(payment: str, claim: PaymentClaimed) -> DecisionRefusedError:
    """The refusal of what an open claim does not want."""
    wanted = "a refund" if claim.hotkey is None else f"a credit for {claim.hotkey}"
    return DecisionRefusedError(
        f"claim {claim.number} of payment {payment} wants {wanted}; grant or refuse it first"
    )
