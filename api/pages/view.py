"""What the page shows, asked through one scope, so that all of it is about the same block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.answers import Status, ThroneLine
from api.pages.charts import RampChart, Timeline, ramp_chart, timeline
from api.status import status_of
from ledger.projections.weights import policies
from ledger.queries.contests import contests
from ledger.queries.emissions import EpochLine, epochs
from ledger.queries.reigns import reigns
from ledger.queries.rentals import rentals
from ledger.queries.scope import Scope
from ledger.queries.submissions import submissions
from ledger.queries.treasury import (
    Reconciliation,
    TreasuryLine,
    account_balances,
    buybacks,
    payments,
    reconciliation,
    treasury_lines,
)
from ledger.queries.weights import (
    SentVector,
    VectorView,
    policy_in_force,
    sent_vectors,
    vector_view,
)

RECENT_SUBMISSIONS: Final = 25
RECENT_CONTESTS: Final = 10
RECENT_EPOCHS: Final = 12
RECENT_LINES: Final = 12
"""How much the page shows of lists that grow; the API has all of them."""


@dataclass(frozen=True, slots=True)
class TrackPart:
    """One track's throne and ramp."""

    name: str
    model: str
    phase: str
    pool_ppm: int | None
    throne: ThroneLine
    reigns: Sequence[dict[str, Any]]
    timeline: Timeline | None
    ramp: RampChart
    epochs: Sequence[EpochLine]


@dataclass(frozen=True, slots=True)
class TreasuryPart:
    """The books."""

    now: Reconciliation
    lines: Sequence[TreasuryLine]
    balances: Sequence[dict[str, Any]]
    unclaimed: Sequence[dict[str, Any]]
    buybacks: Sequence[dict[str, Any]]
    rentals: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ArenaPage:
    """Everything on the page."""

    status: Status
    opened_at: int
    alpha: str
    tracks: Sequence[TrackPart]
    vector: VectorView
    sent: SentVector | None
    treasury: TreasuryPart
    queue: Sequence[dict[str, Any]]
    submissions: Sequence[dict[str, Any]]
    submissions_total: int
    contests: Sequence[dict[str, Any]]
    contests_total: int


def arena_page(scope: Scope) -> ArenaPage:
    """Ask everything once; the newest first where lists are cut."""
    status = status_of(scope)
    commits, rounds = submissions(scope), contests(scope)
    return ArenaPage(
        status=status,
        opened_at=_opened_at(scope),
        alpha=f"ALPHA:{scope.head.netuid}",
        tracks=_tracks(scope, status),
        vector=vector_view(scope),
        sent=next(reversed(sent_vectors(scope)), None),
        treasury=_treasury(scope),
        queue=[line for line in commits if line["queue_place"] is not None],
        submissions=commits[::-1][:RECENT_SUBMISSIONS],
        submissions_total=len(commits),
        contests=rounds[::-1][:RECENT_CONTESTS],
        contests_total=len(rounds),
    )


def _opened_at(scope: Scope) -> int:
    return int(scope.rows(policies)[0]["from_block"])


def _tracks(scope: Scope, status: Status) -> list[TrackPart]:
    policy, history, paid = policy_in_force(scope), reigns(scope), epochs(scope)
    opened_at = _opened_at(scope)
    pools = {point.track: point for point in status.ramp}
    parts = []
    for throne in status.thrones:
        track, now = policy.tracks[throne.track], pools[throne.track]
        own = [reign for reign in history if reign["track"] == throne.track]
        lines = [line for line in paid if line.track == throne.track]
        chart = ramp_chart(
            track.emission,
            lines,
            opened_at=opened_at,
            now_block=scope.block,
            now_ppm=now.pool_ppm,
        )
        parts.append(
            TrackPart(
                name=throne.track,
                model=track.model,
                phase=now.phase,
                pool_ppm=now.pool_ppm,
                throne=throne,
                reigns=own,
                timeline=timeline(own, scope.block),
                ramp=chart,
                epochs=lines[::-1][:RECENT_EPOCHS],
            )
        )
    return parts


def _treasury(scope: Scope) -> TreasuryPart:
    return TreasuryPart(
        now=reconciliation(scope),
        lines=sorted(treasury_lines(scope), key=lambda line: -line.period)[:RECENT_LINES],
        balances=account_balances(scope),
        unclaimed=payments(scope, unclaimed_only=True)[::-1][:RECENT_LINES],
        buybacks=buybacks(scope)[::-1][:RECENT_LINES],
        rentals=rentals(scope)[::-1][:RECENT_LINES],
    )
