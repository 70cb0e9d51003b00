"""Sums of payouts: what an address's lines come to, of any range of epochs or by period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from sqlalchemy import select, text

from ledger.projections import payouts as view
from ledger.projections.payout_sums import (
    NO_SUMS,
    SUMMED,
    Sums,
    added,
    less,
    read_sums,
    summed,
    sums_of,
)
from ledger.queries.payouts import PayoutLine, account_numbers, payouts_page, price_at
from ledger.queries.ranges import Range, treasury_ranges
from ledger.queries.scope import Scope


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
    numbers = account_numbers(scope, address)
    (summed,) = _sums_within(scope, numbers, [within or (-1, scope.block)], {})
    return PayoutSums(*_fields(summed))


def by_period(scope: Scope, address: str, within: Range | None = None) -> list[PayoutPeriod]:
    """The sums of an address's lines by the treasury's periods, oldest first.

    Periods that nothing of it lies in are left out.
    """
    first, last = within or (-1, scope.block)
    all_ranges = treasury_ranges(scope)
    ranges = [
        (number, max(first, start), min(last, end))
        for number, start, end, _ in all_ranges
        if start < last and end > first
    ]
    numbers, at_ends = _sums_at_ends(scope, address, [end for _, _, end, _ in all_ranges[:-1]])
    found = _sums_within(scope, numbers, [(start, end) for _, start, end in ranges], at_ends)
    return [
        PayoutPeriod(*_fields(sums), period=number, from_block=start, to_block=end)
        for (number, start, end), sums in zip(ranges, found, strict=True)
        if sums[0]
    ]


# Those of `PayoutSums`, in their order.
_Fields = tuple[int, int, int, int, int, int, int, int, int | None, int | None, int]


def _fields(sums: Sums) -> _Fields:
    """Sums as a statement has them."""
    lines, entitled, paid, withheld, dividends, misdirected, lost, *value = sums
    paid_rao, dividends_rao, unpriced = value
    values = (None, None) if unpriced else (paid_rao, dividends_rao)
    amounts = (entitled, paid, withheld, dividends, entitled - paid, misdirected, lost)
    return (lines, *amounts, *values, unpriced)


def _sums_within(
    scope: Scope, numbers: list[int], ranges: list[Range], at_ends: dict[int, Sums]
) -> list[Sums]:
    """The sums of the accounts' lines by range; ``at_ends`` has those up to some of the bounds."""
    blocks = {block for bounds in ranges for block in bounds if block >= 0} - at_ends.keys()
    upto = at_ends | _sums_upto(scope, numbers, sorted(blocks)) if blocks and numbers else at_ends
    late = list(_late_lines(scope, numbers)) if numbers else []
    found = []
    for start, end in ranges:
        sums = upto.get(end, NO_SUMS)
        if start in upto:
            sums = less(sums, upto[start])
        for block, own in late:
            if start < block <= end:
                sums = added(sums, own)
        found.append(sums)
    return found


def _sums_at_ends(scope: Scope, address: str, ends: list[int]) -> tuple[list[int], dict[int, Sums]]:
    """The numbers of an address, and its sums up to each of the periods' ends that is summed.

    ``ends`` are all of them, oldest first (see payout_ends).
    """
    asked = {"log_id": scope.head.log_id, "position": scope.position, "address": address}
    statement = _AT_ENDS[scope.connection.dialect.name == "sqlite"]
    rows = scope.connection.execute(statement, asked).all()
    found: dict[int, dict[int, Sums]] = {}
    for number, _, end, written in rows:
        own = found.setdefault(number, {})
        if end is not None:
            own[end] = read_sums(written)
    newest = rows[0].newest if rows else None
    summed_ends = [end for end in ends if newest is not None and end <= newest]
    at_ends: dict[int, Sums] = {}
    for own in found.values():
        sums = NO_SUMS
        for end in summed_ends:
            sums = own.get(end, sums)  # no row: nothing came since the end before
            others = at_ends.get(end)
            at_ends[end] = sums if others is None else added(others, sums)
    return list(found), at_ends


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
_BY_END: Final = """
SELECT own.number, (
    SELECT to_block FROM payouts_ends WHERE log_id = :log_id AND position <= :position
    ORDER BY position DESC, line DESC LIMIT 1
) AS newest, ended.to_block, ended.sums
FROM (
    SELECT number FROM payouts_accounts WHERE log_id = :log_id AND hotkey = :address
    UNION SELECT number FROM payouts_accounts WHERE log_id = :log_id AND coldkey = :address
) AS own LEFT JOIN payouts_end_sums AS ended
ON ended.log_id = :log_id AND {ended} AND ended.position <= :position
ORDER BY own.number, ended.position, ended.line
"""

_ON_SQLITE: Final = {
    "blocks": "json_each(:blocks)",
    "accounts": "json_each(:accounts)",
    "account": "likelihood(account = a.value, 0.0001)",  # see _rare
    "line": "likelihood(l.account = starts.number, 0.0001)",
    "ended": "likelihood(ended.account = own.number, 0.0001)",
}
_LISTED: Final = (
    "(SELECT CAST(value AS bigint) AS value FROM jsonb_array_elements_text(CAST(:{} AS jsonb)))"
)
_ON_POSTGRES: Final = {
    "blocks": _LISTED.format("blocks"),
    "accounts": _LISTED.format("accounts"),
    "account": "account = a.value",
    "line": "l.account = starts.number",
    "ended": "ended.account = own.number",
}
_AMOUNTS: Final = ", ".join(f"l.{name}" for name in SUMMED)
_SUMS_UPTO: Final = {
    True: text(_UPTO.format(**_ON_SQLITE, amounts=_AMOUNTS)),
    False: text(_UPTO.format(**_ON_POSTGRES, amounts=_AMOUNTS)),
}
_AT_ENDS: Final = {
    True: text(_BY_END.format(**_ON_SQLITE)),
    False: text(_BY_END.format(**_ON_POSTGRES)),
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
