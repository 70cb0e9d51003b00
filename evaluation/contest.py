"""One attempt of one round: baseline, entrants, reference, verdicts (DOMAIN 4).

Servers run one after another on the same machine, never two at once, so that nobody's time is spent
on somebody else's work. Every server that was launched is stopped, whatever happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from evaluation.client import Answer, ServerFaultError
from evaluation.evidence import EvidenceStore, canonical
from evaluation.forcing import ScoringError
from evaluation.images import ImageRef
from evaluation.judge import (
    MIN_TOKENS,
    EntrantEvidence,
    EntrantVerdict,
    Fault,
    ForcedAnswer,
    first_finding,
    gate_figures,
    judge,
)
from evaluation.load import ShouldStop, StoppedError
from evaluation.measure import (
    Measured,
    Progress,
    Questions,
    force_answers,
    measure,
)
from evaluation.plan import ContestPlan, PlannedEntrant, Tokenizer, checked
from evaluation.prompts import prompts_for
from evaluation.runners.port import (
    ImageRefusedError,
    InfrastructureFaultError,
    Runner,
    RunningServer,
    ServerStartError,
    Stage,
)
from ledger.codes import DisqualificationCode, VoidCause
from ledger.rules.seed import seed_from_block_hash

_EXIT_SEEN_S: Final = 0.5

OnServer = Callable[[str, RunningServer], None]
"""``(role, server)``, called when a server has become healthy and before it is asked anything."""


class BaselineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline's own times over its whole answers, one entry per scored prompt."""

    ttft_us: tuple[int, ...]
    e2e_us: tuple[int, ...]
    tokens: tuple[int, ...]


class ContestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the attempt.

    A void one counts for nobody: it has a cause, one sentence, the last lines of the log of the
    server that failed, and no verdicts. A completed one has a verdict per entrant, in the plan's
    order.
    """

    contest_id: str
    status: Literal["completed", "void"]
    seed: int
    prompts_digest: str
    void_cause: VoidCause | None = None
    detail: str = ""
    log_tail: str = ""
    baseline: BaselineFigures | None = None
    verdicts: tuple[EntrantVerdict, ...] = ()


class _VoidError(Exception):
    """The round cannot go on; nobody's verdict follows from it."""

    def __init__(self, cause: VoidCause, detail: str, log_tail: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.log_tail = log_tail


@dataclass(slots=True)
class _Run:
    """What one entrant's server left behind."""

    entrant: PlannedEntrant
    measured: Measured
    fault: Fault | None
    exit_code: int | None
    log_tail: str
    forced: tuple[ForcedAnswer, ...] = ()


def run_contest(
    plan: ContestPlan,
    runner: Runner,
    evidence: EvidenceStore,
    *,
    tokenizer: Tokenizer,
    on_progress: Progress = lambda *_: None,
    should_stop: ShouldStop = lambda: None,
    on_server: OnServer = lambda *_: None,
) -> ContestOutcome:
    """Run the attempt to its end. Blocks; call it from a thread without a running event loop.

    Raises :class:`~evaluation.plan.PlanError` for an impossible plan and whatever the callbacks
    raise; everything a server, the runner or the scoring does wrong is in the outcome.
    """
    checked(plan)
    seed = seed_from_block_hash(plan.seed_block_hash)
    prompts = prompts_for(seed, plan.policy.contest, tokenizer)
    questions = Questions(plan, prompts, tokenizer, on_progress, should_stop)
    outcome = ContestOutcome(
        contest_id=plan.contest_id, status="void", seed=seed, prompts_digest=prompts.digest
    )
    try:
        with runner.stage(plan.contest_id, plan.policy.contest.limits) as stage:
            baseline, verdicts = _Contest(questions, stage, evidence, on_server).run()
    except InfrastructureFaultError as fault:
        return msgspec.structs.replace(
            outcome, void_cause=VoidCause.HOST_FAILED, detail=fault.detail
        )
    except StoppedError as stopped:
        return msgspec.structs.replace(outcome, void_cause=stopped.cause, detail=str(stopped))
    except _VoidError as void:
        return msgspec.structs.replace(
            outcome, void_cause=void.cause, detail=void.detail, log_tail=void.log_tail
        )
    figures = BaselineFigures(
        ttft_us=tuple(answer.ttft_us for answer in baseline),
        e2e_us=tuple(answer.wall_us for answer in baseline),
        tokens=tuple(len(answer.tokens) for answer in baseline),
    )
    return msgspec.structs.replace(outcome, status="completed", baseline=figures, verdicts=verdicts)


def _own_exit_code(server: RunningServer, fault: ServerFaultError | None) -> int | None:
    """The code it ended with by itself. A broken stream may be seen a moment before its end is."""
    broken = fault is not None and fault.code is DisqualificationCode.STREAM_BROKEN
    deadline_s = time.monotonic() + (_EXIT_SEEN_S if broken else 0)
    while server.exit_code is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return server.exit_code


class _Contest:
    def __init__(
        self, questions: Questions, stage: Stage, evidence: EvidenceStore, on_server: OnServer
    ) -> None:
        self._questions = questions
        self._plan = questions.plan
        self._stage = stage
        self._evidence = evidence
        self._on_server = on_server

    def run(self) -> tuple[list[Answer], tuple[EntrantVerdict, ...]]:
        baseline = self._baseline()
        runs = [self._entrant(entrant) for entrant in self._plan.entrants]
        self._score(baseline, runs)
        return baseline, tuple(self._verdict(baseline, run) for run in runs)

    @contextmanager
    def _server(
        self, image: ImageRef, role: str, entrant_id: str | None
    ) -> Iterator[RunningServer]:
        """A healthy server, stopped at the end; raises what the runner's port says."""
        self._questions.stop_if_asked()
        self._questions.on_progress("launch", entrant_id, 0, 1)
        self._stage.prepare(image, self._plan.policy.contest.pull_timeout_s)
        server = self._stage.launch(image, role)
        try:
            server.wait_healthy(self._plan.policy.contest.startup_timeout_s)
            self._questions.on_progress("launch", entrant_id, 1, 1)
            self._on_server(role, server)
            yield server
        finally:
            server.stop()

    def _baseline(self) -> list[Answer]:
        """The baseline's answers; without them the round is void."""
        try:
            with self._server(self._plan.baseline, "baseline", None) as server:
                measured = measure(self._questions, server.base_url, None)
            log_tail = server.log_tail()
        except InfrastructureFaultError as fault:
            raise _VoidError(VoidCause.BASELINE_FAILED, f"the baseline: {fault.detail}") from fault
        except ImageRefusedError as refused:
            detail = f"the baseline: {refused.detail}"
            raise _VoidError(VoidCause.BASELINE_FAILED, detail) from refused
        except ServerStartError as fault:
            raise _VoidError(
                VoidCause.BASELINE_FAILED, f"the baseline: {fault.detail}", fault.log_tail
            ) from fault
        if measured.fault is not None:
            detail = f"the baseline: {measured.fault.detail}"
            raise _VoidError(VoidCause.BASELINE_FAILED, detail, log_tail)
        shortest = min(len(answer.tokens) for answer in measured.answers)
        if shortest < MIN_TOKENS:
            detail = (
                f"the baseline answered a prompt with {shortest} tokens; at least {MIN_TOKENS} "
                "are needed to time anybody against it"
            )
            raise _VoidError(VoidCause.BASELINE_FAILED, detail, log_tail)
        return measured.answers

    def _entrant(self, entrant: PlannedEntrant) -> _Run:
        """Run one entrant's server; every fault is its own or nobody's, none ends the round."""
        run = _Run(entrant, Measured(), None, None, "")
        try:
            with self._server(entrant.image, entrant.role, entrant.entrant_id) as server:
                run.measured = measure(self._questions, server.base_url, entrant.entrant_id)
                fault = run.measured.fault
                run.exit_code = _own_exit_code(server, fault)
            run.log_tail = server.log_tail()
        except InfrastructureFaultError as fault_of_ours:
            run.fault = Fault(infrastructure=fault_of_ours.cause, detail=fault_of_ours.detail)
            return run
        except ImageRefusedError as refused:
            run.fault = Fault(disqualified=refused.code, detail=refused.detail)
            return run
        except ServerStartError as at_start:
            run.fault = Fault(disqualified=at_start.code, detail=at_start.detail)
            run.exit_code, run.log_tail = at_start.exit_code, at_start.log_tail
            return run
        if fault is not None:
            ended = f"; the server exited with {run.exit_code}" if run.exit_code is not None else ""
            run.fault = Fault(disqualified=fault.code, detail=fault.detail + ended)
        return run

    def _score(self, baseline: list[Answer], runs: list[_Run]) -> None:
        """Teacher-force every whole run under the baseline's image; without it, void."""
        whole = [run for run in runs if run.fault is None]
        if not whole:
            return
        server: RunningServer | None = None
        try:
            with self._server(self._plan.baseline, "reference", None) as server:
                self._check_reference(server, baseline)
                for done, run in enumerate(whole):
                    entrant_id = run.entrant.entrant_id
                    self._questions.on_progress("reference", entrant_id, done, len(whole))
                    run.forced = force_answers(
                        self._questions, server.base_url, run.measured.answers
                    )
                self._questions.on_progress("reference", None, len(whole), len(whole))
        except ServerStartError as fault:
            raise _VoidError(
                VoidCause.SCORING_FAILED, f"the reference: {fault.detail}", fault.log_tail
            ) from fault
        except InfrastructureFaultError as fault:
            raise _VoidError(VoidCause.SCORING_FAILED, f"the reference: {fault.detail}") from fault
        except ScoringError as error:
            log_tail = server.log_tail() if server is not None else ""
            raise _VoidError(VoidCause.SCORING_FAILED, str(error), log_tail) from error

    def _check_reference(self, server: RunningServer, baseline: list[Answer]) -> None:
        """The baseline must pass its own gates: a reference that refuses it can judge nobody."""
        forced = force_answers(self._questions, server.base_url, baseline)
        itself = PlannedEntrant(
            entrant_id="baseline",
            hotkey="",
            role="challenger",
            image=self._plan.baseline,
        )
        run = _Run(itself, Measured(answers=baseline), None, None, "", forced)
        gates = self._plan.policy.gates
        found = self._evidence_of(baseline, run)
        finding = first_finding(found, gate_figures(found, gates), gates)
        if finding is not None:
            raise ScoringError(
                f"the baseline's own answers do not pass under the reference: {finding.detail}"
            )

    def _verdict(self, baseline: list[Answer], run: _Run) -> EntrantVerdict:
        found = self._evidence_of(baseline, run)
        digest = self._evidence.put(canonical(found))
        return judge(found, self._plan.policy.gates, evidence_digest=digest)

    def _evidence_of(self, baseline: list[Answer], run: _Run) -> EntrantEvidence:
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
            entrant_id=run.entrant.entrant_id,
            hotkey=run.entrant.hotkey,
            role=run.entrant.role,
            image_digest=run.entrant.image.digest,
            baseline=tuple(baseline),
            answers=tuple(run.measured.answers),
            repeated=prompts.repeated,
            repeats=tuple(run.measured.repeats),
            controls=tuple(run.measured.controls),
            forced=run.forced,
            fault=run.fault,
            exit_code=run.exit_code,
            log_tail=run.log_tail,
        )
