"""Payouts by epoch: entitled against paid, of a hotkey, of all of a coldkey's, or of everybody."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from sqlalchemy import (
    CTE,
    ColumnElement,
    RowMapping,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    union,
)

from ledger.projections import payouts as view
from ledger.projections.payout_sums import value_rao as worth
from ledger.projections.subnet import prices
from ledger.queries.ranges import Range
from ledger.queries.scope import Scope


class UnknownAccountError(LookupError):
    """No payout, submission or UID of that address is in the log."""


class PayoutLine(msgspec.Struct, frozen=True):
    """One hotkey in one epoch; alpha in 10^-9, values in rao.

    ``misdirected_alpha`` of what was paid was meant for the hotkey ``meant_for`` (None: it was to
    be burned); ``lost_alpha`` was meant for this one and went to ``lost_to``. The values are
    ``paid_alpha`` and ``dividends_alpha`` at ``price_rao`` a whole alpha, the pool's own price in
    the state of block ``price_block``, each floored; None where no price was known.
    """

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
    difference_alpha: int
    misdirected_alpha: int
    meant_for: str | None
    lost_alpha: int
    lost_to: str | None
    price_rao: int | None
    price_block: int | None
    paid_rao: int | None
    dividends_rao: int | None


class PayoutsPage(msgspec.Struct, frozen=True):
    """Lines in the order of the log. ``last`` is where the page ends: what comes ``after`` it."""

    lines: tuple[PayoutLine, ...]
    last: tuple[int, int] | None


def price_at(scope: Scope, block: int) -> tuple[int | None, int | None]:
    """The newest price of the pool about a block at or before ``block``, and which block's."""
    query = (
        select(prices.c.price, prices.c.about_block)
        .where(prices.c.log_id == scope.head.log_id, prices.c.position <= scope.position)
        .where(prices.c.pair == view.PRICE_PAIR, prices.c.source == view.PRICE_SOURCE)
        .where(prices.c.about_block <= block)
        .order_by(prices.c.about_block.desc(), prices.c.position.desc())
        .limit(1)
    )
    found = scope.connection.execute(query).first()
    return (found.price, found.about_block) if found else (None, None)


def _epochs_now(scope: Scope) -> CTE | Any:
    """The versions of the epochs' rows that hold at the scope's position."""
    table = view.epochs
    return (
        select(table.c.epoch_block, table.c.late, table.c.price_rao, table.c.price_block)
        .where(table.c.log_id == scope.head.log_id, table.c.since <= scope.position)
        .where(or_(table.c.until.is_(None), table.c.until > scope.position))
        .subquery("epochs")
    )


def account_numbers(scope: Scope, address: str) -> list[int]:
    """The numbers an address has in the view: as a hotkey, and of all hotkeys of a coldkey."""
    table = view.accounts
    own = select(table.c.number).where(table.c.log_id == scope.head.log_id)
    either = union(own.where(table.c.hotkey == address), own.where(table.c.coldkey == address))
    return list(scope.connection.execute(either).scalars())


def hotkey_accounts(scope: Scope, hotkey: str) -> list[int]:
    """The numbers of a hotkey's accounts, one for each coldkey it had."""
    table = view.accounts
    query = select(table.c.number).where(
        table.c.log_id == scope.head.log_id, table.c.hotkey == hotkey
    )
    return list(scope.connection.execute(query).scalars())


# -- lines ------------------------------------------------------------------------------------


def paid_dividends(scope: Scope) -> dict[str, int]:
    """The hotkeys that the newest epoch paid dividends to, with the block of that epoch."""
    table, names = view.payouts, view.accounts
    seen = (table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
    newest = select(func.max(table.c.position)).where(*seen).scalar_subquery()
    query = (
        select(names.c.hotkey, table.c.epoch_block)
        .join(
            names,
            (names.c.log_id == table.c.log_id) & (names.c.number == table.c.account),
        )
        .where(*seen, table.c.position == newest, table.c.dividends_alpha > 0)
    )
    return {row.hotkey: row.epoch_block for row in scope.connection.execute(query)}


def payouts_page(
    scope: Scope,
    *,
    address: str | None = None,
    after: tuple[int, int] | None = None,
    limit: int | None = None,
    within: Range | None = None,
) -> PayoutsPage:
    """Payout lines, oldest first: of a hotkey or a coldkey, or of everybody.

    At most ``limit`` of those that lie after ``after``, a position and a line of the log: what a
    page costs does not grow with what lies before or behind it. ``within`` leaves out the epochs of
    other blocks.
    """
    table = view.payouts
    query = _lines(scope).limit(limit)
    if after is not None:
        query = query.where(table.c.position >= after[0])
        query = query.where(tuple_(table.c.position, table.c.line) > tuple_(*after))
    if within is not None:
        query = query.where(table.c.epoch_block > within[0], table.c.epoch_block <= within[1])
    found: dict[tuple[int, int], RowMapping] = {}
    for condition in _of(scope, address):
        own = query if condition is None else query.where(condition)
        for row in scope.connection.execute(own).mappings():
            found[row["position"], row["line"]] = row
    places = sorted(found)[:limit]
    lines = tuple(_line(scope, found[place]) for place in places)
    return PayoutsPage(lines, places[-1] if places else None)


def _of(scope: Scope, address: str | None) -> Iterable[ColumnElement[bool] | None]:
    """The conditions of an address's lines, each of which the index of accounts answers."""
    if address is None:
        return (None,)
    numbers: Collection[int] = account_numbers(scope, address)
    return [_rare(scope, view.payouts.c.account == number) for number in numbers]


def _rare(scope: Scope, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition that few rows meet. SQLite, which cannot know, would rather walk all rows from a
    position on than look up those few in the condition's index."""
    if scope.connection.dialect.name != "sqlite":
        return condition
    return func.likelihood(condition, literal_column("0.0001"))


def _lines(scope: Scope) -> Select[Any]:
    """The view's rows at this position, with addresses for their numbers."""
    table, epochs = view.payouts, _epochs_now(scope)
    own, meant, lost = (view.accounts.alias(name) for name in ("own", "meant", "lost"))
    hidden = {"account", "meant_for", "lost_to", "sums"}
    others = [column for column in table.c if column.name not in hidden]
    same = own.c.log_id == table.c.log_id
    return (
        select(
            *others,
            own.c.hotkey.label("hotkey"),
            func.nullif(own.c.coldkey, "").label("coldkey"),
            meant.c.hotkey.label("meant_for"),
            lost.c.hotkey.label("lost_to"),
            epochs.c.late,
            epochs.c.price_rao,
            epochs.c.price_block,
        )
        .join(own, same & (own.c.number == table.c.account))
        .outerjoin(
            meant, and_(meant.c.log_id == table.c.log_id, meant.c.number == table.c.meant_for)
        )
        .outerjoin(lost, and_(lost.c.log_id == table.c.log_id, lost.c.number == table.c.lost_to))
        .join(epochs, epochs.c.epoch_block == table.c.epoch_block)
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .order_by(table.c.position, table.c.line)
    )


def all_payouts(scope: Scope) -> list[PayoutLine]:
    """Every payout line so far, oldest first."""
    return list(payouts_page(scope).lines)


def _line(scope: Scope, row: RowMapping) -> PayoutLine:
    given = dict(row)
    for name in ("log_id", "position", "line"):
        del given[name]
    if given.pop("late"):
        given["price_rao"], given["price_block"] = price_at(scope, row["epoch_block"])
    price = given["price_rao"]
    known = price is not None
    return PayoutLine(
        **given,
        difference_alpha=row["entitled_alpha"] - row["paid_alpha"],
        paid_rao=worth(row["paid_alpha"], price) if known else None,
        dividends_rao=worth(row["dividends_alpha"], price) if known else None,
    )
