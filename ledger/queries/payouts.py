"""Statements: entitled against paid, per epoch, for a hotkey or all hotkeys of a coldkey."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, func, literal_column, or_, select, tuple_

from ledger.projections import payouts as view
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


class PayoutsPage(msgspec.Struct, frozen=True):
    """Lines in the order of the log. ``last`` is where the page ends: what comes ``after`` it."""

    lines: tuple[PayoutLine, ...]
    last: tuple[int, int] | None


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
    return Statement(
        address=address,
        block=scope.block,
        lines=payouts_page(scope, address=address).lines,
        **totals(scope, address),
    )


def totals(scope: Scope, address: str) -> dict[str, int]:
    """The sums of an address's lines by column, summed where they lie."""
    names = ("entitled_alpha", "paid_alpha", "withheld_alpha", "dividends_alpha")
    sums = (func.coalesce(func.sum(view.payouts.c[name]), 0) for name in names)
    row = scope.connection.execute(_of_address(scope, address, select(*sums))).one()
    return dict(zip(names, map(int, row), strict=True))


def count_payouts(scope: Scope, address: str) -> int:
    """How many lines an address's statement has."""
    query = _of_address(scope, address, select(func.count()).select_from(view.payouts))
    count: int = scope.connection.execute(query).scalar_one()
    return count


def number_of(scope: Scope, address: str) -> int:
    """The number an address has in the view; 0, which nobody has, for one that is not in it."""
    table = view.addresses
    query = select(table.c.number).where(
        table.c.log_id == scope.head.log_id, table.c.address == address
    )
    return scope.connection.execute(query).scalar() or 0


def payouts_page(
    scope: Scope,
    *,
    address: str | None = None,
    after: tuple[int, int] | None = None,
    limit: int | None = None,
) -> PayoutsPage:
    """Payout lines, oldest first: of a hotkey or a coldkey, or of everybody.

    At most ``limit`` of those that lie after ``after``, a position and a line of the log: what a
    page costs does not grow with what lies before or behind it.
    """
    table = view.payouts
    query = _lines(scope).limit(limit)
    if after is not None:
        query = query.where(table.c.position >= after[0])
        query = query.where(tuple_(table.c.position, table.c.line) > tuple_(*after))
    owned = [None] if address is None else _of(scope, address)
    found: dict[tuple[int, int], RowMapping] = {}
    for condition in owned:
        own = query if condition is None else query.where(condition)
        for row in scope.connection.execute(own).mappings():
            found[row["position"], row["line"]] = row
    places = sorted(found)[:limit]
    lines = tuple(_line(found[place]) for place in places)
    return PayoutsPage(lines, places[-1] if places else None)


def _of(scope: Scope, address: str) -> list[ColumnElement[bool]]:
    """The conditions of an address's lines, each of which the index of hotkeys answers.

    As a hotkey, and as the coldkey of each hotkey that ever paid to it.
    """
    table, number = view.payouts, number_of(scope, address)
    query = select(view.owners.c.hotkey).where(
        view.owners.c.log_id == scope.head.log_id, view.owners.c.coldkey == number
    )
    hotkeys = scope.connection.execute(query).scalars().all()
    own = _rare(scope, table.c.hotkey == number)
    paid_to = [
        _rare(scope, table.c.hotkey == hotkey) & (table.c.coldkey == number) for hotkey in hotkeys
    ]
    return [own, *paid_to]


def _rare(scope: Scope, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition that few rows meet. SQLite, which cannot know, would rather walk all rows from a
    position on than look up those few in the condition's index."""
    if scope.connection.dialect.name != "sqlite":
        return condition
    return func.likelihood(condition, literal_column("0.0001"))


def _lines(scope: Scope) -> Select[Any]:
    """The view's rows at this position, with addresses for their numbers."""
    table = view.payouts
    hot, cold = view.addresses.alias("hot"), view.addresses.alias("cold")
    others = [column for column in table.c if column.name not in {"hotkey", "coldkey"}]
    return (
        select(*others, hot.c.address.label("hotkey"), cold.c.address.label("coldkey"))
        .join(hot, (hot.c.log_id == table.c.log_id) & (hot.c.number == table.c.hotkey))
        .outerjoin(cold, (cold.c.log_id == table.c.log_id) & (cold.c.number == table.c.coldkey))
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .order_by(table.c.position, table.c.line)
    )


def _of_address(scope: Scope, address: str, query: Select[Any]) -> Select[Any]:
    table = view.payouts
    return query.where(
        table.c.log_id == scope.head.log_id,
        table.c.position <= scope.position,
        or_(*_of(scope, address)),
    )


def all_payouts(scope: Scope) -> list[PayoutLine]:
    """Every payout line so far, oldest first."""
    return list(payouts_page(scope).lines)


def _line(row: RowMapping) -> PayoutLine:
    return PayoutLine(**{name: row[name] for name in PayoutLine.__struct_fields__})
