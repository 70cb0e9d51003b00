"""The text journals of others: the same movements as hledger and beancount read them.

In the shortest form that both take, without what :mod:`ledger.books.plain_text` tells of each entry
besides: what is compared is reading and summing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from ledger.books.plain_names import beancount_account, commodity_of, hledger_account, quantity
from ledger.books.postings import entry_of
from ledger.facts import Fact
from ledger.units import ALPHA_UNITS_PER_ALPHA, RAO_PER_TAO, USD_MICROS_PER_USD

Balances = dict[tuple[str, str], int]
"""By account and commodity, in its smallest unit; accounts that hold nothing are left out."""

_FIRST_DAY: Final = date(2026, 1, 1)
_BLOCKS_PER_DAY: Final = 200
_COMMODITIES: Final = {"TAO": RAO_PER_TAO, "USD": USD_MICROS_PER_USD}
"""The smallest units in a whole one; what is not among them is some subnet's alpha."""


def hledger_journal(facts: Iterable[Fact]) -> Iterator[str]:
    """The journal's text, transaction by transaction."""
    for fact in facts:
        entry = entry_of(fact)
        if entry is not None:
            yield f"{_day(entry.about_block)} {fact.topic} | {fact.fact_key[:60]}\n"
            for posting in entry.postings:
                said = f'{quantity(posting.value, posting.asset)} "{commodity_of(posting.asset)}"'
                yield f"    {hledger_account(posting.account)}  {said}\n"
            yield "\n"


def beancount_journal(facts: Iterable[Fact]) -> Iterator[str]:
    """The same for beancount, which wants every account opened."""
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
            said = f"{quantity(posting.value, posting.asset)} {commodity_of(posting.asset)}"
            yield f"  {beancount_account(posting.account)}  {said}\n"
        yield "\n"


def smallest_units(number: Decimal, commodity: str) -> int:
    """A quantity as they give it, in the smallest unit; it must be whole."""
    value = number * _COMMODITIES.get(commodity, ALPHA_UNITS_PER_ALPHA)
    if value != int(value):
        msg = f"{number} {commodity} is no whole number of its smallest unit"
        raise ValueError(msg)
    return int(value)


def _day(block: int) -> date:
    return _FIRST_DAY + timedelta(days=block // _BLOCKS_PER_DAY)
