"""Credits: a hotkey may pay once more with a payment, or once at all where none used it yet.

Facts of :class:`ledger.decisions.payment.Payment`, which decides on them (decision 0033).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from ledger.facts import Fact, fact, upcast

RULES: Final = "rules"
"""Who decided where no person did."""


@fact("payment.credited.v1")
class PaymentCreditedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`PaymentCredited`: only the rules gave credits."""

    submission_id: UUID
    hotkey: str
    cause: str


@fact("payment.credited.v2")
class PaymentCredited(Fact, frozen=True, kw_only=True):
    """The hotkey may use the payment once more, or once at all where none used it yet.

    ``submission_id`` is the one that the infrastructure failed; None where a claim of an unclaimed
    payment was granted. ``fee_rao`` is the fee that is given back as a credit and is no income
    until it is redeemed; 0 for a claim, whose money was no income yet, None where version 1 did not
    move it. ``decided_by`` is a person, or ``rules``.
    """

    submission_id: UUID | None
    hotkey: str
    cause: str
    fee_rao: int | None
    decided_by: str
    reason: str


@upcast("payment.credited.v1")
def credited_by_the_rules(old: PaymentCreditedV1) -> PaymentCredited:
    """Its cause was its reason."""
    content = msgspec.structs.asdict(old)
    return PaymentCredited(**content, fee_rao=None, decided_by=RULES, reason=old.cause)


@fact("payment.credit_redeemed.v1")
class CreditRedeemedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`CreditRedeemed`, which moved no money."""

    submission_id: UUID
    hotkey: str


@fact("payment.credit_redeemed.v2")
class CreditRedeemed(Fact, frozen=True, kw_only=True):
    """A later submission of the same hotkey used the credit of ``fee_rao``.

    None where the credit itself moved no money (version 1).
    """

    submission_id: UUID
    hotkey: str
    fee_rao: int | None


@upcast("payment.credit_redeemed.v1")
def redeemed_without_money(old: CreditRedeemedV1) -> CreditRedeemed:
    """The fee had stayed income all the time."""
    return CreditRedeemed(**msgspec.structs.asdict(old), fee_rao=None)
