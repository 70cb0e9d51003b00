"""Reconciliation: the books of a stretch of blocks against what the outside states (DOMAIN 3).

Per account and asset: ``observed opening + inflows - outflows + residual = observed closing``.
Opening and closing come only from balances observed at exactly those blocks; flows only from
postings. A balance nobody observed makes the residual unknown (None), never zero. Each part of a
residual is a named break, or unexplained and said to have arisen between two observed balances.

A closed period stays as it was closed: its figures rest on the facts recorded until then. What was
recorded later about its blocks stands beside them (``late_inflows``, ``late_outflows``), with what
the line comes to now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ledger.books.accounts import is_payable
from ledger.books.breaks import (
    Booking,
    Break,
    bookings_of,
    chain_breaks,
    claim_breaks,
    unexplained_parts,
)
from ledger.books.invoices import billed_to, invoice_breaks
from ledger.books.lines import (
    Account,
    BookedLine,
    ClaimedDeposit,
    InvoicedLine,
    MeteredCost,
    ObservedBalance,
    Period,
    SeenMovement,
)
from ledger.units import Amount, amount_of, total


@dataclass(frozen=True, slots=True)
class Known:
    """Everything one account is reconciled from; it may reach beyond any stretch of blocks.

    ``provider`` is whose invoices count for the account, None for one that is no provider's;
    ``invoiced`` holds them for both accounts of the provider, ``other_costs`` what its machines
    cost on the other one.
    """

    booked: Sequence[BookedLine] = ()
    balances: Sequence[ObservedBalance] = ()
    seen: Sequence[SeenMovement] = ()
    claims: Sequence[ClaimedDeposit] = ()
    provider: str | None = None
    costs: Sequence[MeteredCost] = ()
    other_costs: Sequence[MeteredCost] = ()
    invoiced: Sequence[InvoicedLine] = ()

    def upto(self, position: int) -> Known:
        """What was recorded up to a position of the log."""
        return Known(
            booked=[one for one in self.booked if one.position <= position],
            balances=[one for one in self.balances if one.position <= position],
            seen=[one for one in self.seen if one.position <= position],
            claims=[one.upto(position) for one in self.claims if one.position <= position],
            provider=self.provider,
            costs=[one for one in self.costs if one.position <= position],
            other_costs=[one for one in self.other_costs if one.position <= position],
            invoiced=[one for one in self.invoiced if one.position <= position],
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the identity, in the asset's smallest unit. None is unknown.

    ``unexplained`` is the residual less its named breaks; ``breaks`` name all of it, the
    unexplained parts by where they arose.
    """

    opening: int | None
    inflows: int
    outflows: int
    residual: int | None
    closing: int | None
    unexplained: int | None
    breaks: tuple[Break, ...]

    @property
    def parts(self) -> tuple[int, ...]:
        """The unexplained amounts, by where they arose."""
        return tuple(found.amount for found in self.breaks if found.kind == "unexplained")


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account in a stretch: its figures, what came late, and what it comes to with that.

    Of an open stretch ``now`` is ``figures`` and nothing is late.
    """

    account: Account
    period: Period
    figures: Figures
    late_inflows: int
    late_outflows: int
    now: Figures
    observed_block: int | None = field(default=None)
    """The newest block up to the stretch's end at which the account's balance was observed."""


def reconcile(period: Period, account: Account, known: Known) -> AccountLine:
    """The account's line. ``known`` holds what is about the account, and nothing of others."""
    now = _figures(period, account, known)
    observed = [
        block for block, _ in observed_points(known.balances, account.asset, period.to_block)
    ]
    late_in = late_out = 0
    figures = now
    if period.closed_at is not None:
        late = [
            line
            for line in known.booked
            if line.position > period.closed_at and line.about_block in period
        ]
        late_in, late_out = _flows(account.asset, late)
        figures = _figures(period, account, known.upto(period.closed_at))
    return AccountLine(
        account=account,
        period=period,
        figures=figures,
        late_inflows=late_in,
        late_outflows=late_out,
        now=now,
        observed_block=observed[-1] if observed else None,
    )


def total_of(asset: str, lines: Sequence[Figures]) -> Figures:
    """The asset's line: the sum of its accounts', unknown where one of them is."""

    def summed(values: Sequence[int | None]) -> int | None:
        amounts = [amount_of(asset, value) for value in values if value is not None]
        if not values or len(amounts) != len(values):
            return None
        return total(amounts, amount_of(asset, 0)).value

    return Figures(
        opening=summed([line.opening for line in lines]),
        inflows=sum(line.inflows for line in lines),
        outflows=sum(line.outflows for line in lines),
        residual=summed([line.residual for line in lines]),
        closing=summed([line.closing for line in lines]),
        unexplained=summed([line.unexplained for line in lines]),
        breaks=tuple(found for line in lines for found in line.breaks),
    )


def observed_points(
    balances: Iterable[ObservedBalance], asset: str, to_block: int
) -> list[tuple[int, int]]:
    """(block, balance) of the account wherever all of its holders were observed, in order.

    A holder counts if it was observed up to ``to_block``: one that is known and was not observed
    at a block makes the account's balance there unknown. Of two statements of one block the one
    recorded last counts: it corrects the other.
    """
    by_block: dict[int, dict[str, Amount]] = {}
    for one in sorted(balances, key=lambda one: one.position):
        if one.about_block <= to_block:
            by_block.setdefault(one.about_block, {})[one.holder] = one.money
    holders = {holder for there in by_block.values() for holder in there}
    return [
        (block, total(there.values(), amount_of(asset, 0)).value)
        for block, there in sorted(by_block.items())
        if there.keys() == holders
    ]


def _figures(period: Period, account: Account, known: Known) -> Figures:
    asset = account.asset
    lines = [line for line in known.booked if line.about_block in period]
    inflows, outflows = _flows(asset, lines)
    points = [
        point
        for point in observed_points(known.balances, asset, period.to_block)
        if point[0] >= period.from_block
    ]
    at = dict(points)
    opening, closing = at.get(period.from_block), at.get(period.to_block)
    residual = None
    if opening is not None and closing is not None:
        residual = closing - opening - inflows + outflows
    bookings = bookings_of(lines)
    named = _named(period, account, known, bookings)
    seen_at = {
        movement.reference: movement.block
        for movement in reversed(known.seen)
        if movement.block in period
    }
    parts = unexplained_parts(points, bookings, named, seen_at)
    explained = sum(found.amount for found in named)
    return Figures(
        opening=opening,
        inflows=inflows,
        outflows=outflows,
        residual=residual,
        closing=closing,
        unexplained=None if residual is None else residual - explained,
        breaks=tuple(
            sorted(
                (*named, *parts), key=lambda found: (found.to_block, found.kind, found.reference)
            )
        ),
    )


def _by_block(found: Break) -> tuple[int, str, str]:
    return found.to_block, found.kind, found.reference


def _named(
    period: Period, account: Account, known: Known, bookings: Sequence[Booking]
) -> list[Break]:
    named: list[Break] = []
    if known.provider is not None:
        own = billed_to(
            known.invoiced, known.costs, known.other_costs, payable=is_payable(account.name)
        )
        named += invoice_breaks(known.provider, period, known.costs, own)
    if not account.steps_by_block:
        return named  # nobody sees single movements there, only balances and invoices
    moved = [movement for movement in known.seen if movement.block in period]
    elsewhere = {
        line.reference: f"it is booked as {line.fact} about block {line.about_block}"
        for line in known.booked
        if line.reference and line.about_block not in period
    } | {
        movement.reference: f"it was seen on chain in block {movement.block}"
        for movement in known.seen
        if movement.block not in period
    }
    named += chain_breaks(bookings, moved, elsewhere)
    deposits: dict[str, int] = {}
    for line in known.booked:
        if line.proof == "chain" and line.reference:
            deposits[line.reference] = deposits.get(line.reference, 0) + line.amount
    named += claim_breaks((one for one in known.claims if one.block in period), deposits)
    return named


def _flows(asset: str, lines: Sequence[BookedLine]) -> tuple[int, int]:
    """(inflows, outflows), both not below zero; amounts of another asset are a type error."""
    zero = amount_of(asset, 0)
    inflows = total((line.money for line in lines if line.amount > 0), zero)
    outflows = -total((line.money for line in lines if line.amount < 0), zero)
    return inflows.value, outflows.value
