"""What a contest from the command line came to: one document, shown as tables or as JSON.

Who would be crowned is decided by the ledger's own rules, see :mod:`evaluation.throne`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from typing import Final

import msgspec

from api.words import GPU_STRANGERS_REMEDY, in_words
from evaluation.calibrated_gates import unlike
from evaluation.calibration import Calibration
from evaluation.gpu_lines import (
    GpuLine,
    engine_of,
    gpu_lines,
    gpus_unknown,
    named_gpus,
    stranger_in_one_line,
)
from evaluation.gpus import GpuProcess
from evaluation.judge import EntrantVerdict
from evaluation.log_hints import explain
from evaluation.manifest import BaselineEvidence, ContestEvidence
from evaluation.outcome import ContestOutcome
from evaluation.plan import ContestPlan, PlannedEntrant
from evaluation.throne import EntrantScore, Throne, throne_of
from ledger.gate_policy import GatePolicy

_MS_PER_MINUTE: Final = 60_000
_STEPS: Final = {
    "crowned": "crowned",
    "defended": "does not beat the king",
    "not_taken": "does not take the vacant throne",
    "not_compared": "not compared",
    "deposed": "deposed: its own server failed",
}


class GateLine(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the judge beside its limit; ``figure`` is None where nothing was measured."""

    entrant: str
    gate: str
    figure: int | None
    limit: str
    unit: str
    open: bool | None


class EntrantLine(msgspec.Struct, frozen=True, kw_only=True):
    """One entrant: its verdict, its score with the interval's ends, and its medians."""

    entrant: str
    role: str
    image: str
    status: str
    code: str
    meaning: str
    detail: str
    score_ppm: int | None
    lower_ppm: int | None
    upper_ppm: int | None
    median_ttft_us: int | None
    median_e2e_us: int | None
    median_tokens: int | None
    gpu_minutes: float | None
    """Machine time its servers used, times GPUs; None where nobody metered it."""
    evidence_digest: str
    remedy: str
    """What to do, where the log of one that failed says something that is known."""
    log_tail: str


class StepLine(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the throne, and why."""

    entrant: str
    what: str
    why: str


class ContestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole attempt. ``crowned`` is the entrant that would sit on the throne after it.

    ``gpus`` are those the baseline saw, ``gpus_unknown`` why there are none. ``gpu_strangers`` are
    processes on them that were no server's of the contest, None where that is unknown; ``warnings``
    are sentences that say what to do, and void nothing.
    """

    contest_id: str
    status: str
    void_cause: str
    detail: str
    log_tail: str
    track: str
    policy: str
    model_name: str
    baseline_image: str
    seed_block: int
    seed_block_hash: str
    seed_note: str
    prompts: int
    prompts_digest: str
    runner: dict[str, str]
    baseline_ttft_us: int | None
    baseline_e2e_us: int | None
    baseline_tokens: int | None
    drift_ppm: int | None
    max_drift_ppm: int
    clock_drift_ppm: int | None
    client_lag_p99_us: int | None
    max_client_lag_us: int
    manifest_digest: str
    engine_version: str | None
    gpus: tuple[GpuLine, ...]
    gpus_unknown: str
    gpu_strangers: tuple[GpuProcess, ...] | None
    warnings: tuple[str, ...]
    entrants: tuple[EntrantLine, ...]
    gates: tuple[GateLine, ...]
    throne: tuple[StepLine, ...]
    crowned: str | None
    runner_up: str | None
    bundle: str | None = None


def contest_report(
    plan: ContestPlan,
    outcome: ContestOutcome,
    *,
    manifest: ContestEvidence | None,
    baseline: BaselineEvidence | None,
    policy: str,
    seed_note: str,
    runner: dict[str, str],
    images: dict[str, str],
    calibrated: Calibration | None = None,
    bundle: str | None = None,
) -> ContestReport:
    """The report of one attempt; ``images`` are how each arm's image was named, ``calibrated`` is
    the calibration that the policy names, where its document is at hand.

    ``manifest`` and ``baseline`` are None where the evidence could not be stored; then nobody knows
    how steady the round was, nor on which GPUs.
    """
    figures, contest = outcome.baseline, plan.policy.contest
    pairs = list(zip(plan.entrants, outcome.verdicts, strict=False))
    completed = outcome.status == "completed"
    throne = throne_of(plan, outcome.verdicts, outcome.seed) if completed else Throne()
    scores = {own.entrant_id: own for own in throne.scores}
    conditions = None if manifest is None else manifest.conditions
    records = () if baseline is None else baseline.records
    strangers = None if conditions is None else conditions.strangers
    gpus, version = gpu_lines(records), engine_of(records)
    warnings = [
        f"{stranger_in_one_line(one)} used a GPU and is no server of this contest; "
        f"{GPU_STRANGERS_REMEDY}"
        for one in strangers or ()
    ]
    if calibrated is not None:
        own = named_gpus(contest.limits.gpus, gpus)
        warnings += unlike(calibrated, gpu=own, version=version)
    return ContestReport(
        contest_id=plan.contest_id,
        status=outcome.status,
        void_cause=outcome.void_cause or "",
        detail=outcome.detail,
        log_tail=outcome.log_tail,
        track=plan.track,
        policy=policy,
        model_name=plan.model_name,
        baseline_image=images["baseline"],
        seed_block=plan.seed_block,
        seed_block_hash=plan.seed_block_hash,
        seed_note=seed_note,
        prompts=contest.prompts,
        prompts_digest=outcome.prompts_digest,
        runner=runner,
        baseline_ttft_us=median_low(figures.ttft_us) if figures else None,
        baseline_e2e_us=median_low(figures.e2e_us) if figures else None,
        baseline_tokens=median_low(figures.tokens) if figures else None,
        drift_ppm=conditions.drift_ppm if conditions else None,
        max_drift_ppm=contest.max_drift_ppm,
        clock_drift_ppm=conditions.clock_drift_ppm if conditions else None,
        client_lag_p99_us=conditions.client_lag_p99_us if conditions else None,
        max_client_lag_us=contest.max_client_lag_us,
        manifest_digest=outcome.manifest_digest,
        engine_version=version,
        gpus=gpus,
        gpus_unknown=gpus_unknown(records),
        gpu_strangers=strangers,
        warnings=tuple(warnings),
        entrants=tuple(
            _entrant(
                entrant,
                verdict,
                scores.get(entrant.entrant_id),
                images[entrant.entrant_id],
                outcome.gpu_ms.get(entrant.entrant_id),
            )
            for entrant, verdict in pairs
        ),
        gates=tuple(
            line
            for entrant, verdict in pairs
            for line in _gates(entrant.entrant_id, verdict, plan.policy.gates)
        ),
        throne=tuple(
            StepLine(entrant=step.entrant_id, what=_STEPS[step.what], why=step.why)
            for step in throne.steps
        ),
        crowned=throne.king,
        runner_up=throne.runner_up,
        bundle=bundle,
    )


def _entrant(
    entrant: PlannedEntrant,
    verdict: EntrantVerdict,
    own: EntrantScore | None,
    image: str,
    gpu_ms: int | None,
) -> EntrantLine:
    failed = verdict.status != "scored"
    hints = explain(verdict.log_tail) if failed else ()
    return EntrantLine(
        entrant=entrant.entrant_id,
        role=entrant.role,
        image=image,
        status=verdict.status,
        code=verdict.code,
        meaning=in_words(verdict.code) if verdict.code else "",
        detail=verdict.detail,
        score_ppm=own.score_ppm if own else None,
        lower_ppm=own.lower_ppm if own else None,
        upper_ppm=own.upper_ppm if own else None,
        median_ttft_us=_median(verdict.ttft_us),
        median_e2e_us=_median(verdict.e2e_us),
        median_tokens=_median(verdict.tokens),
        gpu_minutes=None if gpu_ms is None else round(gpu_ms / _MS_PER_MINUTE, 2),
        evidence_digest=verdict.evidence_digest,
        remedy=f"{hints[0].meaning}: {hints[0].remedy}" if hints else "",
        log_tail=verdict.log_tail if failed else "",
    )


def _median(values: Sequence[int]) -> int | None:
    return median_low(values) if values else None


def _gates(entrant: str, verdict: EntrantVerdict, gates: GatePolicy) -> list[GateLine]:
    def at_least(gate: str, figure: int | None, limit: int, unit: str) -> GateLine:
        kept = None if figure is None else figure >= limit
        return _line(gate, figure, f">= {limit}", unit, kept)

    def at_most(gate: str, figure: int | None, limit: int, unit: str) -> GateLine:
        kept = None if figure is None else figure <= limit
        return _line(gate, figure, f"<= {limit}", unit, kept)

    def _line(gate: str, figure: int | None, limit: str, unit: str, kept: bool | None) -> GateLine:
        return GateLine(
            entrant=entrant, gate=gate, figure=figure, limit=limit, unit=unit, open=kept
        )

    if verdict.top1_ppm is None and verdict.spread_ppm is None:
        return []  # it never got so far
    return [
        at_least("reference's first choice", verdict.top1_ppm, gates.min_top1_ppm, "ppm"),
        at_most("mean margin", verdict.mean_margin_milli, gates.max_mean_margin_milli, "milli"),
        at_most(
            "99th percentile margin", verdict.p99_margin_milli, gates.max_p99_margin_milli, "milli"
        ),
        at_least("scored by the reference", verdict.coverage_ppm, gates.min_coverage_ppm, "ppm"),
        at_least("shortest answer", verdict.min_length_ppm, gates.min_length_ppm, "ppm"),
        at_least("stream spread", verdict.spread_ppm, gates.min_stream_spread_ppm, "ppm"),
        at_most("repeat gain", verdict.repeat_gain_ppm, gates.max_repeat_gain_ppm, "ppm"),
    ]
