"""Statements: entitled against paid, per epoch and period, for a hotkey or all of a coldkey's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

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
    text,
    tuple_,
    union,
)

from ledger.projections import payouts as view
from ledger.projections.payout_sums import (
    NO_SUMS,
    SUM_NAMES,
    SUMMED,
    Sums,
    added,
    read_sums,
    summed,
    sums_of,
)
from ledger.projections.payout_sums import value_rao as worth
from ledger.projections.subnet import prices
from ledger.projections.treasury import periods as treasury_periods
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


class PayoutSums(msgspec.Struct, frozen=True):
    """What lines come to; ``difference_alpha`` is entitled less paid.

    The values are None where one of the epochs that paid has no price; ``unpriced_alpha`` is what
    was paid in such, dividends included.
    """

    total: int
    entitled_alpha: int
    paid_alpha: int
    withheld_alpha: int
    dividends_alpha: int
    difference_alpha: int
    misdirected_alpha: int
    lost_alpha: int
    paid_rao: int | None
    dividends_rao: int | None
    unpriced_alpha: int


class PayoutPeriod(PayoutSums, frozen=True):
    """The same of the epochs after ``from_block``, up to and with ``to_block``.

    ``period`` is the treasury's; None of what no period covers: before the first, or the open one.
    """

    period: int | None
    from_block: int
    to_block: int


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


_LATE_AT_ONCE: Final = 500

Range = tuple[int, int]
"""After the first block, up to and with the second."""


def statement(scope: Scope, address: str) -> Statement:
    """The statement of a hotkey, or of everything paid to a coldkey."""
    summed = totals(scope, address)
    return Statement(
        address=address,
        block=scope.block,
        entitled_alpha=summed.entitled_alpha,
        paid_alpha=summed.paid_alpha,
        withheld_alpha=summed.withheld_alpha,
        dividends_alpha=summed.dividends_alpha,
        lines=payouts_page(scope, address=address).lines,
    )


# -- sums -------------------------------------------------------------------------------------


def totals(scope: Scope, address: str, within: Range | None = None) -> PayoutSums:
    """The sums of an address's lines, of all or of the epochs within a range.

    In a time that does not grow with how many there are.
    """
    chosen = within or (-1, scope.block)
    (summed,) = _sums_within(scope, address, [chosen])
    return PayoutSums(**_named(summed))


def by_period(scope: Scope, address: str, within: Range | None = None) -> list[PayoutPeriod]:
    """The sums of an address's lines by the treasury's periods, oldest first.

    Periods that nothing of it lies in are left out.
    """
    first, last = within or (-1, scope.block)
    ranges = [
        (number, max(first, start), min(last, end))
        for number, start, end, _ in treasury_ranges(scope)
        if start < last and end > first
    ]
    found = _sums_within(scope, address, [(start, end) for _, start, end in ranges])
    return [
        PayoutPeriod(period=number, from_block=start, to_block=end, **_named(sums))
        for (number, start, end), sums in zip(ranges, found, strict=True)
        if any(sums)
    ]


def treasury_ranges(scope: Scope) -> list[tuple[int | None, int, int, int | None]]:
    """The treasury's periods, and what lies before and behind them (None), up to the scope.

    Number, the block after which it begins, its last block, and the position of the fact that
    closed it: None for what is in no period.
    """
    table = treasury_periods
    closed = (
        select(table.c.number, table.c.from_block, table.c.to_block, table.c.position)
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .order_by(table.c.number)
    )
    ranges: list[tuple[int | None, int, int, int | None]] = []
    end = -1
    for number, from_block, to_block, position in scope.connection.execute(closed):
        if not ranges and from_block > -1:
            ranges.append((None, -1, from_block, None))
        ranges.append((number, from_block, to_block, position))
        end = to_block
    # Right after a closing the open one has no block yet, but facts may be recorded in it.
    ranges.append((None, end, max(end, scope.block), None))
    return ranges


def _named(sums: Sums) -> dict[str, Any]:
    by_name: dict[str, Any] = dict(zip(SUM_NAMES, sums, strict=True))
    by_name["total"] = by_name.pop("lines")
    by_name["difference_alpha"] = by_name["entitled_alpha"] - by_name["paid_alpha"]
    if by_name["unpriced_alpha"]:
        by_name["paid_rao"] = by_name["dividends_rao"] = None
    return by_name


def _sums_within(scope: Scope, address: str, ranges: list[Range]) -> list[Sums]:
    blocks = sorted({block for bounds in ranges for block in bounds if block >= 0})
    numbers = account_numbers(scope, address)
    upto = _sums_upto(scope, numbers, blocks) if blocks and numbers else {}
    late = list(_late_lines(scope, numbers)) if numbers else []
    found = []
    for start, end in ranges:
        before = tuple(-amount for amount in upto.get(start, NO_SUMS))
        sums = added(upto.get(end, NO_SUMS), before)
        for block, own in late:
            if start < block <= end:
                sums = added(sums, own)
        found.append(sums)
    return found


def _sums_upto(scope: Scope, numbers: list[int], blocks: list[int]) -> dict[int, Sums]:
    """Per block the sums of the accounts' lines of epochs up to it, but for those read late.

    Of each account the newest line with sums, and the few lines behind it (see payout_sums).
    """
    asked = {
        "log_id": scope.head.log_id,
        "position": scope.position,
        "blocks": msgspec.json.encode(blocks).decode(),
        "accounts": msgspec.json.encode(numbers).decode(),
    }
    statement = _SUMS_UPTO[scope.connection.dialect.name == "sqlite"]
    upto_block: dict[int, Sums] = {}
    account = None
    for row in scope.connection.execute(statement, asked):
        block, number, price, before, *amounts = tuple(row)
        sums = upto_block.get(block, NO_SUMS)
        if account != (account := (block, number)):
            sums = added(sums, read_sums(before))
        upto_block[block] = added(sums, summed(tuple(amounts), price))
    return upto_block


# In words of its own, because it must be looked up in this order: SQLite keeps that of CROSS JOIN.
# Lines lie in the order of their epochs, so up to a block is up to a position.
_UPTO: Final = """
WITH placed AS MATERIALIZED (
    SELECT b.value AS block, (
        SELECT since FROM payouts_epochs
        WHERE log_id = :log_id AND epoch_block <= b.value AND NOT late AND since <= :position
        ORDER BY epoch_block DESC, since DESC LIMIT 1
    ) AS position
    FROM {blocks} AS b
), starts AS MATERIALIZED (
    SELECT a.value AS number, placed.block, placed.position, (
        SELECT max(payouts.position) FROM payouts
        WHERE log_id = :log_id AND {account} AND payouts.position <= placed.position
        AND sums IS NOT NULL
    ) AS start
    FROM {accounts} AS a CROSS JOIN placed
)
SELECT starts.block, starts.number, e.price_rao, l.sums, {amounts}
FROM starts CROSS JOIN payouts AS l CROSS JOIN payouts_epochs AS e
WHERE l.log_id = :log_id AND {line} AND l.position BETWEEN starts.start AND starts.position
    AND e.log_id = :log_id AND e.epoch_block = l.epoch_block AND e.since <= :position
    AND (e.until IS NULL OR e.until > :position) AND NOT e.late
ORDER BY starts.block, starts.number, l.position, l.line
"""
_ON_SQLITE: Final = {
    "blocks": "json_each(:blocks)",
    "accounts": "json_each(:accounts)",
    "account": "likelihood(account = a.value, 0.0001)",  # see _rare
    "line": "likelihood(l.account = starts.number, 0.0001)",
}
_LISTED: Final = (
    "(SELECT CAST(value AS bigint) AS value FROM jsonb_array_elements_text(CAST(:{} AS jsonb)))"
)
_ON_POSTGRES: Final = {
    "blocks": _LISTED.format("blocks"),
    "accounts": _LISTED.format("accounts"),
    "account": "account = a.value",
    "line": "l.account = starts.number",
}
_AMOUNTS: Final = ", ".join(f"l.{name}" for name in SUMMED)
_SUMS_UPTO: Final = {
    True: text(_UPTO.format(**_ON_SQLITE, amounts=_AMOUNTS)),
    False: text(_UPTO.format(**_ON_POSTGRES, amounts=_AMOUNTS)),
}


def _late_lines(scope: Scope, numbers: list[int]) -> Iterator[tuple[int, Sums]]:
    """Epoch's block and sums of each line that was read late, out of a gap."""
    late, lines = view.epochs, view.payouts
    query = (
        select(late.c.since, late.c.epoch_block)
        .where(late.c.log_id == scope.head.log_id, late.c.late, late.c.since <= scope.position)
        .order_by(late.c.since)
    )
    positions = list(scope.connection.execute(query).scalars())
    for start in range(0, len(positions), _LATE_AT_ONCE):
        found = (
            select(lines)
            .where(lines.c.log_id == scope.head.log_id, lines.c.account.in_(numbers))
            .where(lines.c.position.in_(positions[start : start + _LATE_AT_ONCE]))
        )
        for row in scope.connection.execute(found).mappings():
            price, _ = price_at(scope, row["epoch_block"])
            yield row["epoch_block"], sums_of(dict(row), price)


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
