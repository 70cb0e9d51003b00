"""The contest desk: takes planned contests from the ledger, runs them, records what came of them.

The state of a running contest is in the ledger. After a crash :meth:`ContestDesk.recover` voids
what was left open; the next attempt has a later seed block (DOMAIN 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import Final
from uuid import UUID

from evaluation.contest import ContestOutcome, OnServer, run_contest
from evaluation.evidence import EvidenceStore
from evaluation.images import ImageRef, ImageReferenceError, image_of, parse_image
from evaluation.judge import EntrantVerdict
from evaluation.measure import Progress
from evaluation.plan import ContestPlan, PlannedEntrant, Tokenizer
from evaluation.runners.port import ImageRefusedError, InfrastructureFaultError, Runner
from ledger.application import Ledger, Unit
from ledger.codes import VoidCause
from ledger.commands.causes import after
from ledger.commands.contests import complete_contest, plan_contest, void_contest
from ledger.commands.copies import record_fingerprint
from ledger.contest_policy import ServerLimits
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest
from ledger.decisions.submission import Submission

AUDIT_PULL_S: Final = 300
"""How long an audit of contents waits for one image."""


class ContestDesk:
    """Runs contests on one host. ``baseline_image`` is the digest of the pinned baseline."""

    def __init__(
        self,
        ledger: Ledger,
        runner: Runner,
        evidence: EvidenceStore,
        *,
        tokenizer: Tokenizer,
        host: str,
        model_dir: Path,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._evidence = evidence
        self._tokenizer = tokenizer
        self._host = host
        self._model_dir = model_dir

    def recover(self, open_contests: Sequence[UUID]) -> None:
        """Void what an earlier process of this host left open, and what nobody claims any more.

        Completed contests stand, and so does what another host runs. One process of a host runs
        contests at a time: the caller sees to that.
        """
        block = self._ledger.head().effective_block
        for contest in open_contests:
            claim = self._ledger.load(Contest, contest).claim
            if claim is not None and claim.host != self._host and claim.until_block >= block:
                continue
            void_contest(
                self._ledger,
                contest,
                cause=VoidCause.INTERRUPTED,
                detail="the evaluator stopped while the contest ran",
            )

    def run(
        self,
        track: str,
        challengers: Sequence[UUID],
        *,
        seed_block: int,
        attempt: int,
        on_progress: Progress = lambda *_: None,
        on_server: OnServer = lambda *_: None,
    ) -> ContestOutcome:
        """Plan, run and record one attempt. Refused as :func:`plan_contest` refuses.

        Challengers whose commit is not older than the seed block wait for the next attempt.
        """
        contest = plan_contest(
            self._ledger,
            track=track,
            challengers=[one for one in challengers if self._is_older(one, seed_block)],
            seed_block=seed_block,
            attempt=attempt,
            host=self._host,
        )
        plan = self._plan(contest)
        outcome = run_contest(
            plan,
            self._runner,
            self._evidence,
            tokenizer=self._tokenizer,
            on_progress=on_progress,
            should_stop=self._should_stop,
            on_server=on_server,
        )
        if outcome.status == "void":
            void_contest(
                self._ledger,
                contest,
                cause=outcome.void_cause or VoidCause.BASELINE_FAILED,
                detail=outcome.detail,
            )
        else:
            self._record_measurements(contest, plan, outcome)
            complete_contest(self._ledger, contest)
        self._record_fingerprints(plan)
        return outcome

    def fingerprint(self, submissions: Sequence[UUID]) -> None:
        """Note the content fingerprints of these submissions' images, where they can be had."""
        for identity in submissions:
            found = self._ledger.load(Submission, identity)
            if found.commit is not None and found.commit.digest and found.fingerprint is None:
                self._note_fingerprint(
                    identity, image_of(found.commit.image or "", found.commit.digest)
                )

    # -- inside -------------------------------------------------------------------------------

    def _is_older(self, submission: UUID, seed_block: int) -> bool:
        commit = self._ledger.load(Submission, submission).commit
        return commit is not None and commit.block < seed_block

    def _should_stop(self) -> VoidCause | None:
        if "evaluation" in self._ledger.arena_state().paused:
            return VoidCause.EVALUATION_PAUSED
        return None

    def _plan(self, contest: UUID) -> ContestPlan:
        planned = self._ledger.load(Contest, contest).plan
        if planned is None:
            msg = f"contest {contest} has no plan in the log"
            raise DecisionRefusedError(msg)
        arena = self._ledger.arena_state()
        policy = arena.policy_at(planned.effective_block).track(planned.track)
        return ContestPlan(
            contest_id=str(contest),
            track=planned.track,
            attempt=planned.attempt,
            seed_block=planned.seed_block,
            seed_block_hash=planned.seed_block_hash,
            policy=policy,
            model_dir=str(self._model_dir),
            model_name=policy.model,
            baseline=_baseline(policy.baseline_image),
            entrants=tuple(
                PlannedEntrant(
                    entrant_id=str(entrant.submission_id),
                    hotkey=entrant.hotkey,
                    role=entrant.role,
                    image=image_of(entrant.image, entrant.digest),
                )
                for entrant in planned.entrants
            ),
        )

    def _record_measurements(
        self, contest: UUID, plan: ContestPlan, outcome: ContestOutcome
    ) -> None:
        figures = outcome.baseline
        if figures is None:
            msg = f"contest {contest} completed without its baseline's figures: this is a defect"
            raise AssertionError(msg)

        def work(unit: Unit) -> None:
            found = unit.get(Contest, contest)
            found.measure_baseline(
                after(unit, found),
                image=str(plan.baseline),
                prompts=len(figures.e2e_us),
                prompts_digest=outcome.prompts_digest,
                median_ttft_us=median_low(figures.ttft_us),
                median_e2e_us=median_low(figures.e2e_us),
                median_tokens=median_low(figures.tokens),
            )
            for entrant, verdict in zip(plan.entrants, outcome.verdicts, strict=True):
                _measure(unit, found, entrant, verdict)

        self._ledger.decide(work)

    def _record_fingerprints(self, plan: ContestPlan) -> None:
        for entrant in plan.entrants:
            identity = UUID(entrant.entrant_id)
            if self._ledger.load(Submission, identity).fingerprint is None:
                self._note_fingerprint(identity, entrant.image)

    def _note_fingerprint(self, submission: UUID, image: ImageRef) -> None:
        try:
            with self._runner.stage(f"audit of {image.digest}", ServerLimits()) as stage:
                fingerprint = stage.prepare(image, AUDIT_PULL_S).fingerprint
        except (InfrastructureFaultError, ImageRefusedError):
            return  # not to be had now; the contest itself records why, the next audit asks again
        record_fingerprint(self._ledger, submission, fingerprint)


def _baseline(image: str) -> ImageRef:
    """The pinned baseline; a policy that pins none by digest cannot be run (DOMAIN 4)."""
    try:
        return parse_image(image)
    except ImageReferenceError as error:
        msg = f"the track's policy pins no baseline by its digest: {error}"
        raise DecisionRefusedError(msg) from error


def _measure(unit: Unit, contest: Contest, entrant: PlannedEntrant, own: EntrantVerdict) -> None:
    contest.measure(
        after(unit, contest),
        UUID(entrant.entrant_id),
        hotkey=entrant.hotkey,
        status=own.status,
        code=own.code or None,
        detail=own.detail,
        log_tail=own.log_tail,
        evidence_digest=own.evidence_digest or None,
        baseline_ttft_us=own.baseline_ttft_us,
        baseline_e2e_us=own.baseline_e2e_us,
        baseline_tokens=own.baseline_tokens,
        ttft_us=own.ttft_us,
        e2e_us=own.e2e_us,
        tokens=own.tokens,
        top1_ppm=own.top1_ppm,
        mean_margin_milli=own.mean_margin_milli,
        p99_margin_milli=own.p99_margin_milli,
        spread_ppm=own.spread_ppm,
        repeat_gain_ppm=own.repeat_gain_ppm,
    )
