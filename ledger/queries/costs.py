"""What contests and submissions cost: machine time by the meter, against the fee that was paid.

A contest is one attempt; its round is it with the attempts before and after it that tried the same
again, void ones, too. What is not known is None, never 0: a machine of the operator's own has no
meter, and a rental's cost is known when it is booked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from sqlalchemy import select

from ledger.books.periods import TaoPrice
from ledger.projections.costs import costs as view
from ledger.queries.contests import contests
from ledger.queries.periods import PeriodLine, periods
from ledger.queries.prices import nearest_price
from ledger.queries.scope import Scope
from ledger.queries.submissions import submissions
from ledger.queries.treasury import payments
from ledger.units import RAO_PER_TAO

Basis = Literal["gpu_seconds", "equal_parts"]
"""By what a contest's cost is parted over its images: their GPU seconds where all are known."""


class UnknownCostError(Exception):
    """No such contest or submission is in the log, so nothing can be said of its cost."""

    def __init__(self, what: Literal["contest", "submission"], name: str, block: int) -> None:
        super().__init__(f"no {what} {name} is in the log by block {block}")
        self.what = what


class ArmCost(msgspec.Struct, frozen=True):
    """One image's part of a contest's cost; floored, and what the floors leave is the baseline's.

    ``submission_id`` is None for the baseline. ``gpu_ms`` is milliseconds times GPUs.
    """

    role: str
    submission_id: str | None
    hotkey: str | None
    gpu_ms: int | None
    usd_micros: int | None


class ContestCost(msgspec.Struct, frozen=True):
    """What one attempt cost on rented machines, and which image bears how much."""

    contest_id: str
    track: str
    attempt: int
    seed_block: int
    status: str
    seconds: int | None
    usd_micros: int | None
    basis: Basis
    arms: tuple[ArmCost, ...]


class RoundCost(msgspec.Struct, frozen=True):
    """All attempts at one contest; the sum is None where one of them is not known."""

    attempts: tuple[ContestCost, ...]
    usd_micros: int | None


class SubmissionPart(msgspec.Struct, frozen=True):
    """A submission's part of one attempt, as a challenger or, later, as king or runner-up."""

    contest_id: str
    role: str
    attempt: int
    seed_block: int
    status: str
    basis: Basis
    gpu_ms: int | None
    usd_micros: int | None


class SubmissionCost(msgspec.Struct, frozen=True):
    """The fee of a submission against its parts of its contests' cost.

    ``fee_rao`` is 0 where none was paid; ``credited`` is whether it may be used once more. In
    dollars it is worth the price of the closed period it was paid in, else the nearest one, as
    ``price_of`` says; None without a price. ``margin_usd_micros`` is fee less cost, None where one
    of the two is not known.
    """

    submission_id: str
    hotkey: str
    fee_rao: int
    credited: bool
    paid_at_block: int | None
    price: TaoPrice | None
    price_of: Literal["period", "nearest"] | None
    fee_usd_micros: int | None
    cost_usd_micros: int | None
    margin_usd_micros: int | None
    parts: tuple[SubmissionPart, ...]


def contest_costs(scope: Scope) -> list[ContestCost]:
    """Every attempt so far, by seed block."""
    booked: dict[str, list[Any]] = {}
    for row in scope.rows(view):
        if row["contest_id"] is not None:
            booked.setdefault(row["contest_id"], []).append(row)
    return [_contest(line, booked.get(line["contest_id"], [])) for line in contests(scope)]


def unused_usd_micros(scope: Scope) -> int:
    """What rented time cost that no contest used."""
    query = select(view.c.usd_micros).where(
        view.c.log_id == scope.head.log_id,
        view.c.position <= scope.position,
        view.c.contest_id.is_(None),
    )
    return sum(int(cost) for (cost,) in scope.connection.execute(query))


def round_cost(scope: Scope, contest_id: str) -> RoundCost:
    """A contest with all its attempts; :class:`UnknownCostError` where there is none."""
    known = contest_costs(scope)
    own = next((line for line in known if line.contest_id == contest_id), None)
    if own is None:
        raise UnknownCostError("contest", contest_id, scope.block)
    for attempts in _rounds([line for line in known if line.track == own.track]):
        if own in attempts:
            return RoundCost(tuple(attempts), _sum([line.usd_micros for line in attempts]))
    raise AssertionError(contest_id)  # every attempt is in a round


def submission_cost(scope: Scope, submission_id: str) -> SubmissionCost:
    """A submission's fee and cost; :class:`UnknownCostError` where there is none."""
    own = [line for line in submissions(scope) if str(line["submission_id"]) == submission_id]
    if not own:
        raise UnknownCostError("submission", submission_id, scope.block)
    parts = [
        SubmissionPart(
            contest_id=contest.contest_id,
            role=arm.role,
            attempt=contest.attempt,
            seed_block=contest.seed_block,
            status=contest.status,
            basis=contest.basis,
            gpu_ms=arm.gpu_ms,
            usd_micros=arm.usd_micros,
        )
        for contest in contest_costs(scope)
        for arm in contest.arms
        if arm.submission_id == submission_id
    ]
    paid = next((row for row in payments(scope) if row["submission_id"] == submission_id), None)
    fee = paid["amount_rao"] - (paid["overpaid_rao"] or 0) if paid else 0
    price, price_of = _price(scope, paid["block"]) if paid else (None, None)
    fee_usd: int | None = 0
    if fee:
        fee_usd = fee * price.usd_micros_per_tao // RAO_PER_TAO if price else None
    cost = _sum([part.usd_micros for part in parts])
    return SubmissionCost(
        submission_id=submission_id,
        hotkey=own[0]["hotkey"],
        fee_rao=fee,
        credited=paid is not None and paid["status"] == "credited",
        paid_at_block=paid["block"] if paid else None,
        price=price,
        price_of=price_of,
        fee_usd_micros=fee_usd,
        cost_usd_micros=cost,
        margin_usd_micros=None if fee_usd is None or cost is None else fee_usd - cost,
        parts=tuple(parts),
    )


# -- inside ---------------------------------------------------------------------------------------


def _contest(line: dict[str, Any], booked: Sequence[Any]) -> ContestCost:
    cost = sum(row["usd_micros"] for row in booked) if booked else None
    arms = [("baseline", None, None, line["baseline_gpu_ms"])]
    arms += [
        (one["role"], one["submission_id"], one["hotkey"], one["gpu_ms"])
        for one in line["entrants"]
    ]
    times = [gpu_ms for *_, gpu_ms in arms]
    known = [gpu_ms for gpu_ms in times if gpu_ms is not None]
    basis: Basis = "gpu_seconds" if len(known) == len(times) and sum(known) else "equal_parts"
    weights = known if basis == "gpu_seconds" else [1] * len(arms)
    borne: list[int | None] = [None] * len(arms)
    if cost is not None:
        floors = [cost * weight // sum(weights) for weight in weights[1:]]
        borne = [cost - sum(floors), *floors]
    return ContestCost(
        contest_id=line["contest_id"],
        track=line["track"],
        attempt=line["attempt"],
        seed_block=line["seed_block"],
        status=line["status"],
        seconds=_sum([row["seconds"] for row in booked]) if booked else None,
        usd_micros=cost,
        basis=basis,
        arms=tuple(ArmCost(*arm, part) for arm, part in zip(arms, borne, strict=True)),
    )


def _rounds(attempts: Sequence[ContestCost]) -> list[list[ContestCost]]:
    """A track's attempts, by seed block, cut where the numbers begin anew."""
    rounds = [[one] for one in attempts[:1]]
    for before, after in pairwise(attempts):
        if after.attempt > before.attempt:
            rounds[-1].append(after)
        else:
            rounds.append([after])
    return rounds


def _price(scope: Scope, block: int) -> tuple[TaoPrice | None, Literal["period", "nearest"] | None]:
    period = next((one for one in periods(scope) if one.from_block < block <= one.to_block), None)
    price = _of_period(period) if period else None
    if price is not None:
        return price, "period"
    price = nearest_price(scope, block)
    return price, None if price is None else "nearest"


def _of_period(period: PeriodLine) -> TaoPrice | None:
    price, source, block = (
        period.price_usd_micros_per_tao,
        period.price_source,
        period.price_block,
    )
    if price is None or source is None or block is None:
        return None
    return TaoPrice(price, source, block, "period")


def _sum(known: Sequence[int | None]) -> int | None:
    """The sum; None where a part is not known, or where there is none to be known of."""
    parts = [part for part in known if part is not None]
    return sum(parts) if parts and len(parts) == len(known) else None
