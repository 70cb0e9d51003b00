"""Contests: attempts, entrants, scores and verdicts."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

from ledger.codes import VoidCause
from ledger.projections import contests as view
from ledger.queries.scope import Scope, plain


def contests(scope: Scope) -> list[dict[str, Any]]:
    """Every attempt so far in the order of its seed block, with its entrants in judging order."""
    entrants: dict[str, list[dict[str, Any]]] = {}
    for row in scope.rows(view.entrants):
        line = plain(row, without=("contest_id",))
        entrants.setdefault(row["contest_id"], []).append(line)
    rows = sorted(scope.rows(view.contests), key=lambda row: (row["seed_block"], row["track"]))
    return [
        {
            **plain(row),
            "reasons": msgspec.json.decode(row["reasons"], type=list[str]),
            "host_facts": msgspec.json.decode(row["host_facts"] or "{}", type=dict[str, str]),
            "entrants": sorted(entrants[row["contest_id"]], key=lambda line: line["place"]),
        }
        for row in rows
    ]


def open_contests(scope: Scope) -> list[UUID]:
    """Attempts that neither completed nor are void."""
    return [
        UUID(row["contest_id"])
        for row in scope.rows(view.contests)
        if row["status"] in {"planned", "running"}
    ]


def last_seed_block(scope: Scope, track: str) -> int:
    """The seed block of the track's latest attempt; -1 before the first."""
    blocks = [row["seed_block"] for row in scope.rows(view.contests) if row["track"] == track]
    return max(blocks, default=-1)


FAULTS_OF_OURS: Final = frozenset(
    cause.value
    for cause in (
        VoidCause.BASELINE_FAILED,
        VoidCause.SCORING_FAILED,
        VoidCause.HOST_FAILED,
        VoidCause.CLIENT_SATURATED,
        VoidCause.DRIFTED,
    )
)
"""Why a round is void though nobody stopped it."""


def faults_in_a_row(scope: Scope, track: str, host: str, *, after_seed_block: int = -1) -> int:
    """How many of a host's last attempts on a track were void by a fault of ours.

    Counted since the track's last completed contest, whoever ran that, and of attempts with a later
    seed block than ``after_seed_block``. Attempts that somebody stopped do not count.
    """
    rows = sorted(
        (row for row in scope.rows(view.contests) if row["track"] == track),
        key=lambda row: row["seed_block"],
    )
    count = 0
    for row in rows:
        if row["status"] == "completed":
            count = 0
        elif row["seed_block"] > after_seed_block and row["host"] == host:
            count += row["void_cause"] in FAULTS_OF_OURS
    return count


def contest_of(scope: Scope, contest: UUID) -> dict[str, Any] | None:
    """One attempt as :func:`contests` gives it; None where it is not known by then."""
    return next((line for line in contests(scope) if line["contest_id"] == str(contest)), None)
