"""The answers about periods and costs: shapes and reads, one for HTTP and the command line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from api.answers import BlockInt, Listing, Part, UsdMicrosInt
from api.reads import Window
from ledger.queries import costs as ask
from ledger.queries.costs import ContestCost, RoundCost, SubmissionCost
from ledger.queries.periods import PeriodLine
from ledger.queries.periods import periods as ask_periods
from ledger.queries.scope import Scope


class Costs(msgspec.Struct, frozen=True):
    """What every attempt at a contest cost on rented machines, by seed block; the newest last.

    ``unused_usd_micros`` is rented time that no contest used.
    """

    block: BlockInt
    position: int
    limit: int
    offset: int
    unused_usd_micros: UsdMicrosInt
    contests: Part[ContestCost]


class RoundCosts(msgspec.Struct, frozen=True):
    """What one contest cost with all its attempts; None while a part is not known."""

    block: BlockInt
    position: int
    contest_id: str
    usd_micros: UsdMicrosInt | None
    attempts: Sequence[ContestCost]


class SubmissionCosts(msgspec.Struct, frozen=True):
    """A submission's fee against its part of its contests' cost."""

    block: BlockInt
    position: int
    submission: SubmissionCost


def periods(scope: Scope, window: Window) -> Listing[PeriodLine]:
    """The closed periods with their frozen figures."""
    return window.listing(scope, ask_periods(scope))


def costs(scope: Scope, window: Window) -> Costs:
    """Every attempt and its cost."""
    return Costs(
        block=scope.block,
        position=scope.position,
        limit=window.limit,
        offset=window.offset,
        unused_usd_micros=ask.unused_usd_micros(scope),
        contests=window.part(ask.contest_costs(scope)),
    )


def contest_costs(scope: Scope, contest_id: str) -> RoundCosts:
    """One contest with its attempts; :class:`UnknownCostError` where there is none."""
    found: RoundCost = ask.round_cost(scope, contest_id)
    return RoundCosts(
        block=scope.block,
        position=scope.position,
        contest_id=contest_id,
        usd_micros=found.usd_micros,
        attempts=found.attempts,
    )


def submission_costs(scope: Scope, submission_id: str) -> SubmissionCosts:
    """One submission's fee and cost; :class:`UnknownCostError` where there is none."""
    return SubmissionCosts(
        block=scope.block,
        position=scope.position,
        submission=ask.submission_cost(scope, submission_id),
    )
