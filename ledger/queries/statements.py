"""Statements for outside eyes: the treasury's, a miner's and a validator's, as bookings too.

The bookings are what :mod:`ledger.books.plain_text` writes for Beancount and hledger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec
from sqlalchemy import case, func, null, select

from ledger.books.plain_text import Booking, Calendar, Price
from ledger.books.postings import MONEY_FACTS, Posting, entry_of
from ledger.decisions.treasury import PeriodClosed
from ledger.facts import Fact
from ledger.observations import BlockFilled, BlockObserved, OpeningObserved
from ledger.projections.journal import postings
from ledger.projections.treasury import periods
from ledger.queries.payout_sums import PayoutPeriod, PayoutSums, by_period, totals
from ledger.queries.payouts import PayoutLine, payouts_page
from ledger.queries.ranges import Range, treasury_ranges
from ledger.queries.scope import Scope
from ledger.queries.treasury import account_balances
from ledger.queries.weights import SentVector, sent_vectors
from ledger.store.logs import read_log
from ledger.units import Alpha

_PAGE: Final = 5_000

EARNED: Final = "assets:stake"
"""A miner's or validator's alpha, by hotkey: where the chain puts what it pays."""
INCENTIVE: Final = "income:incentive"
MISDIRECTED: Final = "income:incentive:meant_for_another"
DIVIDENDS: Final = "income:dividends"


class FlowLine(msgspec.Struct, frozen=True):
    """What an account took in and gave in a period, in the asset's smallest unit.

    Debits and credits are both above zero, the balance is what the account holds with this line and
    those before it, debits above zero. It is of blocks after ``from_block``, up to and with
    ``to_block``; ``period`` is None for what no closed period covers. What was recorded after its
    own period was closed changes nothing there: it is a line of the period in which it was
    recorded, and ``adjusts`` names the closed one.
    """

    period: int | None
    adjusts: int | None
    from_block: int
    to_block: int
    account: str
    asset: str
    debits: int
    credits: int
    balance: int


class ClosingLine(msgspec.Struct, frozen=True):
    """What a period's closing said it came to; None where it did not say."""

    period: int
    from_block: int
    to_block: int
    actor: str
    fees_rao: int | None
    rental_due_usd_micros: int | None
    price_usd_micros_per_tao: int | None
    price_source: str | None
    price_block: int | None
    rental_due_rao: int | None
    carried_in_rao: int | None
    surplus_rao: int | None
    deficit_rao: int | None
    reserve_rao: int | None
    proposed_buyback_rao: int | None


class BalanceLine(msgspec.Struct, frozen=True):
    """The journal's balance of an account, debits above zero."""

    account: str
    asset: str
    amount: int


class TreasuryStatement(msgspec.Struct, frozen=True):
    """The treasury's flows by account and period, its balances, and what its closings came to."""

    block: int
    position: int
    flows: tuple[FlowLine, ...]
    balances: tuple[BalanceLine, ...]
    closings: tuple[ClosingLine, ...]


class MinerStatement(msgspec.Struct, frozen=True):
    """What a hotkey, or all of a coldkey's, was entitled to and paid, within a range of blocks."""

    address: str
    block: int
    position: int
    from_block: int
    to_block: int
    sums: PayoutSums
    periods: tuple[PayoutPeriod, ...]
    lines: tuple[PayoutLine, ...]


class ValidatorStatement(msgspec.Struct, frozen=True):
    """A validator's dividends by epoch and period, and its vectors with what became of them."""

    address: str
    block: int
    position: int
    from_block: int
    to_block: int
    sums: PayoutSums
    periods: tuple[PayoutPeriod, ...]
    lines: tuple[PayoutLine, ...]
    vectors: tuple[SentVector, ...]


def miner_statement(scope: Scope, address: str, within: Range | None = None) -> MinerStatement:
    """The statement of a hotkey or coldkey over the epochs after the first block of ``within``, up
    to and with the second; over all of them by default."""
    first, last = within or (-1, scope.block)
    return MinerStatement(
        address=address,
        block=scope.block,
        position=scope.position,
        from_block=first + 1,
        to_block=last,
        sums=totals(scope, address, within),
        periods=tuple(by_period(scope, address, within)),
        lines=payouts_page(scope, address=address, within=within).lines,
    )


def validator_statement(
    scope: Scope, address: str, within: Range | None = None
) -> ValidatorStatement:
    """The same of a validator, with the vectors that this ledger sent for it in that range."""
    paid = miner_statement(scope, address, within)
    vectors = tuple(
        vector
        for vector in sent_vectors(scope)
        if vector.validator_hotkey == address and paid.from_block <= vector.block <= paid.to_block
    )
    return ValidatorStatement(
        **{name: getattr(paid, name) for name in paid.__struct_fields__}, vectors=vectors
    )


def treasury_statement(scope: Scope) -> TreasuryStatement:
    """The treasury's statement at the scope's block."""
    closings = tuple(
        ClosingLine(
            period=fact.number,
            **{name: getattr(fact, name) for name in ClosingLine.__struct_fields__[1:]},
        )
        for fact in _facts(scope, [PeriodClosed])
        if isinstance(fact, PeriodClosed)
    )
    return TreasuryStatement(
        block=scope.block,
        position=scope.position,
        flows=tuple(_flows(scope)),
        balances=tuple(BalanceLine(**line) for line in account_balances(scope)),
        closings=closings,
    )


def _flows(scope: Scope) -> list[FlowLine]:
    """Summed where they lie, in two queries for each period: its own, and what came late in it."""
    table, closed, held = postings, periods, dict[tuple[str, str], int]()
    debits = func.sum(case((table.c.amount > 0, table.c.amount), else_=0))
    moved = func.sum(table.c.amount)
    of_log = (table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
    named = (table.c.account, table.c.asset)
    lines = []
    closed_before: int | None = None
    for number, start, end, closed_at in treasury_ranges(scope):
        until = scope.position if closed_at is None else closed_at
        sums = select(*named, debits.label("debits"), moved.label("moved"))
        own = (
            sums.add_columns(null().label("adjusts"))
            .where(*of_log, table.c.about_block > start, table.c.about_block <= end)
            .where(table.c.position <= until)
            .group_by(*named)
            .order_by(*named)
        )
        found = list(scope.connection.execute(own))
        if closed_before is not None:
            late = (
                sums.add_columns(closed.c.number.label("adjusts"))
                .join(
                    closed,
                    (closed.c.log_id == table.c.log_id)
                    & (closed.c.position <= closed_before)
                    & (closed.c.from_block < table.c.about_block)
                    & (closed.c.to_block >= table.c.about_block),
                )
                .where(*of_log, table.c.position > closed_before, table.c.position <= until)
                .group_by(closed.c.number, *named)
                .order_by(closed.c.number, *named)
            )
            found += scope.connection.execute(late)
        for row in found:
            place, taken, left = (row.account, row.asset), int(row.debits), int(row.moved)
            held[place] = held.get(place, 0) + left
            flows = (taken, taken - left, held[place])
            lines.append(FlowLine(number, row.adjusts, start, end, *place, *flows))
        closed_before = closed_at
    return lines


# -- bookings ---------------------------------------------------------------------------------


def treasury_bookings(scope: Scope) -> list[Booking]:
    """Every entry of the journal, in the order of the log, with the event it is of."""
    found = [
        (position, fact, entry)
        for position, fact in _logged(scope, list(MONEY_FACTS))
        if (entry := entry_of(fact)) is not None
    ]
    calendar = _calendar(scope, {entry.about_block for _, _, entry in found})
    bookings = []
    for position, fact, entry in found:
        about: dict[str, str | int] = {
            "fact": fact.fact_key,
            "position": position,
            "block": entry.about_block,
        }
        if entry.reference is not None:
            about["extrinsic"] = entry.reference
        day = calendar.day(entry.about_block)
        bookings.append(Booking(day, fact.topic, about, entry.postings))
    return bookings


def payout_bookings(
    scope: Scope, lines: tuple[PayoutLine, ...]
) -> tuple[list[Booking], list[Price]]:
    """What the chain paid by epoch and hotkey, and the prices that value it.

    What was entitled, withheld and lost is no money that moved: it stands beside the entry.
    """
    calendar = _calendar(scope, {line.epoch_block for line in lines})
    netuid = scope.head.netuid
    bookings, prices = [], dict[tuple[str, int], Price]()
    for line in lines:
        day = calendar.day(line.epoch_block)
        if line.price_rao is not None:
            price = Price(day.date, f"ALPHA:{netuid}", line.price_rao, "TAO")
            prices[str(day.date), line.epoch_block] = price
        earned = line.paid_alpha + line.dividends_alpha
        if not earned:
            continue
        amounts = {
            f"{EARNED}:{line.hotkey}": earned,
            INCENTIVE: line.misdirected_alpha - line.paid_alpha,
            MISDIRECTED: -line.misdirected_alpha,
            DIVIDENDS: -line.dividends_alpha,
        }
        moved = [Posting.of(name, Alpha(value, netuid)) for name, value in amounts.items() if value]
        bookings.append(Booking(day, f"epoch {line.epoch_block}", _said(scope, line), moved))
    return bookings, list(prices.values())


def _said(scope: Scope, line: PayoutLine) -> dict[str, str | int]:
    said: dict[str, str | int] = {
        # The fact's own key (see EpochObserved).
        "fact": f"epoch:{scope.head.arena}:{line.epoch_block}",
        "block": line.epoch_block,
        "hotkey": line.hotkey,
        "entitled": line.entitled_alpha,
        "withheld": line.withheld_alpha,
        "lost": line.lost_alpha,
    }
    others = {
        "coldkey": line.coldkey,
        "uid": line.uid,
        "vector": line.vector_block,
        "meantfor": line.meant_for,
        "lostto": line.lost_to,
        "priceblock": line.price_block,
    }
    return said | {name: value for name, value in others.items() if value is not None}


def _calendar(scope: Scope, blocks: set[int]) -> Calendar:
    """The times of those blocks, and of the nearest before each that is not in the log."""
    times: dict[int, int] = {}
    missing = deque(sorted(blocks))
    newest: tuple[int, int] | None = None
    for fact in _facts(scope, [OpeningObserved, BlockObserved, BlockFilled]):
        assert isinstance(fact, OpeningObserved | BlockObserved | BlockFilled)  # noqa: S101  asked
        if fact.timestamp_ms is None:
            continue
        if isinstance(fact, BlockObserved):
            # In the order of their numbers: what lies between two is dated by the first of them.
            while missing and missing[0] < fact.number:
                if newest is not None:
                    times[newest[0]] = newest[1]
                missing.popleft()
            newest = (fact.number, fact.timestamp_ms)
        if fact.number in blocks or not times:
            times[fact.number] = fact.timestamp_ms
    if missing and newest is not None:
        times[newest[0]] = newest[1]
    return Calendar.of(times)


def _facts(scope: Scope, kinds: list[type[Fact]]) -> Iterator[Fact]:
    return (fact for _, fact in _logged(scope, kinds))


def _logged(scope: Scope, kinds: list[type[Fact]]) -> Iterator[tuple[int, Fact]]:
    """Position and fact of every fact of these kinds up to the scope's position."""
    topics = [kind.topic for kind in kinds]
    after = 0
    while True:
        page = read_log(
            scope.connection, scope.head.log_id, after=after, limit=_PAGE, topics=topics
        )
        for one in page:
            if one.position > scope.position:
                return
            yield one.position, one.fact
        if len(page) < _PAGE:
            return
        after = page[-1].position
