"""Scores and the throne from one contest's verdicts alone, by the ledger's own pure rules.

The ledger decides at the block of recording, and against whoever reigns then. Here the reign's age
is taken at the seed block, and a king whose reign's first block the plan does not say is a fresh
one, so that the full margin is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from evaluation.judge import EntrantVerdict
from evaluation.plan import ContestPlan, PlannedEntrant
from ledger.rules.scoring import Measured, score
from ledger.rules.throne import (
    Candidate,
    Crowned,
    Defended,
    Deposed,
    KingState,
    NotCompared,
    NotTaken,
    Step,
    decide_round,
)

_NAMES = UUID("5a1c5f9e-5b0c-5b58-9d1f-3c1f5c0f6f0a")
"""Gives an entrant whose id is no UUID (a contest away from a ledger) one for the rules."""


class EntrantScore(msgspec.Struct, frozen=True, kw_only=True):
    """What a scored entrant reached against the baseline, in ppm, and the interval's bounds."""

    entrant_id: str
    score_ppm: int
    lower_ppm: int | None
    upper_ppm: int | None


class ThroneStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the round did to the throne: ``what`` happened about ``entrant_id``.

    ``beats`` is whether it beat whoever held the throne; None where nothing was compared.
    ``needed_ppm`` and ``reached_ppm`` are in ppm of what the formula compares.
    """

    what: str
    entrant_id: str
    beats: bool | None = None
    undecided: bool = False
    needed_ppm: int | None = None
    reached_ppm: int | None = None
    why: str = ""


class Throne(msgspec.Struct, frozen=True, kw_only=True):
    """Every score, every decision in order, and who sits where after the round."""

    scores: tuple[EntrantScore, ...] = ()
    steps: tuple[ThroneStep, ...] = ()
    king: str | None = None
    runner_up: str | None = None


def throne_of(plan: ContestPlan, verdicts: Sequence[EntrantVerdict], seed: int) -> Throne:
    """The throne after a completed contest with these verdicts, one for each entrant."""
    by_id = {verdict.entrant_id: verdict for verdict in verdicts}
    names = {_uuid(entrant): entrant.entrant_id for entrant in plan.entrants}
    king: KingState | None = None
    runner_up: Candidate | None = None
    challengers: list[Candidate] = []
    scores = []
    for at, entrant in enumerate(plan.entrants):
        verdict = by_id[entrant.entrant_id]
        measured = measured_of(verdict)
        disqualified = verdict.status == "disqualified"
        if measured is not None:
            scores.append(_score(plan, entrant, measured, seed))
        candidate = Candidate(_uuid(entrant), entrant.hotkey, (at,), measured, disqualified)
        if entrant.role == "challenger":
            challengers.append(candidate)
        elif entrant.role == "runner_up":
            runner_up = candidate
        else:
            won_at = plan.king_won_at_block
            king = KingState(
                entrant.hotkey,
                candidate.submission_id,
                plan.seed_block if won_at is None else won_at,
                measured,
                disqualified,
            )
    decided = decide_round(
        king, challengers, runner_up, track=plan.policy, block=plan.seed_block, seed=seed
    )
    return Throne(
        scores=tuple(scores),
        steps=tuple(_step(step, names) for step in decided.steps),
        king=None if decided.king is None else names[decided.king.submission_id],
        runner_up=None if decided.runner_up is None else names[decided.runner_up.submission_id],
    )


def measured_of(verdict: EntrantVerdict) -> Measured | None:
    """The timings that a score is computed from; None for an entrant that has none."""
    if verdict.status != "scored":
        return None
    return Measured(
        verdict.baseline_ttft_us,
        verdict.baseline_e2e_us,
        verdict.baseline_tokens,
        verdict.ttft_us,
        verdict.e2e_us,
        verdict.tokens,
    )


def _score(
    plan: ContestPlan, entrant: PlannedEntrant, measured: Measured, seed: int
) -> EntrantScore:
    reached = score(measured, plan.policy.scoring, plan.policy.contest.prompts_per_block, seed)
    return EntrantScore(
        entrant_id=entrant.entrant_id,
        score_ppm=reached.score_ppm,
        lower_ppm=reached.lower_ppm,
        upper_ppm=reached.upper_ppm,
    )


def _uuid(entrant: PlannedEntrant) -> UUID:
    try:
        return UUID(entrant.entrant_id)
    except ValueError:
        return uuid5(_NAMES, entrant.entrant_id)


def _step(step: Step, names: dict[UUID, str]) -> ThroneStep:
    match step:
        case Deposed(submission_id=who):
            return ThroneStep(what="deposed", entrant_id=names[who])
        case NotCompared(challenger_id=who, why=why):
            return ThroneStep(what="not_compared", entrant_id=names[who], why=why)
        case Crowned(submission_id=who, decision=decision):
            what = "crowned"
        case Defended(challenger_id=who, decision=decision):
            what = "defended"
        case NotTaken(challenger_id=who, decision=decision):
            what = "not_taken"
    return ThroneStep(
        what=what,
        entrant_id=names[who],
        beats=decision.wins,
        undecided=decision.undecided,
        needed_ppm=decision.needed_ppm,
        reached_ppm=decision.reached_ppm,
        why=decision.why,
    )
