"""Reconciliation: the books of a period against what the outside states (DOMAIN 3).

Per asset and period: ``observed opening + inflows - outflows + residual = observed closing``.
Opening and closing come only from observed balances; flows only from postings. A balance nobody
observed makes the residual unknown (None), never zero. Each part of a residual is a named break or
stays unexplained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ledger.books import accounts
from ledger.units import Amount, amount_of, total

BreakKind = Literal["on_chain_not_in_books", "in_books_not_on_chain", "amount_differs"]


@dataclass(frozen=True, slots=True)
class Period:
    """After ``from_block``, up to and with ``to_block``."""

    number: int
    from_block: int
    to_block: int


@dataclass(frozen=True, slots=True)
class BookedLine:
    """One posting as the journal keeps it."""

    about_block: int
    account: str
    asset: str
    amount: int
    reference: str | None

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class ObservedBalance:
    """A balance the outside states; ``account`` is an address or a provider's name."""

    asset: str
    account: str
    amount: int
    about_block: int

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class SeenOutflow:
    """Money that left the treasury's address on chain, by extrinsic."""

    block: int
    reference: str
    asset: str
    amount: int

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class Break:
    """A named part of a residual; ``amount`` is signed as the residual is."""

    kind: BreakKind
    reference: str
    amount: int


@dataclass(frozen=True, slots=True)
class AssetLine:
    """One asset in one period, in its smallest unit. None is unknown.

    ``unexplained`` is the residual less its breaks.
    """

    period: Period
    asset: str
    opening: int | None
    inflows: int
    outflows: int
    residual: int | None
    closing: int | None
    breaks: tuple[Break, ...]
    unexplained: int | None


def reconcile(
    period: Period,
    assets: Sequence[str],
    booked: Sequence[BookedLine],
    balances: Sequence[ObservedBalance],
    seen: Sequence[SeenOutflow],
) -> list[AssetLine]:
    """One line per asset. ``booked``, ``balances`` and ``seen`` may reach beyond the period."""
    return [_line(period, asset, booked, balances, seen) for asset in assets]


def _line(
    period: Period,
    asset: str,
    booked: Sequence[BookedLine],
    balances: Sequence[ObservedBalance],
    seen: Sequence[SeenOutflow],
) -> AssetLine:
    lines = [
        line
        for line in booked
        if line.asset == asset
        and accounts.is_asset(line.account)
        and period.from_block < line.about_block <= period.to_block
    ]
    zero = amount_of(asset, 0)
    inflows = total((line.money for line in lines if line.amount > 0), zero)
    outflows = -total((line.money for line in lines if line.amount < 0), zero)
    known = {
        line.account
        for line in balances
        if line.asset == asset and line.about_block <= period.to_block
    }
    opening = _observed(asset, balances, period.from_block, known)
    closing = _observed(asset, balances, period.to_block, known)
    breaks = tuple(_breaks(period, asset, lines, seen))
    residual: Amount | None = None
    if opening is not None and closing is not None:
        residual = total((closing, -opening, -inflows, outflows), zero)
    explained = total((amount_of(asset, found.amount) for found in breaks), zero)
    return AssetLine(
        period=period,
        asset=asset,
        opening=_value(opening),
        inflows=inflows.value,
        outflows=outflows.value,
        residual=_value(residual),
        closing=_value(closing),
        breaks=breaks,
        unexplained=None if residual is None else residual.plus(-explained).value,
    )


def _observed(
    asset: str, balances: Sequence[ObservedBalance], block: int, known: set[str]
) -> Amount | None:
    """The sum over every account of the asset observed at exactly that block.

    A known account (observed up to the period's end) that is not observed there makes the sum
    unknown.
    """
    there = {
        line.account: line.money
        for line in balances
        if line.asset == asset and line.about_block == block
    }
    if not known or set(there) != known:
        return None
    return total(there.values(), amount_of(asset, 0))


def _value(amount: Amount | None) -> int | None:
    return None if amount is None else amount.value


def _breaks(
    period: Period, asset: str, lines: Sequence[BookedLine], seen: Sequence[SeenOutflow]
) -> list[Break]:
    zero = amount_of(asset, 0)
    out: dict[str, Amount] = {}
    for item in seen:
        if item.asset == asset and period.from_block < item.block <= period.to_block:
            out[item.reference] = out.get(item.reference, zero).plus(item.money)
    # Net by extrinsic: what is bought and burned in one neither enters nor leaves.
    booked: dict[str, Amount] = {}
    for line in lines:
        if line.reference is not None and line.account == accounts.TREASURY:
            booked[line.reference] = booked.get(line.reference, zero).plus(-line.money)
    booked = {
        reference: net for reference, net in booked.items() if net.value > 0 or reference in out
    }
    breaks = []
    for reference in sorted(out.keys() | booked.keys()):
        on_chain, in_books = out.get(reference, zero), booked.get(reference, zero)
        if on_chain == in_books:
            continue
        kind: BreakKind = "amount_differs"
        if not in_books:
            kind = "on_chain_not_in_books"
        elif not on_chain:
            kind = "in_books_not_on_chain"
        breaks.append(Break(kind, reference, in_books.plus(-on_chain).value))
    return breaks
