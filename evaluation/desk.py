"""The contest desk: takes planned contests from the ledger, runs them, records what came of them.

The state of a running contest is in the ledger. After a crash :meth:`ContestDesk.recover` voids
what was left open; the next attempt has a later seed block (DOMAIN 4). Everything recorded of a
contest rests on the claim of this worker: once that is lost, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import msgspec

from evaluation.claims import LOOK_EVERY_S, KeptClaim
from evaluation.contest import ContestOutcome, OnServer, run_contest
from evaluation.evidence import Evidence, EvidenceError
from evaluation.images import ImageRef, ImageReferenceError, image_as_committed, parse_image
from evaluation.measure import OnBlock, OnMeasured, Progress, ShouldStop
from evaluation.noting import NotingRunner
from evaluation.plan import ContestPlan, PlanError, PlannedEntrant, Tokenizer
from evaluation.recording import Findings, record_completed
from evaluation.runners.port import ImageFacts, InfrastructureFaultError, Runner
from evaluation.sources import Texts, texts_among
from ledger.application import Ledger
from ledger.codes import InfrastructureCause, VoidCause
from ledger.commands.contests import plan_contest, planned_track, void_contest
from ledger.commands.copies import record_fingerprint
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import ClaimHeldError, ClaimLostError, Contest, Holder
from ledger.decisions.submission import Submission

MAX_DETAIL_CHARS: Final = 1_000
"""How much is kept of the error that ended a contest."""

PROBE: Final = b"cacheon-ledger: evidence can be kept here\n"
"""What is stored before a contest, to see whether anything can be."""

OnFingerprint = Callable[[str], None]
"""Told of a content fingerprint when it has been recorded for a submission."""


class RunContest(Protocol):
    """What runs an attempt: :func:`evaluation.contest.run_contest`."""

    def __call__(
        self,
        plan: ContestPlan,
        runner: Runner,
        evidence: Evidence,
        *,
        tokenizer: Tokenizer,
        on_progress: Progress,
        should_stop: ShouldStop,
        on_server: OnServer,
        on_block: OnBlock,
        on_measured: OnMeasured,
        texts: Texts | None,
    ) -> ContestOutcome:
        """Run it to its end."""
        ...


class ContestDesk:
    """Runs contests as one worker.

    ``dead`` are earlier runs of this worker whose processes have ended (:mod:`evaluation.slots`).
    ``on_fingerprint`` looks for copies of a content; ``claim_look_s`` is how often the claim of a
    running contest is looked at. ``evidence_url`` is where others may have the evidence, recorded
    with it. ``prompts_files`` are where the operator keeps the files that policies name by digest.
    """

    def __init__(
        self,
        ledger: Ledger,
        runner: Runner,
        evidence: Evidence,
        *,
        tokenizer: Tokenizer,
        holder: Holder,
        model_dir: Path,
        dead: Sequence[Holder] = (),
        on_fingerprint: OnFingerprint = lambda _: None,
        evidence_url: str | None = None,
        prompts_files: Sequence[Path] = (),
        run: RunContest = run_contest,
        claim_look_s: float = LOOK_EVERY_S,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._evidence = evidence
        self._tokenizer = tokenizer
        self._holder = holder
        self._dead = frozenset(dead)
        self._model_dir = model_dir
        self._on_fingerprint = on_fingerprint
        self._evidence_url = evidence_url
        self._prompts_files = prompts_files
        self._run_contest = run
        self._claim_look_s = claim_look_s

    def recover(self, open_contests: Sequence[UUID]) -> list[UUID]:
        """Void what earlier runs of this worker left open, and what nobody claims any more.

        Completed contests stand, and so does what another worker runs. Gives what it voided.
        """
        voided = []
        for contest in open_contests:
            claim = self._ledger.load(Contest, contest).claim
            owner = Holder(claim.worker, claim.session) if claim is not None else None
            lasting = claim is not None and claim.until_block >= self._ledger.head().effective_block
            if lasting and owner not in self._dead:
                continue
            try:
                void_contest(
                    self._ledger,
                    contest,
                    cause=VoidCause.INTERRUPTED,
                    detail="the evaluator stopped while the contest ran",
                    holder=owner,
                )
            except ClaimHeldError:
                continue  # claimed since the look above, by somebody who lives
            voided.append(contest)
        return voided

    def run(
        self,
        track: str,
        challengers: Sequence[UUID],
        *,
        seed_block: int,
        attempt: int | None = None,
        on_progress: Progress = lambda *_: None,
        on_server: OnServer = lambda *_: None,
        should_stop: ShouldStop = lambda: None,
        on_planned: Callable[[ContestPlan], None] = lambda _: None,
        on_block: OnBlock = lambda *_: None,
        on_measured: OnMeasured = lambda *_: None,
    ) -> ContestOutcome:
        """Plan, run and record one attempt. Refused as :func:`plan_contest` refuses.

        Challengers whose commit is not older than the seed block wait for the next attempt. Raises
        :class:`ClaimHeldError` where another worker was faster, :class:`ClaimLostError` where the
        claim was lost meanwhile: nothing is recorded then. Whatever ends the run early, an
        interrupt included, leaves the attempt void.
        """
        head = self._ledger.head().effective_block
        rules = self._ledger.arena_state().policy_at(head).track(track)
        baseline_of(rules.baseline_image)
        texts = texts_among(rules.contest.source, self._prompts_files)
        self._try_evidence()
        contest = plan_contest(
            self._ledger,
            track=track,
            challengers=[one for one in challengers if self._is_older(one, seed_block)],
            seed_block=seed_block,
            attempt=attempt,
            holder=self._holder,
        )

        def prepared(image: ImageRef, facts: ImageFacts) -> None:
            self._note(contest, plan, image, facts)

        claim = KeptClaim(self._ledger, contest, self._holder, every_s=self._claim_look_s)
        try:
            plan = plan_of(self._ledger, contest, str(self._model_dir))
            on_planned(plan)
            with claim:
                outcome = self._run_contest(
                    plan,
                    NotingRunner(self._runner, prepared),
                    self._evidence,
                    tokenizer=self._tokenizer,
                    on_progress=on_progress,
                    should_stop=lambda: self._should_stop(claim) or should_stop(),
                    on_server=on_server,
                    on_block=on_block,
                    on_measured=on_measured,
                    texts=texts,
                )
            if claim.lost is not None:
                raise ClaimLostError(claim.lost)
            self._record(contest, outcome)
            outcome = self._as_recorded(contest, outcome)
        except ClaimLostError:
            raise
        except BaseException as error:
            if isinstance(error, DecisionRefusedError) and not self._holds(contest):
                raise ClaimLostError(str(error)) from error
            self._abandon(contest, error)
            raise
        return outcome

    # -- inside -------------------------------------------------------------------------------

    def _try_evidence(self) -> None:
        """A contest whose evidence cannot be kept is void in the end: better to know before it."""
        try:
            self._evidence.put(PROBE)
        except (EvidenceError, OSError) as error:
            msg = f"evidence cannot be stored, so no contest is planned: {error}"
            raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, msg) from error

    def _is_older(self, submission: UUID, seed_block: int) -> bool:
        commit = self._ledger.load(Submission, submission).commit
        return commit is not None and commit.block < seed_block

    def _holds(self, contest: UUID) -> bool:
        head = self._ledger.head().effective_block
        return self._ledger.load(Contest, contest).is_held_by(self._holder, head)

    def _should_stop(self, claim: KeptClaim) -> VoidCause | None:
        if "evaluation" in self._ledger.arena_state().paused:
            return VoidCause.EVALUATION_PAUSED
        return VoidCause.INTERRUPTED if claim.lost is not None else None

    def _abandon(self, contest: UUID, error: BaseException) -> None:
        """The run ended by an error: void, if the ledger can be told so.

        But for an interrupt it is a fault of this host, so that one whose contests always end so
        stands back, instead of a service that plans and voids an attempt a block for ever.
        """
        told = isinstance(error, KeyboardInterrupt | SystemExit)
        detail = f"the evaluator stopped while the contest ran: {_for_everybody(error)}"
        try:
            void_contest(
                self._ledger,
                contest,
                cause=VoidCause.INTERRUPTED if told else VoidCause.HOST_FAILED,
                detail=detail[:MAX_DETAIL_CHARS],
                holder=self._holder,
            )
        except Exception as untold:  # noqa: BLE001  the first error is the one to be told
            error.add_note(f"contest {contest} could not be voided and is so later: {untold}")

    def _record(self, contest: UUID, outcome: ContestOutcome) -> None:
        """The outcome, whole or not at all: measurements, verdict, throne and submissions."""
        if outcome.status == "void":
            void_contest(
                self._ledger,
                contest,
                cause=outcome.void_cause or VoidCause.BASELINE_FAILED,
                detail=outcome.detail,
                holder=self._holder,
            )
            return
        findings = Findings.read(self._evidence, outcome.manifest_digest, self._evidence_url)
        self._ledger.decide(lambda unit: record_completed(unit, contest, findings, self._holder))

    def _as_recorded(self, contest: UUID, outcome: ContestOutcome) -> ContestOutcome:
        """The outcome as it stands in the log: over a pause the ledger makes a whole run void."""
        voided = self._ledger.load(Contest, contest).voided
        if voided is None:
            return outcome
        cause = VoidCause(voided.cause)
        return msgspec.structs.replace(
            outcome, status="void", void_cause=cause, detail=voided.detail
        )

    def _note(self, contest: UUID, plan: ContestPlan, image: ImageRef, facts: ImageFacts) -> None:
        """Record the content of an entrant's image before it runs, and look for copies of it."""
        for entrant in plan.entrants:
            identity = UUID(entrant.entrant_id)
            if entrant.image != image or self._ledger.load(Submission, identity).fingerprint:
                continue
            record_fingerprint(
                self._ledger, identity, facts.fingerprint, contest=contest, holder=self._holder
            )
            self._on_fingerprint(facts.fingerprint)


def _for_everybody(error: BaseException) -> str:
    """What may be said of an error in the log for ever: no path, address or secret of a machine.

    The error itself goes on to whoever runs the evaluator.
    """
    match error:
        case KeyboardInterrupt():
            return "it was told to stop"
        case DecisionRefusedError() | PlanError():
            return str(error)
        case OSError(strerror=str() as strerror):
            return f"{type(error).__name__} ({strerror})"
        case _:
            return type(error).__name__


def plan_of(ledger: Ledger, contest: UUID, model_dir: str) -> ContestPlan:
    """A planned contest as it is run; refused where it is not planned or cannot be run."""
    planned = ledger.load(Contest, contest).plan
    if planned is None:
        msg = f"contest {contest} has no plan in the log"
        raise DecisionRefusedError(msg)
    arena = ledger.arena_state()
    policy = planned_track(arena, planned)
    king = arena.kings.get(planned.track)
    # A throne that changed hands since the plan has a king of whom the plan does not know.
    reigns = king is not None and any(
        entrant.role == "king" and entrant.submission_id == king.submission_id
        for entrant in planned.entrants
    )
    return ContestPlan(
        contest_id=str(contest),
        track=planned.track,
        attempt=planned.attempt,
        seed_block=planned.seed_block,
        seed_block_hash=planned.seed_block_hash,
        policy=policy,
        model_dir=model_dir,
        model_name=policy.model,
        baseline=baseline_of(policy.baseline_image),
        entrants=tuple(
            PlannedEntrant(
                entrant_id=str(entrant.submission_id),
                hotkey=entrant.hotkey,
                role=entrant.role,
                image=image_as_committed(entrant.image, entrant.digest),
            )
            for entrant in planned.entrants
        ),
        king_won_at_block=king.won_at_block if king is not None and reigns else None,
        arena_policy_digest=planned.policy_digest,
    )


def baseline_of(image: str) -> ImageRef:
    """The pinned baseline; a policy that pins none by digest cannot be run (DOMAIN 4)."""
    try:
        return parse_image(image)
    except ImageReferenceError as error:
        msg = f"the track's policy pins no baseline by its digest: {error}"
        raise DecisionRefusedError(msg) from error
