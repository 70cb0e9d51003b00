"""The treasury: reconciled periods, the journal's balances, payments and buybacks."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, select

from ledger.books import accounts
from ledger.books.reconcile import (
    AssetLine,
    BookedLine,
    ObservedBalance,
    Period,
    SeenOutflow,
    reconcile,
)
from ledger.projections import treasury as view
from ledger.projections.journal import postings
from ledger.queries.scope import Scope, plain


class BreakLine(msgspec.Struct, frozen=True):
    """A named part of a residual."""

    kind: str
    reference: str
    amount: int


class TreasuryLine(msgspec.Struct, frozen=True):
    """One asset in one period: opening + inflows - outflows + residual = closing.

    In the asset's smallest unit. ``status`` is ``reconciled`` (no residual), ``explained`` (named
    breaks only), ``unexplained``, or ``unresolved`` where a balance is not known (None).
    """

    period: int
    from_block: int
    to_block: int
    asset: str
    opening: int | None
    inflows: int
    outflows: int
    residual: int | None
    closing: int | None
    status: str
    breaks: tuple[BreakLine, ...]
    unexplained: int | None


def treasury_lines(scope: Scope) -> list[TreasuryLine]:
    """Every closed period so far, by asset."""
    booked = [
        BookedLine(
            row["about_block"], row["account"], row["asset"], row["amount"], row["reference"]
        )
        for row in scope.rows(postings)
    ]
    balances = [
        ObservedBalance(row["asset"], row["account"], row["amount"], row["about_block"])
        for row in scope.rows(view.balances)
    ]
    seen = [
        SeenOutflow(row["block"], row["reference"], row["asset"], row["amount"])
        for row in scope.rows(view.outflows)
    ]
    assets = [accounts.TAO, accounts.USD, accounts.alpha(scope.head.netuid)]
    lines = []
    for row in scope.rows(view.periods):
        period = Period(row["number"], row["from_block"], row["to_block"])
        lines += [_line(line) for line in reconcile(period, assets, booked, balances, seen)]
    return lines


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


def payments(scope: Scope, *, unclaimed_only: bool = False) -> list[dict[str, Any]]:
    """Payments to the treasury in the order of the chain; those nobody claimed stay visible."""
    rows = sorted(scope.rows(view.payments), key=lambda row: (row["block"], row["extrinsic_index"]))
    return [
        {**plain(row), "remarks": msgspec.json.decode(row["remarks"], type=list[str])}
        for row in rows
        if not unclaimed_only or row["status"] in {"unclaimed", "expired"}
    ]


def buybacks(scope: Scope) -> list[dict[str, Any]]:
    """Every buyback and how far it came."""
    return [plain(row) for row in scope.rows(view.buybacks)]


def _line(line: AssetLine) -> TreasuryLine:
    if line.residual is None:
        status = "unresolved"
    elif line.residual == 0:
        status = "reconciled"
    else:
        status = "explained" if line.unexplained == 0 else "unexplained"
    return TreasuryLine(
        period=line.period.number,
        from_block=line.period.from_block,
        to_block=line.period.to_block,
        asset=line.asset,
        opening=line.opening,
        inflows=line.inflows,
        outflows=line.outflows,
        residual=line.residual,
        closing=line.closing,
        status=status,
        breaks=tuple(BreakLine(b.kind, b.reference, b.amount) for b in line.breaks),
        unexplained=line.unexplained,
    )
