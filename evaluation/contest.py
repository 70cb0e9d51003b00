"""One attempt of one round: baseline, entrants, reference, verdicts (DOMAIN 4).

While anything is timed only one server works, so that nobody's time is spent on somebody else's
work. All images are on the machine before anything is timed. Every server that was launched is
stopped, whatever happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from evaluation.arms import Arm, Ground, OnServer
from evaluation.blocks import block_label, blocks_of
from evaluation.client import Answer
from evaluation.conditions import Conditions, conditions_of, unfit
from evaluation.evidence import Evidence, EvidenceError, canonical, must_be_kept
from evaluation.host import HostFacts, client_version, host_facts
from evaluation.judge import EntrantEvidence, judge
from evaluation.live import LiveRatios
from evaluation.manifest import (
    BaselineEvidence,
    ContestEvidence,
    EntrantPart,
    spelled_part,
    track_policy_digest,
)
from evaluation.measure import (
    OnBlock,
    OnMeasured,
    Progress,
    Questions,
    ShouldStop,
    StoppedError,
)
from evaluation.orders import Order
from evaluation.outcome import BaselineFigures, ContestOutcome, figures_of
from evaluation.pairing import combined
from evaluation.plan import ContestPlan, PlannedEntrant, Tokenizer, checked
from evaluation.prompts import prompts_for
from evaluation.runners.port import InfrastructureFaultError, Runner, Stage
from evaluation.scoring import Forced, force_all
from evaluation.sources import Texts
from evaluation.void import RoundVoidError, void_by_fault
from ledger.codes import VoidCause
from ledger.rules.seed import seed_from_block_hash

__all__ = ["BaselineFigures", "ContestOutcome", "OnServer", "run_contest"]

BASELINE_BUDGET_PPM: Final = 900_000
"""How much of an entrant's budget the baseline may need. Where it needs more, the plan does not fit
the machine, and an entrant that is just as fast would lose by it: the round is void instead."""


def run_contest(
    plan: ContestPlan,
    runner: Runner,
    evidence: Evidence,
    *,
    tokenizer: Tokenizer,
    on_progress: Progress = lambda *_: None,
    should_stop: ShouldStop = lambda: None,
    on_server: OnServer = lambda *_: None,
    on_block: OnBlock = lambda *_: None,
    on_measured: OnMeasured = lambda *_: None,
    texts: Texts | None = None,
) -> ContestOutcome:
    """Run the attempt to its end. Blocks; call it from a thread without a running event loop.

    ``texts`` are those of the policy's source (:func:`evaluation.sources.open_texts`), None where
    it generates them.

    Raises :class:`~evaluation.plan.PlanError` for an impossible plan and whatever the callbacks
    raise; everything a server, the runner or the scoring does wrong is in the outcome.
    """
    checked(plan)
    must_be_kept(plan.policy.contest)
    seed = seed_from_block_hash(plan.seed_block_hash)
    prompts = prompts_for(seed, plan.policy.contest, tokenizer, texts)
    questions = Questions(plan, prompts, tokenizer, on_progress, should_stop, on_block, on_measured)
    for number, places in enumerate(blocks_of(plan.policy.contest)):
        # A block too large to be asked is refused now and not in the middle of the round.
        questions.load([prompts.scored[at] for at in places], block_label(number))
    outcome = ContestOutcome(
        contest_id=plan.contest_id, status="void", seed=seed, prompts_digest=prompts.digest
    )
    contest = _Contest(questions, on_server)
    host_before = host_facts()
    try:
        limits, servers = plan.policy.contest.limits, servers_at_once(plan)
        with runner.stage(plan.contest_id, limits, servers) as stage:
            contest.run(stage)
    except InfrastructureFaultError as fault:
        outcome = _void(outcome, VoidCause.HOST_FAILED, fault.detail, fault)
    except StoppedError as stopped:
        outcome = _void(outcome, stopped.cause, str(stopped), stopped)
    except RoundVoidError as void:
        outcome = _void(outcome, void.cause, void.detail, void, void.log_tail)
    else:
        outcome = replace(outcome, status="completed", baseline=contest.baseline_figures())
    outcome = contest.with_facts(outcome)
    try:
        return contest.stored(outcome, evidence, runner.facts(), host_before)
    except (EvidenceError, OSError) as error:
        # A verdict without its evidence is nobody's to check: such a round does not count.
        why = error.strerror if isinstance(error, OSError) else str(error)  # and no path of ours
        return replace(
            _void(outcome, VoidCause.HOST_FAILED, f"the evidence was not stored: {why}", error),
            status="void",
            baseline=None,
        )


def servers_at_once(plan: ContestPlan) -> int:
    """How many servers of a round live at the same time: all where they stay resident, or start
    together."""
    contest = plan.policy.contest
    beside = contest.order == "interleaved" and (
        contest.start_together or not contest.restart_each_block
    )
    return 1 + len(plan.entrants) if beside else 1


def _void(
    outcome: ContestOutcome, cause: VoidCause, detail: str, error: Exception, log_tail: str = ""
) -> ContestOutcome:
    """Void by ``error``; what could not be stopped on the way out is its notes."""
    notes = getattr(error, "__notes__", [])
    return replace(
        outcome, void_cause=cause, detail="; besides, ".join([detail, *notes]), log_tail=log_tail
    )


class _Contest:
    """The arms of one attempt and what becomes of them."""

    def __init__(self, questions: Questions, on_server: OnServer) -> None:
        self._questions = questions
        self._plan = questions.plan
        self._forced: dict[str, Forced] = {}
        self._ground = ground = Ground(questions, on_server, LiveRatios(questions.on_measured))
        self._baseline_runs = [
            Arm(ground, "baseline", questions.plan.baseline, budget_ppm=BASELINE_BUDGET_PPM)
            for _ in range(2)
        ]
        self._arms = [
            Arm(ground, entrant.role, entrant.image, entrant) for entrant in questions.plan.entrants
        ]

    def run(self, stage: Stage) -> None:
        """Prepare every image, ask every arm, then score; raises where the round is void."""
        baseline, after = self._baseline_runs
        for arm in (baseline, after, *self._arms):
            arm.enter(stage)
        self._prepare([baseline, *self._arms])
        if baseline.fault is not None:
            raise void_by_fault("the baseline", baseline, VoidCause.BASELINE_FAILED)
        after.facts = baseline.facts
        Order(self._questions, baseline, after, self._arms).run()
        self._check_conditions()
        whole = [(arm, self._evidence_on(arm)) for arm in self._arms if arm.fault is None]
        if whole:
            reference = Arm(self._ground, "reference", self._plan.baseline, budget_ppm=None)
            reference.enter(stage)
            self._forced = force_all(self._questions, reference, self._on_baseline(), whole)

    def stored(
        self,
        outcome: ContestOutcome,
        store: Evidence,
        runner: Mapping[str, str],
        host_before: HostFacts,
    ) -> ContestOutcome:
        """The outcome with its verdicts, once all evidence is in ``store``; void rounds too.

        Raises :class:`EvidenceError` where it cannot be stored.
        """
        gates, parts, verdicts = self._plan.policy.gates, [], []
        for arm in self._arms:
            found = self._evidence_on(arm)
            digest = store.put(canonical(found))
            parts.append(EntrantPart(entrant_id=found.entrant_id, evidence_digest=digest))
            if outcome.status == "completed":
                verdicts.append(judge(found, gates, evidence_digest=digest))
        outcome = replace(outcome, verdicts=tuple(verdicts))
        before, after = self._baseline_runs
        baseline = BaselineEvidence(
            contest_id=self._plan.contest_id,
            prompts_digest=self._questions.prompts.digest,
            before=tuple(before.answers),
            after=tuple(after.answers),
            records=(before.record(), after.record()),
            log_tail=after.log_tail or before.log_tail,
        )
        manifest = ContestEvidence(
            plan=replace(self._plan, model_dir=""),
            policy_digest=track_policy_digest(self._plan.policy),
            seed=outcome.seed,
            prompts_digest=outcome.prompts_digest,
            prompts_evidence=store.put(msgspec.json.encode(self._questions.prompts)),
            baseline_evidence=store.put(spelled_part(baseline)),
            entrants=tuple(parts),
            conditions=self._conditions(),
            runner=dict(runner),
            client=client_version(),
            host_before=host_before,
            host_after=host_facts(),
            outcome=outcome,
        )
        return replace(outcome, manifest_digest=store.put(spelled_part(manifest)))

    def baseline_figures(self) -> BaselineFigures:
        """The baseline's times as entrants are paired with them."""
        return figures_of(self._baseline())

    def with_facts(self, outcome: ContestOutcome) -> ContestOutcome:
        """The outcome with what is known of images and machine time, however it ended."""
        named = [(arm, arm.entrant_id) for arm in self._arms if arm.entrant_id is not None]
        return replace(
            outcome,
            images={name: arm.facts for arm, name in named if arm.facts is not None},
            gpu_ms={name: arm.gpu_ms for arm, name in named},
        )

    # -- inside -------------------------------------------------------------------------------

    def _prepare(self, arms: list[Arm]) -> None:
        for done, arm in enumerate(arms):
            self._questions.stop_if_asked()
            self._questions.on_progress("prepare", arm.entrant_id, done, len(arms))
            arm.prepare()
        self._questions.on_progress("prepare", None, len(arms), len(arms))

    def _conditions(self) -> Conditions:
        before, after = self._baseline_runs
        return conditions_of(
            self._plan.policy.contest,
            before.answers,
            after.answers,
            [before.record(), after.record()],
            [arm.record() for arm in self._arms],
        )

    def _check_conditions(self) -> None:
        reason = unfit(self._conditions(), self._plan.policy.contest)
        if reason is not None:
            raise RoundVoidError(*reason)

    def _baseline(self) -> tuple[Answer, ...]:
        """What entrants are paired with; nothing where the second run broke off."""
        before, after = self._baseline_runs
        if after.answers and len(after.answers) != len(before.answers):
            return ()
        return combined(before.answers, after.answers)

    def _on_baseline(self) -> EntrantEvidence:
        """The baseline as if it were an entrant, judged against itself."""
        before, _ = self._baseline_runs
        itself = PlannedEntrant(
            entrant_id="baseline", hotkey="", role="challenger", image=self._plan.baseline
        )
        return replace(self._evidence_of(before, itself, ()), baseline=tuple(before.answers))

    def _evidence_on(self, arm: Arm) -> EntrantEvidence:
        if arm.entrant is None:
            msg = "only entrants are judged"
            raise ValueError(msg)
        forced = self._forced.get(arm.entrant.entrant_id, ())
        return self._evidence_of(arm, arm.entrant, forced)

    def _evidence_of(self, arm: Arm, entrant: PlannedEntrant, forced: Forced) -> EntrantEvidence:
        plan, prompts = self._plan, self._questions.prompts
        return EntrantEvidence(
            contest_id=plan.contest_id,
            track=plan.track,
            attempt=plan.attempt,
            seed_block=plan.seed_block,
            seed_block_hash=plan.seed_block_hash,
            prompts_digest=prompts.digest,
            model_name=plan.model_name,
            baseline_image=str(plan.baseline),
            entrant_id=entrant.entrant_id,
            hotkey=entrant.hotkey,
            role=entrant.role,
            image_digest=entrant.image.digest,
            baseline=self._baseline(),
            answers=tuple(arm.answers),
            repeated=prompts.repeated,
            repeats=tuple(arm.repeats),
            controls=tuple(arm.controls),
            forced=forced,
            fault=arm.fault,
            exit_code=arm.exit_code,
            log_tail=arm.log_tail,
            record=arm.record(),
            streams=plan.policy.contest.streams,
        )
