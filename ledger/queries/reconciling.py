"""The books against what the outside states: closed periods, the open one, any stretch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import msgspec

from ledger.books import accounts
from ledger.books.breaks import Break
from ledger.books.lights import Light, light_of, worst
from ledger.books.lines import Account, ObservedBalance, Period
from ledger.books.reconcile import AccountLine, Figures, observed_points, reconcile, total_of
from ledger.observations import BlockObserved
from ledger.queries.books import Adjustment, Books, books_of
from ledger.queries.scope import BlockOutOfRangeError, Scope
from ledger.store.logs import known_fact


class UnknownPeriodError(BlockOutOfRangeError):
    """The books have no period of that number yet."""


class BreakLine(msgspec.Struct, frozen=True):
    """A named part of a residual, in the smallest unit of ``asset``, signed as the residual is.

    It arose after ``from_block``, up to and with ``to_block``. ``booked`` and ``seen`` are what the
    books and the outside say moved on the account, None where that side says nothing. An amount of
    0 contradicts a booking that moves nothing of this account.
    """

    kind: str
    reference: str
    amount: int
    account: str
    asset: str
    from_block: int
    to_block: int
    booked: int | None
    seen: int | None
    facts: tuple[str, ...]
    detail: str


class AdjustmentLine(msgspec.Struct, frozen=True):
    """A posting that came after the period it is about was closed.

    ``period`` is that closed one, None for blocks before the first. ``reason`` is what the fact
    gives, else its kind.
    """

    period: int | None
    account: str
    asset: str
    amount: int
    about_block: int
    event: str
    fact_key: str
    reference: str | None
    reason: str


class TreasuryLine(msgspec.Struct, frozen=True):
    """One account, or one asset's total, in a stretch: opening + inflows - outflows + residual =
    closing, in the asset's smallest unit. None is unknown.

    A closed period's figures are those of its closing. ``late_inflows`` and ``late_outflows`` were
    recorded since about its blocks, ``residual_now`` is the residual with them, and the other
    fields in ``_now`` go with it; of what is open they say the same twice. ``period`` is 0 for a
    stretch that is no period.

    ``status`` is ``reconciled`` (no residual), ``explained`` (named breaks only), ``unexplained``,
    or ``unresolved`` where a balance is not known. ``light`` is green (fresh, and all accounted
    for), yellow (stale, or named breaks), red (something unexplained) or unresolved, as things are
    now. ``behind_blocks`` counts from the last observation of the account (``observed_block``, at
    the chain's time ``observed_at_ms`` where the log has it) to the end of the stretch, of an open
    one to the block of the question.
    """

    period: int
    from_block: int
    to_block: int
    asset: str
    opening: int | None
    inflows: int
    outflows: int
    residual: int | None
    closing: int | None
    status: str
    breaks: tuple[BreakLine, ...]
    unexplained: int | None
    account: str | None
    late_inflows: int
    late_outflows: int
    residual_now: int | None
    status_now: str
    breaks_now: tuple[BreakLine, ...]
    unexplained_now: int | None
    adjustments: tuple[AdjustmentLine, ...]
    light: Light
    observed_block: int | None
    behind_blocks: int | None
    observed_at_ms: int | None


class CorrectionLine(msgspec.Struct, frozen=True):
    """A statement that was recorded of a block and corrected later; both facts stay in the log.

    ``was`` and ``corrected_to`` are the balances, signed as the account's. The figures of a period
    that was closed at a lower ``position`` rest on ``was``.
    """

    account: str
    asset: str
    about_block: int
    was: int
    corrected_to: int
    reason: str | None
    actor: str | None
    position: int
    fact_key: str


class Reconciliation(msgspec.Struct, frozen=True):
    """A stretch of the books: its accounts, the totals of its assets, and the worst light.

    Payables stand among the accounts and in no total: the totals are of what is held. Of the open
    period, each line ends at its own newest observation.
    """

    period: int
    closed: bool
    from_block: int
    to_block: int
    light: Light
    accounts: list[TreasuryLine]
    totals: list[TreasuryLine]
    corrections: list[CorrectionLine]


def treasury_lines(scope: Scope, known_at: int | None = None) -> list[TreasuryLine]:
    """Every closed period by asset, as known at a position of the log, the scope's by default."""
    if known_at is not None:
        scope = replace(scope, position=min(known_at, scope.position))
    books = books_of(scope)
    return [line for period in books.periods for line in _reconciled(scope, books, period).totals]


def reconciliation(
    scope: Scope,
    *,
    period: int | None = None,
    from_block: int | None = None,
    to_block: int | None = None,
) -> Reconciliation:
    """A period by its number, a stretch of blocks, or by default the open period.

    A stretch without one of its ends goes from where the open period begins, or up to the scope's
    block. Raises :class:`UnknownPeriodError`, and
    :class:`~ledger.queries.scope.BlockOutOfRangeError` for a stretch that is none.
    """
    books = books_of(scope)
    if from_block is not None or to_block is not None:
        since = books.open_from() if from_block is None else from_block
        until = scope.block if to_block is None else to_block
        if not since < until <= scope.block:
            msg = (
                f"after block {since} up to block {until} is no stretch of these books, of which "
                f"block {scope.block} is the newest; name an earlier block and a later one"
            )
            raise BlockOutOfRangeError(msg)
        return _reconciled(scope, books, Period(0, since, until))
    newest = len(books.periods) + 1
    if period is None or period == newest:
        return _open(scope, books)
    known = [one for one in books.periods if one.number == period]
    if not known:
        msg = (
            f"there is no period {period}: {newest - 1} are closed and {newest} is open; "
            "name one of these"
        )
        raise UnknownPeriodError(msg)
    return _reconciled(scope, books, known[0])


def _reconciled(scope: Scope, books: Books, period: Period) -> Reconciliation:
    """A stretch that all accounts share."""
    lines = [
        reconcile(period, account, books.known[account])
        for account in books.accounts_up_to(period.to_block)
    ]
    then = set(books.accounts_up_to(period.to_block, period.closed_at))
    adjustments = books.adjustments_in(period.number) if period.number else []
    told = _Told(scope, period.to_block, adjustments)
    rows = [told.account_line(line) for line in lines]
    totals = [told.total(asset, period, lines, rows, then) for asset in _assets(scope)]
    return Reconciliation(
        period.number,
        period.closed_at is not None,
        period.from_block,
        period.to_block,
        worst([row.light for row in rows]),
        rows,
        totals,
        _corrections(scope, books, period),
    )


def _open(scope: Scope, books: Books) -> Reconciliation:
    """The open period: each account up to its newest observation, each asset to a common one.

    Right after a closing these are the closing's own: nothing is known of later blocks yet.
    """
    number, since = len(books.periods) + 1, books.open_from()
    told = _Told(scope, scope.block, books.adjustments_in(number))
    accounts_now = books.accounts_up_to(scope.block)

    def until(some: Sequence[Account]) -> int:
        common: set[int] | None = None
        for account in some:
            points = observed_points(books.known[account].balances, account.asset, scope.block)
            blocks = {block for block, _ in points if block >= since}
            common = blocks if common is None else common & blocks
        return max(common) if common else scope.block

    def lines_of(some: Sequence[Account], to_block: int) -> list[AccountLine]:
        period = Period(number, since, to_block)
        return [reconcile(period, account, books.known[account]) for account in some]

    rows = [
        told.account_line(line)
        for account in accounts_now
        for line in lines_of([account], until([account]))
    ]
    totals = []
    for asset in _assets(scope):
        own = [one for one in accounts_now if one.asset == asset and accounts.is_asset(one.name)]
        period = Period(number, since, until(own))
        lines = lines_of(own, period.to_block)
        totals.append(told.total(asset, period, lines, rows, set(own)))
    return Reconciliation(
        number,
        False,
        since,
        scope.block,
        worst([row.light for row in rows]),
        rows,
        totals,
        _corrections(scope, books, Period(number, since, scope.block)),
    )


def _corrections(scope: Scope, books: Books, period: Period) -> list[CorrectionLine]:
    """The statements of the stretch, its beginning included, that were corrected."""
    stated: dict[tuple[str, str, str, int], list[ObservedBalance]] = defaultdict(list)
    for known in books.known.values():
        for one in known.balances:
            if period.from_block <= one.about_block <= period.to_block:
                place = (one.account, one.asset, one.holder, one.about_block)
                stated[place].append(one)
    found = []
    for place in sorted(stated):
        in_order = sorted(stated[place], key=lambda one: one.position)
        for before, after in pairwise(in_order):
            fact = known_fact(scope.connection, after.fact)
            found.append(
                CorrectionLine(
                    account=after.account,
                    asset=after.asset,
                    about_block=after.about_block,
                    was=before.amount,
                    corrected_to=after.amount,
                    reason=getattr(fact, "reason", None),
                    actor=getattr(fact, "actor", None),
                    position=after.position,
                    fact_key=after.fact,
                )
            )
    return found


def _assets(scope: Scope) -> tuple[str, str, str]:
    return accounts.TAO, accounts.USD, accounts.alpha(scope.head.netuid)


class _Told:
    """Lines in the shape of the answer, as of the block to which freshness counts."""

    def __init__(self, scope: Scope, fresh_to: int, adjustments: Sequence[Adjustment]) -> None:
        self._scope = scope
        self._fresh_to = fresh_to
        self._adjustments = [self._adjustment(one) for one in adjustments]
        self._times: dict[int, int | None] = {}

    def account_line(self, line: AccountLine) -> TreasuryLine:
        """The row of an account."""
        account, behind = line.account, None
        if line.observed_block is not None:
            behind = self._fresh_to - line.observed_block
        light = light_of(
            residual=line.now.residual,
            parts=line.now.parts,
            breaks=len(line.now.breaks),
            behind_blocks=behind,
            steps_by_block=account.steps_by_block,
        )
        return _shaped(
            line.period,
            account.asset,
            account.name,
            (line.figures, _breaks(account, line.figures.breaks)),
            (line.now, _breaks(account, line.now.breaks)),
            (line.late_inflows, line.late_outflows),
            tuple(
                one
                for one in self._adjustments
                if (one.account, one.asset) == (account.name, account.asset)
            ),
            light,
            (line.observed_block, behind, self._time_of(line.observed_block)),
        )

    def total(
        self,
        asset: str,
        period: Period,
        lines: Sequence[AccountLine],
        rows: Sequence[TreasuryLine],
        then: set[Account],
    ) -> TreasuryLine:
        """The row of an asset: what is held of it. ``then`` are the accounts known at closing."""
        own = [
            line
            for line in lines
            if line.account.asset == asset and accounts.is_asset(line.account.name)
        ]
        as_closed = [line for line in own if line.account in then]
        seen = [line.observed_block for line in own]
        known = [block for block in seen if block is not None]
        oldest = min(known) if known and len(known) == len(seen) else None
        named = {line.account.name for line in own}
        return _shaped(
            period,
            asset,
            None,
            (
                total_of(asset, [line.figures for line in as_closed]),
                tuple(
                    found
                    for line in as_closed
                    for found in _breaks(line.account, line.figures.breaks)
                ),
            ),
            (
                total_of(asset, [line.now for line in own]),
                tuple(found for line in own for found in _breaks(line.account, line.now.breaks)),
            ),
            (sum(line.late_inflows for line in own), sum(line.late_outflows for line in own)),
            tuple(
                one
                for one in self._adjustments
                if one.asset == asset and accounts.is_asset(one.account)
            ),
            worst([row.light for row in rows if row.asset == asset and row.account in named]),
            (
                oldest,
                None if oldest is None else self._fresh_to - oldest,
                self._time_of(oldest),
            ),
        )

    def _time_of(self, block: int | None) -> int | None:
        """The chain's time of a block, where the log has it."""
        if block is None:
            return None
        if block not in self._times:
            scope = self._scope
            fact = known_fact(scope.connection, f"block:{scope.head.arena}:{block}")
            self._times[block] = fact.timestamp_ms if isinstance(fact, BlockObserved) else None
        return self._times[block]

    def _adjustment(self, found: Adjustment) -> AdjustmentLine:
        line = found.line
        fact = known_fact(self._scope.connection, line.fact)
        event = fact.topic if fact is not None else ""
        return AdjustmentLine(
            period=found.period,
            account=line.account,
            asset=line.asset,
            amount=line.amount,
            about_block=line.about_block,
            event=event,
            fact_key=line.fact,
            reference=line.reference,
            reason=getattr(fact, "reason", "") or event,
        )


def _breaks(account: Account, found: Sequence[Break]) -> tuple[BreakLine, ...]:
    return tuple(
        BreakLine(
            kind=one.kind,
            reference=one.reference,
            amount=one.amount,
            account=account.name,
            asset=account.asset,
            from_block=one.from_block,
            to_block=one.to_block,
            booked=one.booked,
            seen=one.seen,
            facts=one.facts,
            detail=one.detail,
        )
        for one in found
    )


def _shaped(
    period: Period,
    asset: str,
    account: str | None,
    then: tuple[Figures, tuple[BreakLine, ...]],
    now: tuple[Figures, tuple[BreakLine, ...]],
    late: tuple[int, int],
    adjustments: tuple[AdjustmentLine, ...],
    light: Light,
    observed: tuple[int | None, int | None, int | None],
) -> TreasuryLine:
    figures, figures_now = then[0], now[0]
    return TreasuryLine(
        period=period.number,
        from_block=period.from_block,
        to_block=period.to_block,
        asset=asset,
        opening=figures.opening,
        inflows=figures.inflows,
        outflows=figures.outflows,
        residual=figures.residual,
        closing=figures.closing,
        status=_status(asset, figures),
        breaks=then[1],
        unexplained=figures.unexplained,
        account=account,
        late_inflows=late[0],
        late_outflows=late[1],
        residual_now=figures_now.residual,
        status_now=_status(asset, figures_now),
        breaks_now=now[1],
        unexplained_now=figures_now.unexplained,
        adjustments=adjustments,
        light=light,
        observed_block=observed[0],
        behind_blocks=observed[1],
        observed_at_ms=observed[2],
    )


def _status(asset: str, figures: Figures) -> str:
    if figures.residual is None:
        return "unresolved"
    # Of dollars, parts that cancel each other are one deduction at another time (see lights).
    if sum(figures.parts) or (figures.parts and asset != accounts.USD):
        return "unexplained"
    return "explained" if figures.breaks else "reconciled"
