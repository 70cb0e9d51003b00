"""The `treasury` view: payments, observed balances, periods and buybacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.books import accounts
from ledger.decisions.buybacks import (
    BuybackApproved,
    BuybackBought,
    BuybackBurned,
    BuybackBurnFailed,
    BuybackBurnSent,
    BuybackExecuted,
    BuybackFailed,
    BuybackPlanned,
    BuybackSent,
)
from ledger.decisions.treasury import PeriodClosed
from ledger.facts import Fact
from ledger.observations import AlphaBurnSeen, BalanceObserved, TreasuryTransferSeen
from ledger.projections.payments import PAYMENT_FACTS, fold_payment, payments
from ledger.projections.rows import Rows
from ledger.projections.tables import appended, versioned

balances: Final = appended(
    "treasury_balances",
    Column("about_block", BigInteger, nullable=False),
    Column("asset", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
)

outflows: Final = appended(
    "treasury_outflows",
    Column("block", BigInteger, nullable=False),
    Column("reference", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("what", Text, nullable=False),
)

periods: Final = appended(
    "treasury_periods",
    Column("number", Integer, nullable=False),
    Column("from_block", BigInteger, nullable=False),
    Column("to_block", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)

buybacks: Final = versioned(
    "treasury_buybacks",
    [Column("number", Integer, primary_key=True, autoincrement=False)],
    [
        Column("status", Text, nullable=False),
        Column("max_rao", BigInteger, nullable=False),
        Column("max_price_rao", BigInteger, nullable=False),
        Column("planned_by", Text, nullable=False),
        Column("approved_by", Text),
        Column("spent_rao", BigInteger),
        Column("burned_alpha", BigInteger),
        Column("block", BigInteger),
        Column("extrinsic_hash", Text),
        Column("detail", Text),
    ],
)


def _fold_outside(rows: Rows, position: int, fact: Fact) -> None:
    match fact:
        case BalanceObserved():
            asset = fact.asset
            rows.append(
                balances,
                position,
                about_block=fact.about_block,
                asset=accounts.alpha(fact.arena_key.netuid) if asset == "ALPHA" else asset,
                account=fact.account,
                amount=fact.amount,
                source=fact.source,
            )
        case TreasuryTransferSeen():
            rows.append(
                outflows,
                position,
                block=fact.block,
                reference=fact.extrinsic_hash,
                asset=accounts.TAO,
                amount=fact.amount_rao,
                what=f"transfer to {fact.destination}",
            )
        case AlphaBurnSeen(by_treasury=True):
            # Bought and burned at once, only the TAO left; else the alpha came out of the stake.
            spent = fact.spent_rao
            alpha = accounts.alpha(fact.netuid)
            rows.append(
                outflows,
                position,
                block=fact.block,
                reference=fact.extrinsic_hash,
                asset=alpha if spent is None else accounts.TAO,
                amount=fact.alpha if spent is None else spent,
                what=fact.how,
            )
        case PeriodClosed():
            rows.append(
                periods,
                position,
                number=fact.number,
                from_block=fact.from_block,
                to_block=fact.to_block,
                actor=fact.actor,
            )
        case _:
            pass  # not the outside's


def _fold_buyback(rows: Rows, position: int, fact: Fact) -> None:
    match fact:
        case BuybackPlanned():
            rows.put_new(
                buybacks,
                position,
                fact.number,
                status="planned",
                max_rao=fact.max_rao,
                max_price_rao=fact.max_price_rao,
                planned_by=fact.actor,
            )
        case BuybackApproved():
            rows.put(buybacks, position, fact.number, status="approved", approved_by=fact.actor)
        case BuybackSent():
            rows.put(buybacks, position, fact.number, status="sent")
        case BuybackExecuted():
            rows.put(
                buybacks,
                position,
                fact.number,
                status="executed",
                spent_rao=fact.spent_rao,
                burned_alpha=fact.burned_alpha,
                block=fact.block,
                extrinsic_hash=fact.extrinsic_hash,
            )
        case BuybackBought():
            rows.put(
                buybacks,
                position,
                fact.number,
                status="bought",
                spent_rao=fact.spent_rao,
                block=fact.block,
                extrinsic_hash=fact.extrinsic_hash,
                detail=f"{fact.bought_alpha} alpha (10^-9) bought, to be burned",
            )
        case BuybackBurnSent():
            rows.put(buybacks, position, fact.number, status="burning")
        case BuybackBurnFailed():
            rows.put(buybacks, position, fact.number, status="bought", detail=fact.reason)
        case BuybackBurned():
            rows.put(
                buybacks,
                position,
                fact.number,
                status="executed",
                burned_alpha=fact.burned_alpha,
                block=fact.block,
                extrinsic_hash=fact.extrinsic_hash,
                detail=None,
            )
        case BuybackFailed():
            rows.put(buybacks, position, fact.number, status="failed", detail=fact.reason)
        case _:
            pass  # not a buyback's


_FOLDS: Final[dict[type[Fact], Callable[[Rows, int, Any], None]]] = {
    kind: fold
    for fold, kinds in {
        _fold_outside: (AlphaBurnSeen, BalanceObserved, PeriodClosed, TreasuryTransferSeen),
        fold_payment: PAYMENT_FACTS,
        _fold_buyback: (
            BuybackApproved,
            BuybackBought,
            BuybackBurned,
            BuybackBurnFailed,
            BuybackBurnSent,
            BuybackExecuted,
            BuybackFailed,
            BuybackPlanned,
            BuybackSent,
        ),
    }.items()
    for kind in kinds
}
"""What changes the view's rows, and how."""


class TreasuryProjection:
    """Folds what became of the money that the journal moves, and what the outside states."""

    name = "treasury"
    tables = (balances, outflows, periods, payments, buybacks)
    knows: tuple[type[Fact], ...] = tuple(_FOLDS)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        fold = _FOLDS.get(type(fact))
        if fold is not None:
            fold(rows, position, fact)
