"""Sums of an account's payouts where they lie, so that a statement need not read a year of lines.

Every :data:`SUMS_EVERY` lines of an account the line says in ``sums`` what all lines before it come
to. The sum up to any block is then that of the newest such line before it, and of at most as many
lines more. Lines of epochs that were read late, out of a gap, are in no sums: they lie behind
others of later blocks, and are added one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import add, sub
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


def less(one: Sums, other: Sums) -> Sums:
    """The one without the other."""
    return tuple(map(sub, one, other))


_READ: Final = msgspec.json.Decoder(Sums)


def read_sums(text: str) -> Sums:
    """A line's ``sums``."""
    return _READ.decode(text)


@dataclass(slots=True)
class Account:
    """What an account's lines come to, but for the newest: its epoch may get another price yet."""

    sums: list[int] = field(default_factory=lambda: list(NO_SUMS))
    since: int = 0
    """How many lines ago the sums were written; 0: they are to be written now."""
    newest: tuple[int, int, int] | None = None
    """Epoch's block, paid and dividends of the newest line."""
    ended: int | None = 0
    """How many lines there were at the newest end that has a row of it (see payout_ends); None: it
    must be looked up."""


class Running:
    """The sums of all accounts while an epoch is folded."""

    def __init__(self, rows: Rows, epochs: Table, payouts: Table, block: int) -> None:
        self._rows, self._epochs, self._payouts = rows, epochs, payouts
        self.block = block
        self._prices: dict[int, int | None] = {}

    @staticmethod
    def begin(rows: Rows, number: int) -> None:
        """An account that no line was written of yet."""
        rows.kept[number] = Account()

    def with_lines_since(self, position: int, count: int) -> list[int]:
        """Of ``count`` accounts at least those that have lines since a position, by their numbers.

        Cheap where all are remembered, as in a rebuild: then it is all of them.
        """
        kept, numbers = self._rows.kept, range(1, count + 1)
        if all(number in kept for number in numbers):
            return list(numbers)
        written = self._rows.values_since(self._payouts, "account", position)
        return [number for number in numbers if number in kept or number in written]

    def newest_first(self) -> Iterator[tuple[int, int, int, Sums]]:
        """Position, epoch's block, account and sums of each line so far that is in the sums."""
        late: dict[int, bool] = {}
        for line in self._rows.all_newest_first(self._payouts):
            block = line["epoch_block"]
            if block not in late:
                epoch = self._rows.get(self._epochs, block)
                late[block] = epoch is None or bool(epoch["late"])
            if not late[block]:
                yield line["position"], block, line["account"], sums_of(line, self.price(block))

    def account(self, number: int) -> Account:
        """What an account's lines come to, as of the newest one."""
        account: Account | None = self._rows.kept.get(number)
        if account is None:
            account = self._rows.kept[number] = self._read(number)
        return account

    def up_to_now(self, number: int) -> Sums:
        """The sums of all of an account's lines, whose prices stand: another epoch is at hand."""
        account = self.account(number)
        self._settle(account)
        return tuple(account.sums)

    def before(self, number: int, line: Settled) -> str | None:
        """The sums before an account's next line, where they are due; and take that line in."""
        account: Account | None = self._rows.kept.get(number)
        if account is None:
            account = self.account(number)
        amounts = (
            line.entitled_alpha,
            line.paid_alpha,
            line.withheld_alpha,
            line.dividends_alpha,
            line.misdirected_alpha,
            line.lost_alpha,
        )
        return self._next(account, self.block, amounts)

    def _next(self, account: Account, block: int, amounts: tuple[int, ...]) -> str | None:
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

    def _settle(self, account: Account) -> None:
        """Value the newest line, whose price stands by now."""
        if account.newest is None:
            return
        block, paid, dividends = account.newest
        account.newest = None
        price = self._prices[block] if block in self._prices else self.price(block)
        if price is None:
            account.sums[9] += paid + dividends
        else:
            account.sums[7] += value_rao(paid, price)
            account.sums[8] += value_rao(dividends, price)

    def price(self, block: int) -> int | None:
        """The price that values an epoch, which stands as soon as there is another one."""
        if block not in self._prices:
            epoch = self._rows.get(self._epochs, block)
            self._prices[block] = None if epoch is None else epoch["price_rao"]
        return self._prices[block]

    def _read(self, number: int) -> Account:
        """An account of which only the table knows."""
        account, lines = Account(ended=None), []
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
