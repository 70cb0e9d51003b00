"""What the season came to: one document, for people and for programs alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from api.app import Services
from api.demo.accounts import ADA, MINERS, NEW
from api.demo.season import NETUID, NETWORK, PERIODS_END, TRACK
from ledger.queries.contests import contests
from ledger.queries.emissions import ramp_now
from ledger.queries.payout_sums import Statement, statement
from ledger.queries.reigns import reigns
from ledger.queries.scope import Scope
from ledger.queries.submissions import submissions
from ledger.queries.treasury import TreasuryLine, treasury_lines
from ledger.queries.weights import sent_vectors


class CommitsReport(msgspec.Struct, frozen=True):
    """Commits seen, accepted and refused; a refused one counts under each code it was given."""

    seen: int
    accepted: int
    refused: int
    refused_by_code: dict[str, int]
    lines: list[dict[str, Any]]


class VectorReport(msgspec.Struct, frozen=True):
    """A vector that was sent: u16 values by UID, and their digest.

    ``pool_ppm`` is the miners' pool at that block, the ramp in phase 3; None without a king.
    """

    block: int
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    pool_ppm: int | None


class TreasuryReport(msgspec.Struct, frozen=True):
    """One asset in one period, in its smallest unit, as known now.

    ``residual_at_close`` is what the books showed when the period was closed: a fact that came late
    may have explained it since.
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
    residual_at_close: int | None
    breaks_at_close: tuple[str, ...]


class SeasonReport(msgspec.Struct, frozen=True):
    """The whole season. ``events`` is the number of facts in the arena's log."""

    commits: CommitsReport
    contests: list[dict[str, Any]]
    reigns: list[dict[str, Any]]
    weights: list[VectorReport]
    treasury: list[TreasuryReport]
    statement: Statement
    events: int


def season_report(services: Services) -> SeasonReport:
    """Gather the report from the views; the statement is Ada's, who was king three times."""
    with services.at(NETWORK, NETUID) as scope:
        return SeasonReport(
            commits=_commits(scope),
            contests=contests(scope),
            reigns=reigns(scope),
            weights=_vectors(services, scope),
            treasury=_treasury(services, scope),
            statement=statement(scope, ADA.hotkey),
            events=scope.position,
        )


def names() -> dict[str, str]:
    """Whose hotkey is whose, for reading the report."""
    return {miner.hotkey: miner.name for miner in (*MINERS, NEW)}


def _commits(scope: Scope) -> CommitsReport:
    lines = submissions(scope)
    codes = Counter(code for line in lines if not line["accepted"] for code in line["codes"])
    return CommitsReport(
        seen=len(lines),
        accepted=sum(line["accepted"] is True for line in lines),
        refused=sum(line["accepted"] is False for line in lines),
        refused_by_code=dict(sorted(codes.items())),
        lines=lines,
    )


def _vectors(services: Services, scope: Scope) -> list[VectorReport]:
    vectors = []
    for line in sent_vectors(scope):
        with services.at(NETWORK, NETUID, line.block) as then:
            pools = {point.track: point.pool_ppm for point in ramp_now(then)}
        vectors.append(VectorReport(line.block, line.uids, line.values, line.digest, pools[TRACK]))
    return vectors


def _treasury(services: Services, scope: Scope) -> list[TreasuryReport]:
    at_close: dict[tuple[int, str], TreasuryLine] = {}
    for block in PERIODS_END:
        with services.at(NETWORK, NETUID, block) as then:
            at_close |= {(line.period, line.asset): line for line in treasury_lines(then)[-3:]}
    lines = []
    for line in treasury_lines(scope):
        before = at_close[line.period, line.asset]
        lines.append(
            TreasuryReport(
                period=line.period,
                from_block=line.from_block,
                to_block=line.to_block,
                asset=line.asset,
                opening=line.opening,
                inflows=line.inflows + line.late_inflows,
                outflows=line.outflows + line.late_outflows,
                residual=line.residual_now,
                closing=line.closing,
                status=line.status_now,
                residual_at_close=before.residual,
                breaks_at_close=tuple(found.kind for found in before.breaks),
            )
        )
    return lines
