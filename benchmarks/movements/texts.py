"""The text journals of others: the same movements as hledger and beancount read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from ledger.books.postings import entry_of
from ledger.facts import Fact
from ledger.units import RAO_PER_TAO, USD_MICROS_PER_USD

Balances = dict[tuple[str, str], int]
"""By account and asset, in the asset's smallest unit; accounts that hold nothing are left out."""

_FIRST_DAY: Final = date(2026, 1, 1)
_BLOCKS_PER_DAY: Final = 200
_COMMODITIES: Final = {"TAO": RAO_PER_TAO, "USD": USD_MICROS_PER_USD, "ALPHA": RAO_PER_TAO}
"""What each is called there, and its smallest units in a whole one."""


def hledger_journal(facts: Iterable[Fact]) -> Iterator[str]:
    """The journal's text, transaction by transaction."""
    for fact in facts:
        entry = entry_of(fact)
        if entry is not None:
            yield f"{_day(entry.about_block)} {fact.topic} | {fact.fact_key[:60]}\n"
            for posting in entry.postings:
                amount = _text(posting.amount.value, posting.amount.asset)
                yield f"    {posting.account}  {amount}\n"
            yield "\n"


def beancount_journal(facts: Iterable[Fact]) -> Iterator[str]:
    """The same for beancount, which wants every account opened; its accounts begin by a capital."""
    opened: set[str] = set()
    for fact in facts:
        entry = entry_of(fact)
        if entry is None:
            continue
        for account in {posting.account for posting in entry.postings} - opened:
            opened.add(account)
            yield f"{_FIRST_DAY} open {beancount_account(account)}\n"
        yield f'{_day(entry.about_block)} * "{fact.topic}" "{fact.fact_key[:60]}"\n'
        for posting in entry.postings:
            amount = _text(posting.amount.value, posting.amount.asset)
            yield f"  {beancount_account(posting.account)}  {amount}\n"
        yield "\n"


def beancount_account(account: str) -> str:
    """Our account under beancount's five roots and in its letters."""
    parts = [part.replace("_", "-").capitalize() for part in account.split(":")]
    return ":".join(["Equity", *parts] if parts[0] == "Clearing" else parts)


def smallest_units(quantity: Decimal, commodity: str) -> int:
    """A quantity as they give it, in the smallest unit; it must be whole."""
    value = quantity * _COMMODITIES[commodity]
    if value != int(value):
        msg = f"{quantity} {commodity} is no whole number of its smallest unit"
        raise ValueError(msg)
    return int(value)


def commodity_of(asset: str) -> str:
    """What our asset is called there: ``ALPHA`` without its subnet."""
    return asset.partition(":")[0]


def _day(block: int) -> date:
    return _FIRST_DAY + timedelta(days=block // _BLOCKS_PER_DAY)


def _text(value: int, asset: str) -> str:
    commodity = commodity_of(asset)
    units = _COMMODITIES[commodity]
    whole, part = divmod(abs(value), units)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{part:0{len(str(units)) - 1}d} {commodity}"
