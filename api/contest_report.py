"""What a contest from the command line came to: one document, shown as tables or as JSON.

Who would be crowned is decided by the ledger's own rules, as a round of the arena decides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from api.words import in_words
from evaluation.contest import ContestOutcome
from evaluation.judge import EntrantVerdict
from evaluation.log_hints import explain
from evaluation.plan import ContestPlan, PlannedEntrant
from ledger.gate_policy import GatePolicy
from ledger.policy import TrackPolicy
from ledger.rules.scoring import Measured, Score, score
from ledger.rules.throne import (
    Candidate,
    Crowned,
    Defended,
    Deposed,
    KingState,
    NotCompared,
    NotTaken,
    Step,
    ThroneDecision,
    decide_round,
)


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
    """The whole attempt. ``crowned`` is the entrant that would sit on the throne after it."""

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
    policy: str,
    seed_note: str,
    runner: dict[str, str],
    images: dict[str, str],
    bundle: str | None = None,
) -> ContestReport:
    """The report of one attempt; ``images`` are how each entrant's image was named."""
    figures = outcome.baseline
    by_id = dict(zip(plan.entrants, outcome.verdicts, strict=False))
    scores = {
        entrant.entrant_id: _score(verdict, plan.policy, outcome.seed)
        for entrant, verdict in by_id.items()
    }
    decision = _throne(plan, outcome) if outcome.verdicts else None
    names = {_identity(plan, entrant): entrant.entrant_id for entrant in plan.entrants}
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
        prompts=plan.policy.contest.prompts,
        prompts_digest=outcome.prompts_digest,
        runner=runner,
        baseline_ttft_us=median_low(figures.ttft_us) if figures else None,
        baseline_e2e_us=median_low(figures.e2e_us) if figures else None,
        baseline_tokens=median_low(figures.tokens) if figures else None,
        entrants=tuple(
            _entrant(entrant, verdict, scores[entrant.entrant_id], images[entrant.entrant_id])
            for entrant, verdict in by_id.items()
        ),
        gates=tuple(
            line
            for entrant, verdict in by_id.items()
            for line in _gates(entrant.entrant_id, verdict, plan.policy.gates)
        ),
        throne=tuple(_step(step, names) for step in decision.steps) if decision else (),
        crowned=names[decision.king.submission_id] if decision and decision.king else None,
        runner_up=(
            names[decision.runner_up.submission_id] if decision and decision.runner_up else None
        ),
        bundle=bundle,
    )


def _identity(plan: ContestPlan, entrant: PlannedEntrant) -> UUID:
    return uuid5(NAMESPACE_URL, f"{plan.contest_id}/{entrant.entrant_id}")


def measured_of(verdict: EntrantVerdict) -> Measured | None:
    """The timings that scoring reads; None where the verdict is not ``scored``."""
    if verdict.status != "scored":
        return None
    return Measured(
        baseline_ttft_us=verdict.baseline_ttft_us,
        baseline_e2e_us=verdict.baseline_e2e_us,
        baseline_tokens=verdict.baseline_tokens,
        ttft_us=verdict.ttft_us,
        e2e_us=verdict.e2e_us,
        tokens=verdict.tokens,
    )


def _score(verdict: EntrantVerdict, track: TrackPolicy, seed: int) -> Score | None:
    measured = measured_of(verdict)
    if measured is None:
        return None
    return score(measured, track.scoring, track.contest.prompts_per_block, seed)


def _throne(plan: ContestPlan, outcome: ContestOutcome) -> ThroneDecision:
    """As a round decides it; a king's reign is taken to begin now, so the margin is whole."""
    king: KingState | None = None
    runner_up: Candidate | None = None
    challengers: list[Candidate] = []
    for order, (entrant, verdict) in enumerate(zip(plan.entrants, outcome.verdicts, strict=True)):
        candidate = Candidate(
            submission_id=_identity(plan, entrant),
            hotkey=entrant.hotkey,
            order=(plan.seed_block, order),
            measured=measured_of(verdict),
            disqualified=verdict.status == "disqualified",
        )
        if entrant.role == "king":
            king = KingState(
                hotkey=entrant.hotkey,
                submission_id=candidate.submission_id,
                won_at_block=plan.seed_block,
                measured=candidate.measured,
                disqualified=candidate.disqualified,
            )
        elif entrant.role == "runner_up":
            runner_up = candidate
        else:
            challengers.append(candidate)
    return decide_round(
        king, challengers, runner_up, track=plan.policy, block=plan.seed_block, seed=outcome.seed
    )


def _entrant(
    entrant: PlannedEntrant, verdict: EntrantVerdict, own: Score | None, image: str
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


def _step(step: Step, names: dict[UUID, str]) -> StepLine:
    match step:
        case Crowned():
            return StepLine(
                entrant=names[step.submission_id], what="crowned", why=step.decision.why
            )
        case Defended():
            return StepLine(
                entrant=names[step.challenger_id],
                what="does not beat the king",
                why=step.decision.why,
            )
        case NotTaken():
            return StepLine(
                entrant=names[step.challenger_id],
                what="does not take the vacant throne",
                why=step.decision.why,
            )
        case NotCompared():
            return StepLine(entrant=names[step.challenger_id], what="not compared", why=step.why)
        case Deposed():
            return StepLine(
                entrant=names[step.submission_id],
                what="deposed",
                why="its own server failed in this round",
            )
