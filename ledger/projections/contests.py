"""The `contests` view: each attempt, its entrants with measurement and verdict, and its end."""

from __future__ import annotations

from itertools import count
from typing import Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.contest import (
    BaselineMeasured,
    ContestClaimed,
    ContestCompleted,
    ContestJudged,
    ContestPlanned,
    ContestVoided,
    EntrantMeasured,
    EvidenceSealed,
    host_of,
)
from ledger.facts import Fact
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

contests: Final = versioned(
    "contests",
    [Column("contest_id", Text, primary_key=True)],
    [
        Column("track", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("seed_block", BigInteger, nullable=False),
        Column("seed_block_hash", Text, nullable=False),
        Column("policy_digest", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("host", Text),
        Column("worker", Text),
        Column("claimed_until_block", BigInteger),
        Column("planned_at_block", BigInteger, nullable=False),
        Column("ended_at_block", BigInteger),
        Column("void_cause", Text),
        Column("detail", Text, nullable=False),
        Column("baseline_image", Text),
        Column("baseline_median_e2e_us", BigInteger),
        Column("baseline_median_ttft_us", BigInteger),
        Column("prompts", Integer),
        Column("prompts_digest", Text),
        Column("king_hotkey", Text),
        Column("reasons", Text, nullable=False),
        Column("manifest_digest", Text),
        Column("evidence_url", Text),
        Column("calibration", Text),
        Column("client_lag_p99_us", BigInteger),
        Column("drift_ppm", BigInteger),
        Column("clock_drift_ppm", BigInteger),
        Column("host_facts", Text),
        Column("baseline_gpu_ms", BigInteger),
    ],
)

entrants: Final = versioned(
    "contests_entrants",
    [
        Column("contest_id", Text, primary_key=True),
        Column("place", Integer, primary_key=True, autoincrement=False),
    ],
    [
        Column("submission_id", Text, nullable=False),
        Column("hotkey", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("image", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("status", Text),  # None until it was measured
        Column("code", Text),
        Column("detail", Text),
        Column("log_tail", Text),
        Column("score_ppm", BigInteger),
        Column("lower_ppm", BigInteger),
        Column("upper_ppm", BigInteger),
        Column("top1_ppm", Integer),
        Column("mean_margin_milli", BigInteger),
        Column("p99_margin_milli", BigInteger),
        Column("spread_ppm", Integer),
        Column("repeat_gain_ppm", BigInteger),
        Column("median_e2e_us", BigInteger),
        Column("evidence_digest", Text),
        Column("fingerprint", Text),
        Column("image_bytes", BigInteger),
        Column("gpu_ms", BigInteger),
    ],
)


class ContestsProjection:
    """Folds plans, measurements and verdicts."""

    name = "contests"
    tables = (contests, entrants)
    knows: tuple[type[Fact], ...] = (
        BaselineMeasured,
        ContestClaimed,
        ContestCompleted,
        ContestJudged,
        ContestPlanned,
        ContestVoided,
        EntrantMeasured,
        EvidenceSealed,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        identity = str(fact.originator_id)
        match fact:
            case ContestPlanned():
                _plan(rows, position, identity, fact)
            case ContestClaimed():
                rows.put(
                    contests,
                    position,
                    identity,
                    status="running",
                    host=host_of(fact.worker),
                    worker=fact.worker,
                    claimed_until_block=fact.until_block,
                )
            case BaselineMeasured():
                rows.put(
                    contests,
                    position,
                    identity,
                    baseline_image=fact.image,
                    baseline_median_e2e_us=fact.median_e2e_us,
                    baseline_median_ttft_us=fact.median_ttft_us,
                    prompts=fact.prompts,
                    prompts_digest=fact.prompts_digest,
                )
            case EntrantMeasured():
                _measure(rows, position, identity, fact)
            case EvidenceSealed():
                _seal(rows, position, identity, fact)
            case ContestJudged():
                _judge(rows, position, identity, fact)
            case ContestCompleted():
                rows.put(
                    contests,
                    position,
                    identity,
                    status="completed",
                    king_hotkey=fact.king_hotkey,
                    ended_at_block=fact.effective_block,
                )
            case ContestVoided():
                rows.put(
                    contests,
                    position,
                    identity,
                    status="void",
                    void_cause=fact.cause,
                    detail=fact.detail,
                    ended_at_block=fact.effective_block,
                )
            case _:
                pass  # not a fact of this view


def _plan(rows: Rows, position: int, identity: str, fact: ContestPlanned) -> None:
    rows.put_new(
        contests,
        position,
        identity,
        track=fact.track,
        attempt=fact.attempt,
        seed_block=fact.seed_block,
        seed_block_hash=fact.seed_block_hash,
        policy_digest=fact.policy_digest,
        status="planned",
        planned_at_block=fact.effective_block,
        detail="",
        reasons="[]",
    )
    for place, entrant in enumerate(fact.entrants):
        rows.put_new(
            entrants,
            position,
            identity,
            place,
            submission_id=str(entrant.submission_id),
            hotkey=entrant.hotkey,
            role=entrant.role,
            image=entrant.image,
            digest=entrant.digest,
        )


def _place(rows: Rows, identity: str, submission: str) -> int:
    for place in count():
        row = rows.get(entrants, identity, place)
        if row is None:
            break
        if row["submission_id"] == submission:
            return place
    msg = f"contest {identity} has no entrant {submission}: the log is not whole"
    raise LookupError(msg)


def _measure(rows: Rows, position: int, identity: str, fact: EntrantMeasured) -> None:
    ordered = sorted(fact.e2e_us)
    rows.put(
        entrants,
        position,
        identity,
        _place(rows, identity, str(fact.submission_id)),
        status=fact.status,
        code=fact.code,
        detail=fact.detail,
        log_tail=fact.log_tail,
        top1_ppm=fact.top1_ppm,
        mean_margin_milli=fact.mean_margin_milli,
        p99_margin_milli=fact.p99_margin_milli,
        spread_ppm=fact.spread_ppm,
        repeat_gain_ppm=fact.repeat_gain_ppm,
        median_e2e_us=ordered[len(ordered) // 2] if ordered else None,
        evidence_digest=fact.evidence_digest,
    )


def _seal(rows: Rows, position: int, identity: str, fact: EvidenceSealed) -> None:
    baseline = [arm for arm in fact.arms if arm.submission_id is None]
    rows.put(
        contests,
        position,
        identity,
        manifest_digest=fact.manifest_digest,
        evidence_url=fact.url,
        calibration=fact.calibration,
        client_lag_p99_us=fact.client_lag_p99_us,
        drift_ppm=fact.drift_ppm,
        clock_drift_ppm=fact.clock_drift_ppm,
        host_facts=msgspec.json.encode(dict(fact.host)).decode(),
        baseline_gpu_ms=baseline[0].gpu_ms if baseline else None,
    )
    for arm in fact.arms:
        if arm.submission_id is not None:
            rows.put(
                entrants,
                position,
                identity,
                _place(rows, identity, str(arm.submission_id)),
                fingerprint=arm.fingerprint,
                image_bytes=arm.bytes,
                gpu_ms=arm.gpu_ms,
            )


def _judge(rows: Rows, position: int, identity: str, fact: ContestJudged) -> None:
    reasons = msgspec.json.encode(fact.reasons).decode()
    rows.put(contests, position, identity, reasons=reasons)
    for verdict in fact.verdicts:
        rows.put(
            entrants,
            position,
            identity,
            _place(rows, identity, str(verdict.submission_id)),
            score_ppm=verdict.score_ppm,
            lower_ppm=verdict.lower_ppm,
            upper_ppm=verdict.upper_ppm,
        )
