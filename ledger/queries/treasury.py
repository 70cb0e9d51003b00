"""The treasury: the journal and its balances, payments and buybacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select

from ledger.projections import treasury as view
from ledger.projections.journal import postings
from ledger.queries import payments as ask_payments
from ledger.queries.book_names import must_be_known, of_account
from ledger.queries.reconciling import (
    AdjustmentLine,
    BreakLine,
    CorrectionLine,
    Reconciliation,
    TreasuryLine,
    reconciliation,
    treasury_lines,
)
from ledger.queries.scope import BlockOutOfRangeError, Scope, plain
from ledger.store.schema import events

__all__ = [
    "AdjustmentLine",
    "BreakLine",
    "CorrectionLine",
    "Reconciliation",
    "TreasuryLine",
    "account_balances",
    "buybacks",
    "journal",
    "payments",
    "reconciliation",
    "treasury_lines",
]


payments = ask_payments.payments
"""The payments are one of the treasury's books, too."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which postings of the journal are asked for; None is all.

    ``account`` stands for its sub-accounts, too. The blocks are those the money moved at, both
    included.
    """

    account: str | None = None
    asset: str | None = None
    from_block: int | None = None
    to_block: int | None = None


def journal(
    scope: Scope, asked: Asked, *, limit: int, offset: int = 0
) -> tuple[list[dict[str, Any]], int]:
    """Postings in the order of the log, each with its event and its account's running balance.

    The balance is that of the account and asset after the posting, with all before it in the log,
    asked for or not. Also how many there are in all.

    Raises :class:`~ledger.queries.book_names.UnknownBookError` for an account or an asset that may
    be misspelt, for it is not known by the scope's block. ``BlockOutOfRangeError`` for blocks in
    the wrong order; the stretch right behind a block is empty while no block follows it.
    """
    if (
        asked.from_block is not None
        and asked.to_block is not None
        and asked.from_block > asked.to_block + 1
    ):
        msg = (
            f"from block {asked.from_block} up to block {asked.to_block} is no stretch; name the "
            "earlier block first"
        )
        raise BlockOutOfRangeError(msg)
    table = postings
    running = func.sum(table.c.amount).over(
        partition_by=(table.c.account, table.c.asset), order_by=(table.c.position, table.c.line)
    )
    own = [table.c.log_id == scope.head.log_id, table.c.position <= scope.position]
    if asked.account is not None:
        own.append(of_account(asked.account))
    if asked.asset is not None:
        own.append(table.c.asset == asked.asset)
    summed = select(table, running.label("balance")).where(*own).subquery()
    within = []
    if asked.from_block is not None:
        within.append(summed.c.about_block >= asked.from_block)
    if asked.to_block is not None:
        within.append(summed.c.about_block <= asked.to_block)
    counted = select(func.count()).select_from(summed).where(*within)
    query = (
        select(summed, events.c.topic, events.c.fact_key, events.c.effective_block)
        .join(
            events,
            and_(events.c.log_id == summed.c.log_id, events.c.position == summed.c.position),
        )
        .where(*within)
        .order_by(summed.c.position, summed.c.line)
        .limit(limit)
        .offset(offset)
    )
    rows = [
        {
            "position": row["position"],
            "event": row["topic"],
            "fact_key": row["fact_key"],
            "recorded_at_block": row["effective_block"],
            "about_block": row["about_block"],
            "account": row["account"],
            "asset": row["asset"],
            "amount": row["amount"],
            "balance": int(row["balance"]),
            "reference": row["reference"] or None,
        }
        for row in scope.connection.execute(query).mappings()
    ]
    total = int(scope.connection.execute(counted).scalar_one())
    if total == 0:
        must_be_known(scope, asked.account, asked.asset)
    return rows, total


def account_balances(scope: Scope) -> list[dict[str, Any]]:
    """The journal's balance of every account and asset (debits above zero), summed where it lies.

    Sums are exact: SQLite refuses one beyond 64 bits, PostgreSQL sums in decimals.
    """
    table = postings
    query = (
        select(table.c.account, table.c.asset, func.sum(table.c.amount))
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .group_by(table.c.account, table.c.asset)
    )
    found = sorted(
        (account, asset, int(amount)) for account, asset, amount in scope.connection.execute(query)
    )
    return [
        {"account": account, "asset": asset, "amount": amount} for account, asset, amount in found
    ]


def buybacks(scope: Scope) -> list[dict[str, Any]]:
    """Every buyback and how far it came."""
    return [plain(row) for row in scope.rows(view.buybacks)]
