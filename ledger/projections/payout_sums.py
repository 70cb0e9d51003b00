"""Sums of an account's payouts where they lie, so that a statement need not read a year of lines.

Every :data:`SUMS_EVERY` lines of an account the line says in ``sums`` what all lines before it come
to. The sum up to any block is then that of the newest such line before it, and of at most as many
lines more. Lines of epochs that were read late, out of a gap, are in no sums: they lie behind
others of later blocks, and are added one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any, Final

import msgspec
from sqlalchemy import Table

from ledger.projections.rows import Rows
from ledger.rules.payouts import Settled
from ledger.units import ALPHA_UNITS_PER_ALPHA

SUMS_EVERY: Final = 8

SUMMED: Final = (
    "entitled_alpha",
    "paid_alpha",
    "withheld_alpha",
    "dividends_alpha",
    "misdirected_alpha",
    "lost_alpha",
)
SUM_NAMES: Final = ("lines", *SUMMED, "paid_rao", "dividends_rao", "unpriced_alpha")
"""What a line's ``sums`` hold, in this order. ``unpriced_alpha`` is what was paid, dividends
included, in epochs whose price nobody knows: the two values in rao are without it."""

Sums = tuple[int, ...]
NO_SUMS: Final[Sums] = (0,) * len(SUM_NAMES)


def value_rao(alpha: int, price_rao: int) -> int:
    """What 10^-9 alpha are worth at a price of a whole alpha in rao, floored to a whole rao.

    Each line is floored by itself: a sum of lines is the sum of their values.
    """
    return alpha * price_rao // ALPHA_UNITS_PER_ALPHA


def sums_of(line: Mapping[str, Any], price_rao: int | None) -> Sums:
    """One line as sums."""
    return summed(tuple(line[name] for name in SUMMED), price_rao)


def summed(line: Sums, price_rao: int | None) -> Sums:
    """The amounts of one line, those of :data:`SUMMED`, as sums."""
    paid, dividends = line[1], line[3]
    amounts = (1, *line)
    if price_rao is None:
        return (*amounts, 0, 0, paid + dividends)
    return (*amounts, value_rao(paid, price_rao), value_rao(dividends, price_rao), 0)


def added(one: Sums, other: Sums) -> Sums:
    """Both together."""
    return tuple(map(add, one, other))


def read_sums(text: str) -> Sums:
    """A line's ``sums``."""
    return tuple(msgspec.json.decode(text, type=list[int]))


@dataclass(slots=True)
class _Account:
    """What an account's lines come to, but for the newest: its epoch may get another price yet."""

    sums: list[int] = field(default_factory=lambda: list(NO_SUMS))
    since: int = 0
    """How many lines ago the sums were written; 0: they are to be written now."""
    newest: tuple[int, int, int] | None = None
    """Epoch's block, paid and dividends of the newest line."""


class Running:
    """The sums of all accounts while an epoch is folded."""

    def __init__(self, rows: Rows, epochs: Table, payouts: Table, block: int) -> None:
        self._rows, self._epochs, self._payouts = rows, epochs, payouts
        self._block = block
        self._prices: dict[int, int | None] = {}

    @staticmethod
    def begin(rows: Rows, number: int) -> None:
        """An account that no line was written of yet."""
        rows.kept[number] = _Account()

    def before(self, number: int, line: Settled) -> str | None:
        """The sums before an account's next line, where they are due; and take that line in."""
        account: _Account | None = self._rows.kept.get(number)
        if account is None:
            account = self._rows.kept[number] = self._read(number)
        amounts = (
            line.entitled_alpha,
            line.paid_alpha,
            line.withheld_alpha,
            line.dividends_alpha,
            line.misdirected_alpha,
            line.lost_alpha,
        )
        return self._next(account, self._block, amounts)

    def _next(self, account: _Account, block: int, amounts: tuple[int, ...]) -> str | None:
        self._settle(account)
        text = None
        if account.since % SUMS_EVERY == 0:
            text = msgspec.json.encode(account.sums).decode()
            account.since = 0
        account.since += 1
        sums = account.sums
        sums[0] += 1
        for place, amount in enumerate(amounts, 1):
            if amount:
                sums[place] += amount
        account.newest = (block, amounts[1], amounts[3])
        return text

    def _settle(self, account: _Account) -> None:
        """Value the newest line, whose price stands by now."""
        if account.newest is None:
            return
        block, paid, dividends = account.newest
        account.newest = None
        if block not in self._prices:
            epoch = self._rows.get(self._epochs, block)
            self._prices[block] = None if epoch is None else epoch["price_rao"]
        price = self._prices[block]
        if price is None:
            account.sums[9] += paid + dividends
        else:
            account.sums[7] += value_rao(paid, price)
            account.sums[8] += value_rao(dividends, price)

    def _read(self, number: int) -> _Account:
        """An account of which only the table knows."""
        account, lines = _Account(), []
        for line in self._rows.newest_first(self._payouts, "account", number):
            epoch = self._rows.get(self._epochs, line["epoch_block"])
            if epoch is None or not epoch["late"]:
                lines.append(line)
                if line["sums"] is not None:
                    account.sums = list(read_sums(line["sums"]))
                    break
        for line in reversed(lines):
            amounts = tuple(line[name] for name in SUMMED)
            self._next(account, line["epoch_block"], amounts)
        return account
