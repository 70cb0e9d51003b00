"""Statements: entitled against paid, per epoch, for a hotkey or all hotkeys of a coldkey."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, func, literal_column, select, tuple_

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
    summed = totals(scope, address)
    return Statement(
        address=address,
        block=scope.block,
        entitled_alpha=summed["entitled_alpha"],
        paid_alpha=summed["paid_alpha"],
        withheld_alpha=summed["withheld_alpha"],
        dividends_alpha=summed["dividends_alpha"],
        lines=payouts_page(scope, address=address).lines,
    )


def totals(scope: Scope, address: str) -> dict[str, int]:
    """The sums of an address's lines by column, and how many there are (``total``).

    Summed where they lie, in a time that grows with how many there are.
    """
    table = view.payouts
    names = ("entitled_alpha", "paid_alpha", "withheld_alpha", "dividends_alpha")
    sums = select(
        *(func.coalesce(func.sum(table.c[name]), 0) for name in names), func.count()
    ).where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
    number = number_of(scope, address)
    of_hotkey = sums.where(_rare(scope, table.c.hotkey == number))
    of_coldkey = sums.where(
        table.c.hotkey.in_(_hotkeys_of(scope, number)),
        table.c.coldkey == number,
        table.c.hotkey != number,  # an address that is both is counted above
    )
    rows = [scope.connection.execute(query).one() for query in (of_hotkey, of_coldkey)]
    summed = (sum(map(int, column)) for column in zip(*rows, strict=True))
    return dict(zip((*names, "total"), summed, strict=True))


def paid_dividends(scope: Scope) -> dict[str, int]:
    """The hotkeys that the newest epoch paid dividends to, with the block of that epoch."""
    table, names = view.payouts, view.addresses
    seen = (table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
    newest = select(func.max(table.c.position)).where(*seen).scalar_subquery()
    query = (
        select(names.c.address, table.c.epoch_block)
        .join(
            names,
            (names.c.log_id == table.c.log_id) & (names.c.number == table.c.hotkey),
        )
        .where(*seen, table.c.position == newest, table.c.dividends_alpha > 0)
    )
    return {row.address: row.epoch_block for row in scope.connection.execute(query)}


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
    hotkeys = scope.connection.execute(_hotkeys_of(scope, number)).scalars().all()
    own = _rare(scope, table.c.hotkey == number)
    paid_to = [
        _rare(scope, table.c.hotkey == hotkey) & (table.c.coldkey == number) for hotkey in hotkeys
    ]
    return [own, *paid_to]


def _hotkeys_of(scope: Scope, coldkey: int) -> Select[tuple[int]]:
    """The numbers of the hotkeys that ever paid to a coldkey, by its number."""
    table = view.owners
    return select(table.c.hotkey).where(
        table.c.log_id == scope.head.log_id, table.c.coldkey == coldkey
    )


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


def all_payouts(scope: Scope) -> list[PayoutLine]:
    """Every payout line so far, oldest first."""
    return list(payouts_page(scope).lines)


def _line(row: RowMapping) -> PayoutLine:
    return PayoutLine(**{name: row[name] for name in PayoutLine.__struct_fields__})
