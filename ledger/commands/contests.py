"""Planning, measuring, judging and voiding contests.

A contest changes three things at once, so each command is one transaction over them: the contest,
its entrants' submissions, and the track's throne.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import DepositionCause, DisqualificationCode, InfrastructureCause, VoidCause
from ledger.commands.causes import after, after_acceptance
from ledger.decisions.arena import Arena, RunnerUp, check_actor, check_reason
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import (
    ClaimHeldError,
    Contest,
    ContestPlanned,
    EntrantMeasured,
    Holder,
    JudgedEntrant,
    PlannedEntrant,
)
from ledger.decisions.payment import Payment
from ledger.decisions.submission import CommitSeen, Submission
from ledger.keys import block_key, contest_id
from ledger.observations import BlockObserved
from ledger.policy import TrackPolicy
from ledger.rules.scoring import Measured, Score, score
from ledger.rules.seed import seed_from_block_hash
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

UNCOUNTED: Final = frozenset(
    cause.value
    for cause in (
        VoidCause.INTERRUPTED,
        VoidCause.EVALUATION_PAUSED,
        VoidCause.HOST_FAILED,
        VoidCause.CLIENT_SATURATED,
        VoidCause.DRIFTED,
        VoidCause.STOPPED,
    )
)
"""Void attempts that do not count against `max_attempts`: they say something of the evaluator's own
machine, or of nobody's, and another machine or hour may do (docs/decisions/0027)."""


CLAIM_BLOCKS: Final = 150
"""How long a claim lasts that nobody prolongs: half an hour of blocks. A shorter one would run out
under a living worker where blocks come late and then all at once."""

RENEW_BELOW_BLOCKS: Final = 100
"""A claim with fewer blocks left is prolonged by its worker."""


def commit_order(commit: CommitSeen) -> tuple[int, int, int, int]:
    """The order of judging and of owning content: block, reveals before extrinsics, index."""
    return (commit.block, 0 if commit.form == "timelocked" else 1, commit.index, commit.nth)


def first_in_line(
    commit_of: Callable[[UUID], CommitSeen | None],
    waiting: Sequence[UUID],
    seed_block: int,
    most: int,
) -> list[UUID]:
    """Everything that the first ``most`` hotkeys in the line committed before the seed block.

    Of one hotkey the latest runs, at its own place, so that place decides who is first; it comes
    last of its hotkey's.
    """
    commits: dict[str, list[tuple[CommitSeen, UUID]]] = {}
    for identity in waiting:
        commit = commit_of(identity)
        if commit is not None and commit.block < seed_block:
            commits.setdefault(commit.hotkey, []).append((commit, identity))
    own = [sorted(line, key=lambda pair: commit_order(pair[0])) for line in commits.values()]
    own.sort(key=lambda line: commit_order(line[-1][0]))
    return [identity for line in own[:most] for _, identity in line]


def plan_contest(
    ledger: Ledger,
    *,
    track: str,
    challengers: Sequence[UUID],
    seed_block: int,
    attempt: int | None = None,
    holder: Holder | None = None,
    claim_blocks: int = CLAIM_BLOCKS,
) -> UUID:
    """Fix an attempt: king and runner-up of the track, then the challengers in judging order.

    The seed block must be recorded, later than every entrant's commit or reveal and later than the
    seed block of the track's previous attempt (DOMAIN 4), which must have ended: challengers are
    judged in their order, each against the king so far. Challengers must wait in this track's
    queue. Of several queued submissions of one hotkey the latest runs and supersedes the others.
    Refused while evaluation is paused. Without ``attempt`` it is the number of the attempt since
    the track's last completed contest, from 1.

    Where ``holder`` is given, it claims the contest in the same transaction, for ``claim_blocks``;
    of several that plan at once one gets it, the others :class:`ClaimHeldError`. Returns the
    contest's id; planning the same attempt again gives it too. The plan follows from the acceptance
    of the first challenger.
    """
    return ledger.decide(
        lambda unit: plan_in(
            unit,
            track=track,
            challengers=challengers,
            seed_block=seed_block,
            attempt=attempt,
            holder=holder,
            claim_blocks=claim_blocks,
        )
    )


def plan_in(
    unit: Unit,
    *,
    track: str,
    challengers: Sequence[UUID],
    seed_block: int,
    attempt: int | None = None,
    holder: Holder | None = None,
    claim_blocks: int = CLAIM_BLOCKS,
) -> UUID:
    """:func:`plan_contest`, in a unit that records more."""
    arena = unit.arena
    identity = contest_id(unit.context.arena, track, seed_block)
    contest = unit.get(Contest, identity)
    if contest.plan is None:
        if "evaluation" in arena.paused:
            msg = "evaluation is paused, so no contest starts; resume it first"
            raise DecisionRefusedError(msg)
        policy = arena.policy_at(unit.block)
        policy.track(track)
        block = _seed_block(unit, seed_block)
        before = _previous(unit, track, seed_block)
        entrants = _entrants(unit, arena, track, challengers)
        for entrant in entrants:
            commit = _commit(unit.get(Submission, entrant.submission_id))
            if commit.block >= seed_block:
                msg = (
                    f"seed block {seed_block} is not later than the commit of "
                    f"{commit.hotkey} at block {commit.block}"
                )
                raise DecisionRefusedError(msg)
        first = next(entrant for entrant in entrants if entrant.role == "challenger")
        planned = contest.plan_as(
            after_acceptance(unit, first.submission_id),
            track=track,
            after_seed_block=-1 if before is None else before.seed_block,
            attempt=_next_attempt(unit, before) if attempt is None else attempt,
            seed_block=seed_block,
            seed_block_hash=block.hash,
            policy_digest=policy.digest(),
            entrants=tuple(entrants),
        )
        unit.raced_for.add(planned.fact_key)
        unit.because(planned)
        for entrant in entrants:
            submission = unit.get(Submission, entrant.submission_id)
            submission.enter(unit.context, identity, planned.attempt)
    if holder is not None:
        contest.claim_for(unit.context, holder, unit.block + claim_blocks)
    return identity


def renew_claim(ledger: Ledger, contest: UUID, holder: Holder) -> int:
    """Prolong a worker's claim if little of it is left; the block that it lasts until.

    Raises :class:`ClaimHeldError`, :class:`ClaimLostError`, or that the contest has ended: then
    nothing of it may be recorded any more.
    """

    def work(unit: Unit) -> int:
        found = unit.get(Contest, contest)
        if not found.is_held_by(holder, unit.block + RENEW_BELOW_BLOCKS):
            found.claim_for(after(unit, found), holder, unit.block + CLAIM_BLOCKS)
        return found.claim.until_block if found.claim is not None else unit.block

    return ledger.decide(work)


def complete_contest(ledger: Ledger, contest: UUID, *, holder: Holder | None = None) -> None:
    """Judge a contest whose baseline and entrants are all measured: scores, throne, runner-up.

    A contest over which evaluation was paused is void instead (DOMAIN 5). Refused to everybody but
    the holder of its claim.
    """
    ledger.decide(lambda unit: complete_in(unit, contest, holder=holder))


def complete_in(unit: Unit, contest: UUID, *, holder: Holder | None = None) -> None:
    """:func:`complete_contest`, in a unit that records more."""
    found = unit.get(Contest, contest)
    if found.plan is None:
        msg = f"contest {contest} is unknown here; see 'contests'"
        raise DecisionRefusedError(msg)
    plan, arena = found.plan, unit.arena
    if found.ended is None and _was_paused(arena, plan):
        detail = "evaluation was paused while the contest ran"
        _void(unit, found, plan, VoidCause.EVALUATION_PAUSED, detail, holder)
        return
    track = planned_track(arena, plan)
    judgement = judgement_of(unit, found, plan, track)
    scores, decision = judgement.scores, judgement.decision
    judged = found.judge(after(unit, found), judgement.verdicts, judgement.reasons, holder=holder)
    unit.because(judged)
    uncompared = {
        step.challenger_id: step.why for step in decision.steps if isinstance(step, NotCompared)
    }
    for entrant in plan.entrants:
        identity = entrant.submission_id
        _settle_entrant(
            unit, found, identity, scores[identity], track, uncompared=uncompared.get(identity)
        )
    _settle_throne(unit, plan.track, contest, decision)
    king = arena.kings.get(plan.track)
    found.complete(unit.context, king.hotkey if king else None)


def void_contest(
    ledger: Ledger, contest: UUID, *, cause: VoidCause, detail: str, holder: Holder | None = None
) -> None:
    """End an open contest without effect; its entrants wait again, or are credited.

    While a worker's claim lasts only that ``holder`` may; after it, anybody. A contest that has
    ended stays as it is.
    """

    def work(unit: Unit) -> None:
        found = unit.get(Contest, contest)
        if found.ended is None and found.plan is not None:
            _void(unit, found, found.plan, cause, detail, holder)

    ledger.decide(work)


def stop_contest(ledger: Ledger, contest: UUID, *, reason: str, actor: str) -> None:
    """The operator ends an open contest, whoever holds it; its entrants wait again, uncounted.

    Whoever runs it finds its claim lost and records nothing. Refused where the contest is unknown
    or has ended, and without a reason of one line.
    """
    check_reason(reason, f"contest {contest} is ended")
    check_actor(actor)

    def work(unit: Unit) -> None:
        found = unit.get(Contest, contest)
        if found.plan is None:
            msg = f"contest {contest} is unknown here; see 'contests'"
            raise DecisionRefusedError(msg)
        _void(unit, found, found.plan, VoidCause.STOPPED, f"{actor}: {reason}", None)

    ledger.decide(work)


def _void(
    unit: Unit,
    contest: Contest,
    plan: ContestPlanned,
    cause: VoidCause,
    detail: str,
    holder: Holder | None,
) -> None:
    track = planned_track(unit.arena, plan)
    unit.because(contest.void(after(unit, contest), cause, detail, holder=holder))
    for entrant in plan.entrants:
        submission = unit.get(Submission, entrant.submission_id)
        if submission.status == "contested":
            _wait_again(
                unit,
                submission,
                contest.id,
                track,
                cause=cause.value,
                detail=detail,
                # What fails everybody says nothing of the king's image, nor of the runner-up's.
                counted=submission.waits_as_challenger and cause.value not in UNCOUNTED,
            )


def _was_paused(arena: Arena, plan: ContestPlanned) -> bool:
    """Whether evaluation is paused, or was at a block after the contest was planned."""
    last = arena.last_paused_at.get("evaluation")
    return "evaluation" in arena.paused or (last is not None and last > plan.effective_block)


def planned_track(arena: Arena, plan: ContestPlanned) -> TrackPolicy:
    """The track's rules as the plan fixed them, whatever was adopted since."""
    for adopted in arena.policies:
        if adopted.policy.digest() == plan.policy_digest:
            return adopted.policy.track(plan.track)
    msg = f"contest policy {plan.policy_digest} was never adopted by this arena"
    raise DecisionRefusedError(msg)


# -- planning -------------------------------------------------------------------------------


def _seed_block(unit: Unit, number: int) -> BlockObserved:
    fact = unit.ledger.known(block_key(unit.context.arena, number))
    if not isinstance(fact, BlockObserved):
        msg = f"block {number} is not in the log, so its hash cannot seed a contest"
        raise DecisionRefusedError(msg)
    return fact


def _entrants(
    unit: Unit, arena: Arena, track: str, challengers: Sequence[UUID]
) -> list[PlannedEntrant]:
    king, runner_up = arena.kings.get(track), arena.runners_up.get(track)
    seated = [place.submission_id for place in (king, runner_up) if place is not None]
    line = [unit.get(Submission, identity) for identity in challengers if identity not in seated]
    for submission in line:
        if submission.status != "queued" or _commit(submission).track != track:
            msg = (
                f"submission {submission.id} is {submission.status} on track "
                f"'{_commit(submission).track}', so it is no challenger waiting on '{track}'"
            )
            raise DecisionRefusedError(msg)
    line.sort(key=lambda submission: commit_order(_commit(submission)))
    latest = {_commit(submission).hotkey: submission for submission in line}
    for submission in line:
        later = latest[_commit(submission).hotkey]
        if later is not submission:
            submission.supersede(after_acceptance(unit, later.id), later.id)
    running = [
        submission for submission in line if latest[_commit(submission).hotkey] is submission
    ]
    if not running:
        msg = f"track '{track}' has no challenger waiting, so there is nothing to contest"
        raise DecisionRefusedError(msg)
    entrants = []
    if king is not None:
        entrants.append(_planned(unit.get(Submission, king.submission_id), "king"))
    if runner_up is not None and unit.get(Submission, runner_up.submission_id).status == "scored":
        entrants.append(_planned(unit.get(Submission, runner_up.submission_id), "runner_up"))
    return entrants + [_planned(submission, "challenger") for submission in running]


def _previous(unit: Unit, track: str, seed_block: int) -> ContestPlanned | None:
    """The attempt before, which has ended; this one's seed block is later (DOMAIN 4)."""
    before = unit.ledger.newest(ContestPlanned, where=lambda plan: plan.track == track)
    if before is None:
        return None
    running = unit.get(Contest, before.originator_id)
    if running.ended is None:
        claim = running.claim
        held = f", claimed by {claim.worker} until block {claim.until_block}" if claim else ""
        msg = (
            f"contest {running.id} of track '{track}' is still open{held}; the next one is planned "
            "when it has ended"
        )
        raise ClaimHeldError(msg)
    if before.seed_block >= seed_block:
        msg = (
            f"seed block {seed_block} is not later than seed block {before.seed_block} of the "
            f"attempt before on track '{track}'"
        )
        raise DecisionRefusedError(msg)
    return before


def _next_attempt(unit: Unit, before: ContestPlanned | None) -> int:
    if before is None or unit.get(Contest, before.originator_id).ended == "completed":
        return 1
    return before.attempt + 1


def _planned(submission: Submission, role: str) -> PlannedEntrant:
    commit = _commit(submission)
    if commit.image is None or commit.digest is None:
        msg = f"submission {submission.id} names no image, so it cannot be run"
        raise DecisionRefusedError(msg)
    return PlannedEntrant(
        submission_id=submission.id,
        hotkey=commit.hotkey,
        role="king" if role == "king" else "runner_up" if role == "runner_up" else "challenger",
        image=commit.image,
        digest=commit.digest,
    )


def _commit(submission: Submission) -> CommitSeen:
    if submission.commit is None:
        msg = f"submission {submission.id} is unknown here"
        raise DecisionRefusedError(msg)
    return submission.commit


# -- judging --------------------------------------------------------------------------------


class Standing(Protocol):
    """What a judgement rests on besides the measurements: how things stand in the log."""

    @property
    def block(self) -> int:
        """The arena's newest finalized block."""
        ...

    @property
    def arena(self) -> Arena:
        """Thrones and policies."""
        ...

    def get(self, kind: type[Submission], aggregate_id: UUID, /) -> Submission:
        """A submission."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the measurements of a contest come to."""

    verdicts: tuple[JudgedEntrant, ...]
    reasons: tuple[str, ...]
    scores: Mapping[UUID, Score | None]
    decision: ThroneDecision

    @property
    def king_hotkey(self) -> str | None:
        """Who sits on the throne afterwards."""
        return self.decision.king.hotkey if self.decision.king else None


def judgement_of(
    standing: Standing, contest: Contest, plan: ContestPlanned, track: TrackPolicy
) -> Judgement:
    """Judge a measured contest by the track's rules, as things stand; it records nothing."""
    seed = seed_from_block_hash(plan.seed_block_hash)
    scores = {
        entrant.submission_id: _score(contest.measured.get(entrant.submission_id), track, seed)
        for entrant in plan.entrants
    }
    decision = _decide(standing, contest, track, seed)
    return Judgement(
        tuple(_verdict(entrant, contest, scores) for entrant in plan.entrants),
        tuple(_reason(step) for step in decision.steps),
        scores,
        decision,
    )


def _measured(fact: EntrantMeasured | None) -> Measured | None:
    if fact is None or fact.status != "scored":
        return None
    return Measured(
        fact.baseline_ttft_us,
        fact.baseline_e2e_us,
        fact.baseline_tokens,
        fact.ttft_us,
        fact.e2e_us,
        fact.tokens,
    )


def _score(fact: EntrantMeasured | None, track: TrackPolicy, seed: int) -> Score | None:
    measured = _measured(fact)
    if measured is None:
        return None
    return score(measured, track.scoring, track.contest.prompts_per_block, seed)


def _decide(unit: Standing, contest: Contest, track: TrackPolicy, seed: int) -> ThroneDecision:
    plan = contest.plan
    if plan is None:
        msg = f"contest {contest.id} has no plan"
        raise DecisionRefusedError(msg)
    king: KingState | None = None
    runner_up: Candidate | None = None
    challengers = []
    for entrant in plan.entrants:
        fact = contest.measured.get(entrant.submission_id)
        # A copy found while the contest ran is nobody's rival any more.
        out = _copied(unit, entrant.submission_id)
        candidate = Candidate(
            submission_id=entrant.submission_id,
            hotkey=entrant.hotkey,
            order=commit_order(_commit(unit.get(Submission, entrant.submission_id))),
            measured=_measured(fact),
            disqualified=out or (fact is not None and fact.status == "disqualified"),
        )
        given_up = _is_given_up(unit, contest, entrant.submission_id, track)
        held = unit.arena.kings.get(plan.track)
        if entrant.role == "challenger":
            challengers.append(candidate)
        elif entrant.role == "runner_up":
            runner_up = replace(candidate, disqualified=candidate.disqualified or given_up)
        elif held is not None and held.submission_id == entrant.submission_id:
            king = KingState(
                hotkey=held.hotkey,
                submission_id=held.submission_id,
                won_at_block=held.won_at_block,
                measured=candidate.measured,
                disqualified=candidate.disqualified,
                given_up=given_up,
            )
    held = unit.arena.kings.get(plan.track)
    if held is not None and king is None:
        # The throne changed hands while the contest ran (a king left and the runner-up followed):
        # the new king stands where it was measured in this round, and is not compared where not.
        second = runner_up if runner_up and runner_up.submission_id == held.submission_id else None
        king = KingState(
            hotkey=held.hotkey,
            submission_id=held.submission_id,
            won_at_block=held.won_at_block,
            measured=second.measured if second else None,
            disqualified=second.disqualified if second else False,
        )
        runner_up = None if second else runner_up
    return decide_round(king, challengers, runner_up, track=track, block=unit.block, seed=seed)


def _is_given_up(unit: Standing, contest: Contest, identity: UUID, track: TrackPolicy) -> bool:
    """Whether a king or runner-up could not be measured once too often in a row."""
    submission = unit.get(Submission, identity)
    return (
        not submission.waits_as_challenger
        and _alone_unmeasured(contest, identity)
        and submission.failed_attempts + 1 >= track.contest.max_attempts
    )


def _alone_unmeasured(contest: Contest, identity: UUID) -> bool:
    """Whether the infrastructure failed this one in a round that could measure another."""
    own = contest.measured.get(identity)
    return (
        own is not None
        and own.status == "infrastructure"
        and any(fact.status == "scored" for fact in contest.measured.values())
    )


def _verdict(
    entrant: PlannedEntrant, contest: Contest, scores: dict[UUID, Score | None]
) -> JudgedEntrant:
    fact = contest.measured.get(entrant.submission_id)
    if fact is None:
        msg = f"contest {contest.id} cannot be judged: {entrant.hotkey} was not measured"
        raise DecisionRefusedError(msg)
    own = scores[entrant.submission_id]
    return JudgedEntrant(
        submission_id=entrant.submission_id,
        hotkey=entrant.hotkey,
        status=fact.status,
        code=fact.code,
        score_ppm=own.score_ppm if own else None,
        lower_ppm=own.lower_ppm if own else None,
        upper_ppm=own.upper_ppm if own else None,
    )


def _reason(step: Step) -> str:
    match step:
        case Crowned() | Defended() | NotTaken():
            return step.decision.why
        case NotCompared():
            return step.why
        case Deposed():
            return f"{step.hotkey} loses the crown: {_why_deposed(step)}"


def _why_deposed(step: Deposed) -> str:
    if step.given_up:
        return "it could not be measured as often as the policy allows, while others could"
    return "its own server failed in this round"


def _settle_entrant(
    unit: Unit,
    found: Contest,
    identity: UUID,
    own: Score | None,
    track: TrackPolicy,
    *,
    uncompared: str | None,
) -> None:
    """``uncompared`` says why nobody was compared with it though it was measured, if so."""
    contest, fact = found.id, found.measured[identity]
    submission = unit.get(Submission, identity)
    if submission.status != "contested":
        return  # found to be a copy while the contest ran: that verdict stands
    if fact.status == "disqualified":
        submission.disqualify(
            unit.context,
            contest,
            DisqualificationCode(fact.code or ""),
            fact.detail,
            fact.log_tail,
            fact.evidence_digest,
        )
    elif own is None:
        _wait_again(
            unit,
            submission,
            contest,
            track,
            cause=fact.code or "infrastructure",
            detail=fact.detail,
            # About this one: the others could be measured. A place is lost by that alone.
            counted=submission.waits_as_challenger or _alone_unmeasured(found, identity),
        )
    elif uncompared is not None and submission.waits_as_challenger:
        _wait_again(
            unit,
            submission,
            contest,
            track,
            cause=InfrastructureCause.KING_NOT_MEASURED.value,
            detail=uncompared,
            counted=False,  # it ends with the king, who is given up after so many rounds
        )
    else:
        submission.score(unit.context, contest, own.score_ppm, own.lower_ppm, own.upper_ppm)


def _wait_again(
    unit: Unit,
    submission: Submission,
    contest: UUID,
    track: TrackPolicy,
    *,
    cause: str,
    detail: str,
    counted: bool,
) -> None:
    """Back to where it stood; a challenger failed too often is credited instead (DOMAIN 4)."""
    spent = submission.failed_attempts + counted >= track.contest.max_attempts
    if submission.waits_as_challenger and counted and spent:
        credited = submission.credit(unit.context, contest, cause)
        payment = unit.get(Payment, credited.payment_id)
        payment.credit(
            unit.context.because(credited), submission.id, _commit(submission).hotkey, cause
        )
        return
    submission.requeue(unit.context, contest, cause, detail, counted=counted)


def _settle_throne(unit: Unit, track: str, contest: UUID, decision: ThroneDecision) -> None:
    arena = unit.arena
    before = arena.kings.get(track)
    for step in decision.steps:
        match step:
            case Deposed():
                cause = DepositionCause.DISQUALIFIED
                detail = "its own server failed in the round"
                if step.given_up:
                    cause, detail = DepositionCause.NOT_MEASURED, _why_deposed(step)
                arena.depose(unit.context, track, cause, detail)
            case Crowned():
                arena.crown(
                    unit.context,
                    track=track,
                    hotkey=step.hotkey,
                    submission_id=step.submission_id,
                    contest_id=contest,
                    score_ppm=step.score.score_ppm,
                    how="contest",
                    needed_ppm=step.decision.needed_ppm,
                    reached_ppm=step.decision.reached_ppm,
                    why=step.decision.why,
                )
            case Defended() | NotTaken() | NotCompared():
                pass  # nothing changes hands; the reasons are in the judgement
    king = arena.kings.get(track)
    stayed = before is not None and king is not None and before.submission_id == king.submission_id
    if stayed and decision.king is not None and decision.king.score is not None:
        arena.defend(unit.context, track, contest, decision.king.score.score_ppm)
    _name_runner_up(unit, track, contest, decision)


def _name_runner_up(unit: Unit, track: str, contest: UUID, decision: ThroneDecision) -> None:
    arena, seat = unit.arena, decision.runner_up
    king = arena.kings.get(track)
    if seat is None or (king and king.hotkey == seat.hotkey):
        arena.name_runner_up(unit.context, track, None)
        return
    if seat.score is None:
        return  # not measured in this round: it keeps the place and the score it had
    runner_up = RunnerUp(seat.hotkey, seat.submission_id, contest, seat.score.score_ppm)
    arena.name_runner_up(unit.context, track, runner_up)


def _copied(unit: Standing, submission: UUID) -> bool:
    return unit.get(Submission, submission).status == "copy"
