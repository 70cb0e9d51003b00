"""Statements: entitled against paid, per epoch, for a hotkey or all hotkeys of a coldkey."""

from __future__ import annotations

import msgspec
from sqlalchemy import or_

from ledger.projections import payouts as view
from ledger.projections.tables import rows_at
from ledger.queries.scope import Scope


class UnknownAccountError(LookupError):
    """No payout, submission or UID of that address is in the log."""


class PayoutLine(msgspec.Struct, frozen=True):
    """One hotkey in one epoch; alpha in 10^-9."""

    epoch_block: int
    uid: int | None
    hotkey: str
    coldkey: str | None
    vector_block: int | None
    share_ppm: int
    entitled_alpha: int
    paid_alpha: int
    withheld_alpha: int
    dividends_alpha: int


class Statement(msgspec.Struct, frozen=True):
    """A miner's statement up to a block: its lines and their sums."""

    address: str
    block: int
    entitled_alpha: int
    paid_alpha: int
    withheld_alpha: int
    dividends_alpha: int
    lines: tuple[PayoutLine, ...]


def statement(scope: Scope, address: str) -> Statement:
    """The statement of a hotkey, or of everything paid to a coldkey."""
    table = view.payouts
    query = rows_at(table, scope.head.log_id, scope.position).where(
        or_(table.c.hotkey == address, table.c.coldkey == address)
    )
    lines = tuple(_line(row) for row in scope.connection.execute(query).mappings())
    return Statement(
        address=address,
        block=scope.block,
        entitled_alpha=sum(line.entitled_alpha for line in lines),
        paid_alpha=sum(line.paid_alpha for line in lines),
        withheld_alpha=sum(line.withheld_alpha for line in lines),
        dividends_alpha=sum(line.dividends_alpha for line in lines),
        lines=lines,
    )


def all_payouts(scope: Scope) -> list[PayoutLine]:
    """Every payout line so far, oldest first."""
    return [_line(row) for row in scope.rows(view.payouts)]


def _line(row: object) -> PayoutLine:
    return msgspec.convert(
        {name: row[name] for name in PayoutLine.__struct_fields__},  # type: ignore[index]
        PayoutLine,
    )
