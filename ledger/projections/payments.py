"""The payments of the `treasury` view: what came in, what became of it, who decided so and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.credits import CreditRedeemed, PaymentCredited
from ledger.decisions.payment import PaymentConsumed, PaymentSeen
from ledger.decisions.unclaimed import (
    ClaimRefused,
    PaymentClaimed,
    PaymentContributed,
    PaymentExpired,
    PaymentRefunded,
    RefundDecided,
)
from ledger.facts import Fact
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

payments: Final = versioned(
    "treasury_payments",
    [Column("payment_id", Text, primary_key=True)],
    [
        Column("block", BigInteger, nullable=False),
        Column("block_hash", Text, nullable=False),
        Column("extrinsic_index", Integer, nullable=False),
        Column("extrinsic_hash", Text, nullable=False),
        Column("sender", Text, nullable=False),
        Column("amount_rao", BigInteger, nullable=False),
        Column("outer_call", Text, nullable=False),
        Column("remarks", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("submission_id", Text),
        Column("hotkey", Text),
        Column("overpaid_rao", BigInteger),
        # The newest claim: its number and state (open, refused, granted, lapsed).
        Column("claim_number", Integer),
        Column("claim_wants", Text),
        Column("claim_hotkey", Text),
        Column("claim_state", Text),
        # The hotkey that has an unused credit of it.
        Column("credit_of", Text),
        # The newest decision about it.
        Column("decided_by", Text),
        Column("reason", Text),
        # The extrinsic that carried a refund out.
        Column("refund_extrinsic_hash", Text),
    ],
    indexed=(("extrinsic_hash",), ("credit_of",)),
)

UNCLAIMED: Final = ("unclaimed", "expired")
"""The states of money that a commit or a claim can still take."""


def fold_payment(rows: Rows, position: int, fact: Fact) -> None:
    """Change a payment's row by one fact of it."""
    identity = str(fact.originator_id)
    if isinstance(fact, PaymentSeen):
        rows.put_new(
            payments,
            position,
            identity,
            block=fact.block,
            block_hash=fact.block_hash,
            extrinsic_index=fact.extrinsic_index,
            extrinsic_hash=fact.extrinsic_hash,
            sender=fact.sender,
            amount_rao=fact.amount_rao,
            outer_call=fact.outer_call,
            remarks=msgspec.json.encode(fact.remarks).decode(),
            status="unclaimed",
        )
        return
    changes = _CHANGES[type(fact)](fact)
    if isinstance(fact, PaymentConsumed | RefundDecided | PaymentCredited):
        before = rows.get(payments, identity)
        if before is not None and before["claim_state"] == "open":
            lapsed = isinstance(fact, PaymentConsumed)
            changes["claim_state"] = "lapsed" if lapsed else "granted"
    rows.put(payments, position, identity, **changes)


def _consumed(fact: PaymentConsumed) -> dict[str, Any]:
    return {
        "status": "consumed",
        "submission_id": str(fact.submission_id),
        "hotkey": fact.hotkey,
        "overpaid_rao": fact.overpaid_rao,
        "credit_of": None,
    }


def _credited(fact: PaymentCredited) -> dict[str, Any]:
    return {
        "status": "credited",
        "hotkey": fact.hotkey,
        "credit_of": fact.hotkey,
        "decided_by": fact.decided_by,
        "reason": fact.reason,
    }


def _redeemed(fact: CreditRedeemed) -> dict[str, Any]:
    return {"status": "consumed", "submission_id": str(fact.submission_id), "credit_of": None}


def _claimed(fact: PaymentClaimed) -> dict[str, Any]:
    return {
        "claim_number": fact.number,
        "claim_wants": fact.wants,
        "claim_hotkey": fact.hotkey,
        "claim_state": "open",
    }


def _claim_refused(fact: ClaimRefused) -> dict[str, Any]:
    return {"claim_state": "refused", "decided_by": fact.decided_by, "reason": fact.reason}


def _refund_decided(fact: RefundDecided) -> dict[str, Any]:
    return {"status": "refund decided", "decided_by": fact.decided_by, "reason": fact.reason}


def _refunded(fact: PaymentRefunded) -> dict[str, Any]:
    return {
        "status": "refunded",
        "decided_by": fact.actor,
        "reason": fact.reason or None,
        "refund_extrinsic_hash": fact.extrinsic_hash,
    }


def _contributed(fact: PaymentContributed) -> dict[str, Any]:
    return {"status": "contributed", "decided_by": fact.actor}


def _expired(_: PaymentExpired) -> dict[str, Any]:
    return {"status": "expired"}


_CHANGES: Final[dict[type[Fact], Callable[[Any], dict[str, Any]]]] = {
    PaymentConsumed: _consumed,
    PaymentCredited: _credited,
    CreditRedeemed: _redeemed,
    PaymentClaimed: _claimed,
    ClaimRefused: _claim_refused,
    RefundDecided: _refund_decided,
    PaymentRefunded: _refunded,
    PaymentContributed: _contributed,
    PaymentExpired: _expired,
}

PAYMENT_FACTS: Final[tuple[type[Fact], ...]] = (PaymentSeen, *_CHANGES)
"""What changes a payment's row."""
