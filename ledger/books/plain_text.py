"""Journals of plain-text accounting: what Beancount and hledger check by themselves.

An :class:`Booking` is one event's entry with its date. Both writers declare every account and
commodity, name the event of each entry, and end with the balance of every account, so that
``bean-check`` and ``hledger check`` prove the sums.

A date is the UTC day of the block that the money moved at, by the time the chain stamped it. Where
the log has no time of that block (it lies in a gap, or before the arena opened) it is the day of
the nearest block before it that has one, else of the first one, and the entry says ``time:
"unknown"``; in a log without any time it is 1970-01-01.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from ledger.books.plain_names import (
    beancount_account,
    commodity_of,
    hledger_account,
    quantity,
)
from ledger.books.postings import Posting

EPOCH_DAY: Final = date(1970, 1, 1)
MAX_TEXT_CHARS: Final = 300
"""So much of a text from outside is written into a journal."""

Balances = dict[tuple[str, str], int]
"""By account and asset, in the asset's smallest unit."""


@dataclass(frozen=True, slots=True)
class Day:
    """The day of a block, and whether the log knows the block's time."""

    date: date
    known: bool


@dataclass(frozen=True, slots=True)
class Booking:
    """One event's entry. ``about`` has what names the event: its key, position, extrinsic."""

    day: Day
    what: str
    about: Mapping[str, str | int]
    postings: Sequence[Posting]


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole unit of ``asset`` costs in the smallest unit of ``in_asset``, on a day."""

    date: date
    asset: str
    value: int
    in_asset: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days of blocks, by the times that the log has: milliseconds by block, in their order."""

    blocks: Sequence[int] = field(default_factory=tuple)
    times_ms: Sequence[int] = field(default_factory=tuple)

    @classmethod
    def of(cls, times: Mapping[int, int]) -> Calendar:
        """Of the blocks whose times are known."""
        blocks = sorted(times)
        return cls(blocks, [times[block] for block in blocks])

    def day(self, block: int) -> Day:
        """The day of a block."""
        if not self.blocks:
            return Day(EPOCH_DAY, known=False)
        place = bisect_right(self.blocks, block) - 1
        found = datetime.fromtimestamp(self.times_ms[max(place, 0)] // 1000, UTC).date()
        return Day(found, known=place >= 0 and self.blocks[place] == block)


def balances_of(bookings: Iterable[Booking]) -> Balances:
    """What the bookings leave in each account; zero is kept, it was touched."""
    sums: Balances = {}
    for booking in bookings:
        for posting in booking.postings:
            place = (posting.account, posting.asset)
            sums[place] = sums.get(place, 0) + posting.value
    return sums


def beancount_journal(
    title: str, bookings: Sequence[Booking], prices: Sequence[Price] = ()
) -> Iterator[str]:
    """The text of a Beancount file, piece by piece; ``bean-check`` accepts it."""
    yield f'option "title" "{_quotable(title)}"\n\n'
    ordered, held = _in_order(bookings), balances_of(bookings)
    first, last = _days(ordered)
    for commodity in sorted({commodity_of(asset) for _, asset in held}):
        yield f"{first} commodity {commodity}\n"
    for account in sorted({account for account, _ in held}):
        yield f"{first} open {beancount_account(account)}\n"
        yield f'  account: "{_quotable(account)}"\n'
    yield "\n"
    for price in prices:
        said = f"{quantity(price.value, price.in_asset)} {commodity_of(price.in_asset)}"
        yield f"{price.date} price {commodity_of(price.asset)} {said}\n"
    for booking in ordered:
        yield f'\n{booking.day.date} * "{_quotable(booking.what)}"\n'
        for name, value in _about(booking).items():
            said = str(value) if isinstance(value, int) else f'"{_quotable(value)}"'
            yield f"  {name}: {said}\n"
        for posting in booking.postings:
            said = f"{quantity(posting.value, posting.asset)} {commodity_of(posting.asset)}"
            yield f"  {beancount_account(posting.account)}  {said}\n"
    yield "\n"
    # A balance is that of the beginning of its day; "~ 0" leaves it no tolerance.
    for (name, asset), value in sorted(_with_parts(held).items()):
        amount_text = f"{quantity(value, asset)} ~ 0 {commodity_of(asset)}"
        yield f"{last + timedelta(days=1)} balance {name}  {amount_text}\n"


def hledger_journal(
    title: str, bookings: Sequence[Booking], prices: Sequence[Price] = ()
) -> Iterator[str]:
    """The text of an hledger journal, piece by piece; ``hledger check --strict`` accepts it."""
    yield f"; {_line(title)}\n\n"
    ordered, held = _in_order(bookings), balances_of(bookings)
    _, last = _days(ordered)
    for asset in sorted({asset for _, asset in held} | {price.asset for price in prices}):
        form = quantity(0, asset).replace("0.", "1000.", 1)
        yield f"commodity {form} {_hledger_commodity(asset)}\n"
    for account in sorted({account for account, _ in held}):
        yield f"account {hledger_account(account)}\n"
    yield "\n"
    for price in prices:
        said = f"{quantity(price.value, price.in_asset)} {_hledger_commodity(price.in_asset)}"
        yield f"P {price.date} {_hledger_commodity(price.asset)} {said}\n"
    for booking in ordered:
        yield f"\n{booking.day.date} * {_line(booking.what)}\n"
        for name, value in _about(booking).items():
            yield f"    ; {name}: {_line(str(value))}\n"
        for posting in booking.postings:
            said = f"{quantity(posting.value, posting.asset)} {_hledger_commodity(posting.asset)}"
            yield f"    {hledger_account(posting.account)}  {said}\n"
    if not held:
        return
    yield f"\n{last + timedelta(days=1)} * balances\n"
    for (account, asset), value in sorted(held.items()):
        nothing = f"{quantity(0, asset)} {_hledger_commodity(asset)}"
        said = f"{quantity(value, asset)} {_hledger_commodity(asset)}"
        yield f"    {hledger_account(account)}  {nothing} = {said}\n"


def _with_parts(held: Balances) -> Balances:
    """By Beancount's name what an account holds together with its parts, as its balances do."""
    names = {(beancount_account(account), asset): value for (account, asset), value in held.items()}
    sums = dict.fromkeys(names, 0)
    for (name, asset), value in names.items():
        parts = name.split(":")
        for length in range(1, len(parts) + 1):
            above = (":".join(parts[:length]), asset)
            if above in sums:
                sums[above] += value
    return sums


def _in_order(bookings: Sequence[Booking]) -> list[Booking]:
    """By day; within one as they came."""
    return sorted(bookings, key=lambda booking: booking.day.date)


def _days(ordered: Sequence[Booking]) -> tuple[date, date]:
    if not ordered:
        return EPOCH_DAY, EPOCH_DAY
    return ordered[0].day.date, ordered[-1].day.date


def _about(booking: Booking) -> dict[str, str | int]:
    return dict(booking.about) | ({} if booking.day.known else {"time": "unknown"})


def _hledger_commodity(asset: str) -> str:
    commodity = commodity_of(asset)
    return commodity if commodity.isalpha() else f'"{commodity}"'


def _line(text: str) -> str:
    """A text of others on one line: no control characters, and no ``;``, which begins a comment."""
    shown = "".join(
        " " if unicodedata.category(char)[0] in "CZ" else char for char in text[:MAX_TEXT_CHARS]
    )
    return " ".join(shown.replace(";", ",").split())


def _quotable(text: str) -> str:
    """A text of others between double quotes."""
    shown = "".join(
        " " if unicodedata.category(char)[0] == "C" else char for char in text[:MAX_TEXT_CHARS]
    )
    return shown.replace("\\", "\\\\").replace('"', '\\"')
