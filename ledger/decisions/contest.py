"""A contest: one attempt of baseline and entrants on one machine with the same prompts.

Identity: arena, track, the attempt's seed block. Defends: planned once, run by the one worker that
holds its claim, measured once per entrant, and ended once: judged and completed, or void. A void
attempt is never revived; the next one has a later seed block (DOMAIN 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec

from ledger.codes import VoidCause
from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact, upcast
from ledger.texts import is_one_line

Role = Literal["king", "runner_up", "challenger"]
EntrantStatus = Literal["scored", "disqualified", "infrastructure"]

MAX_WORKER_CHARS: Final = 128
MAX_SESSION_CHARS: Final = 64
MAX_CLAIM_BLOCKS: Final = 7_200
"""The longest claim at once, a day of blocks: nobody else contests the track before it ends."""


class ClaimHeldError(DecisionRefusedError):
    """Another worker holds the contest, or took the attempt first: there is nothing to do here."""


class ClaimLostError(DecisionRefusedError):
    """Who wants to record a contest does not hold its claim (any more): nothing of it counts."""


class Holder(msgspec.Struct, frozen=True):
    """One run of one worker.

    ``worker`` is ``<host>/<slot>``, whom people know it by. ``session`` is another one for every
    process, so that a worker that was started again is not taken for the one that died.
    """

    worker: str
    session: str

    @property
    def host(self) -> str:
        """The machine it runs on."""
        return host_of(self.worker)


def host_of(worker: str) -> str:
    """The machine of a worker's name."""
    return worker.partition("/")[0]


class PlannedEntrant(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs, in the order of judging."""

    submission_id: UUID
    hotkey: str
    role: Role
    image: str
    digest: str


class JudgedEntrant(msgspec.Struct, frozen=True, kw_only=True):
    """What the verdict says of one entrant; scores are None where it was not scored."""

    submission_id: UUID
    hotkey: str
    status: EntrantStatus
    code: str | None
    score_ppm: int | None
    lower_ppm: int | None
    upper_ppm: int | None


@fact("contest.planned.v1")
class ContestPlanned(Fact, frozen=True, kw_only=True):
    """The attempt is fixed: who, under which policy, with prompts from which block's hash."""

    track: str
    attempt: int
    seed_block: int
    seed_block_hash: str
    policy_digest: str
    entrants: tuple[PlannedEntrant, ...]


@fact("contest.claimed.v1")
class ContestClaimedV1(Fact, frozen=True, kw_only=True):
    """As :class:`ContestClaimed`, from when a host had one evaluator."""

    host: str
    until_block: int


@fact("contest.claimed.v2")
class ContestClaimed(Fact, frozen=True, kw_only=True):
    """A worker runs it until that block, this one included; after it, anybody may void it.

    The same worker's next claim prolongs it. Key: ``contest-claimed:<contest>:<version>``.
    """

    worker: str
    session: str
    until_block: int


@upcast("contest.claimed.v1")
def claim_of_a_host(old: ContestClaimedV1) -> ContestClaimed:
    """By the host's only worker; of which run of it was not told."""
    fields = msgspec.structs.asdict(old)
    return ContestClaimed(worker=fields.pop("host"), session="", **fields)


@fact("contest.baseline_measured.v1")
class BaselineMeasured(Fact, frozen=True, kw_only=True):
    """The baseline's own figures: medians over the scored prompts, in microseconds and tokens."""

    image: str
    prompts: int
    prompts_digest: str
    median_ttft_us: int
    median_e2e_us: int
    median_tokens: int


@fact("contest.entrant_measured.v1")
class EntrantMeasured(Fact, frozen=True, kw_only=True):
    """One entrant's measurement: everything the score and the gates were computed from.

    The tuples hold one integer per scored prompt; ``e2e_us`` and ``baseline_e2e_us`` are the times
    to the same k-th token, k = ``tokens`` (DOMAIN 4, v2). Gate figures are None where the server
    never answered.
    """

    submission_id: UUID
    hotkey: str
    status: EntrantStatus
    code: str | None
    detail: str
    log_tail: str
    evidence_digest: str | None
    baseline_ttft_us: tuple[int, ...]
    baseline_e2e_us: tuple[int, ...]
    baseline_tokens: tuple[int, ...]
    ttft_us: tuple[int, ...]
    e2e_us: tuple[int, ...]
    tokens: tuple[int, ...]
    top1_ppm: int | None
    mean_margin_milli: int | None
    p99_margin_milli: int | None
    spread_ppm: int | None
    repeat_gain_ppm: int | None


class SealedArm(msgspec.Struct, frozen=True, kw_only=True):
    """One image of the contest. ``submission_id`` is None for the baseline; what the machine could
    not tell is None. ``gpu_ms`` is the machine time of its servers, milliseconds times GPUs."""

    role: str
    submission_id: UUID | None
    image: str
    fingerprint: str | None
    bytes: int | None
    gpu_ms: int | None


@fact("contest.evidence_sealed.v1")
class EvidenceSealed(Fact, frozen=True, kw_only=True):
    """All that the verdict rests on, under one digest, and what a validator asks of it first.

    ``manifest_digest`` is of the manifest, which names the evidence on every entrant by its digest;
    ``url`` is where all of it may be had, without credentials, None where it is kept on the host.
    ``host`` are pairs of a name and a text. Key: ``contest-evidence:<contest>``.
    """

    manifest_digest: str
    url: str | None
    policy_digest: str
    calibration: str | None
    client_lag_p99_us: int | None
    drift_ppm: int | None
    clock_drift_ppm: int | None
    host: tuple[tuple[str, str], ...]
    arms: tuple[SealedArm, ...]


@fact("contest.judged.v1")
class ContestJudged(Fact, frozen=True, kw_only=True):
    """The verdict over all entrants, and in sentences what it means for the throne."""

    track: str
    verdicts: tuple[JudgedEntrant, ...]
    reasons: tuple[str, ...]


@fact("contest.completed.v1")
class ContestCompleted(Fact, frozen=True, kw_only=True):
    """The contest stands."""

    track: str
    king_hotkey: str | None


@fact("contest.voided.v1")
class ContestVoided(Fact, frozen=True, kw_only=True):
    """The contest counts for nobody. ``cause`` is a :class:`ledger.codes.VoidCause`."""

    track: str
    cause: str
    detail: str


class Contest(Aggregate):
    """State and rule of one contest."""

    plan: ContestPlanned | None = None
    claim: ContestClaimed | None = None
    measured: Mapping[UUID, EntrantMeasured] = NOTHING
    baseline: BaselineMeasured | None = None
    evidence: EvidenceSealed | None = None
    ended: Literal["completed", "void"] | None = None
    voided: ContestVoided | None = None

    def plan_as(
        self, context: Context, *, track: str, after_seed_block: int = -1, **content: object
    ) -> ContestPlanned:
        """Fix the attempt that follows the one of ``after_seed_block`` on its track (-1: none).

        The key names the attempt before, so that of two plans at once only one is recorded.
        """
        if self.plan is not None:
            msg = f"contest {self.id} is planned already"
            raise DecisionRefusedError(msg)
        key = f"contest-planned:{context.arena}:{track}:after:{after_seed_block}"
        return self.record(context, ContestPlanned, key, track=track, **content)

    def claim_for(self, context: Context, holder: Holder, until_block: int) -> None:
        """Let a worker run it, or go on running it: only one may, and only while its claim lasts.

        A claim that ran out is not given again, to nobody: the prompts are known to whoever ran
        them, so that the attempt can only be void. Raises :class:`ClaimHeldError` where another
        worker holds it, :class:`ClaimLostError` where the worker's own claim ran out.
        """
        self._must_be_open("be claimed")
        for what, text, most in (
            ("worker", holder.worker, MAX_WORKER_CHARS),
            ("session", holder.session, MAX_SESSION_CHARS),
        ):
            if not is_one_line(text, most):
                msg = f"the {what} of a claim must be 1 to {most} printable characters"
                raise DecisionRefusedError(msg)
        if until_block - context.block > MAX_CLAIM_BLOCKS:
            msg = (
                f"contest {self.id} cannot be claimed for {until_block - context.block} blocks; "
                f"a claim lasts {MAX_CLAIM_BLOCKS} at most"
            )
            raise DecisionRefusedError(msg)
        if self.claim is not None:
            self._must_be_held(context, holder, "be claimed")
            if self.claim.until_block >= until_block:
                return
        self.record(
            context,
            ContestClaimed,
            f"contest-claimed:{self.id}:{self.version + 1}",
            worker=holder.worker,
            session=holder.session,
            until_block=until_block,
        )

    def is_held_by(self, holder: Holder, block: int) -> bool:
        """Whether that run of that worker may record it at ``block``."""
        claim = self.claim
        return (
            self.ended is None
            and claim is not None
            and Holder(claim.worker, claim.session) == holder
            and claim.until_block >= block
        )

    def must_be_held_by(self, holder: Holder, block: int) -> None:
        """Raise :class:`ClaimLostError` unless :meth:`is_held_by`."""
        if not self.is_held_by(holder, block):
            msg = f"{holder.worker} does not hold contest {self.id} at block {block} (any more)"
            raise ClaimLostError(msg)

    def measure_baseline(
        self, context: Context, *, holder: Holder | None = None, **content: object
    ) -> None:
        """Note the baseline's figures; the same again is a no-op."""
        self._must_be_open("take a baseline")
        self._must_be_held(context, holder, "take a baseline")
        if self.baseline is None or self.baseline.content() != content:
            self.record(context, BaselineMeasured, f"baseline-measured:{self.id}", **content)

    def measure(
        self,
        context: Context,
        submission_id: UUID,
        *,
        holder: Holder | None = None,
        **content: object,
    ) -> None:
        """Note one entrant's figures; the same again is a no-op."""
        self._must_be_open("take a measurement")
        self._must_be_held(context, holder, "take a measurement")
        if self.plan is None or submission_id not in {e.submission_id for e in self.plan.entrants}:
            msg = f"submission {submission_id} is no entrant of contest {self.id}"
            raise DecisionRefusedError(msg)
        known = self.measured.get(submission_id)
        if known is not None and known.content() == {"submission_id": submission_id, **content}:
            return
        self.record(
            context,
            EntrantMeasured,
            f"entrant-measured:{self.id}:{submission_id}",
            submission_id=submission_id,
            **content,
        )

    def seal(
        self, context: Context, *, holder: Holder | None = None, **content: object
    ) -> EvidenceSealed:
        """Note what the verdict rests on; the policy is the plan's."""
        self._must_be_open("take evidence")
        self._must_be_held(context, holder, "take evidence")
        return self.record(
            context,
            EvidenceSealed,
            f"contest-evidence:{self.id}",
            policy_digest=self._planned().policy_digest,
            **content,
        )

    def judge(
        self,
        context: Context,
        verdicts: tuple[JudgedEntrant, ...],
        reasons: tuple[str, ...],
        *,
        holder: Holder | None = None,
    ) -> ContestJudged:
        """Note the verdict. Every entrant must have been measured."""
        self._must_be_open("be judged")
        self._must_be_held(context, holder, "be judged")
        missing = {e.submission_id for e in self._planned().entrants} - set(self.measured)
        if missing:
            msg = f"contest {self.id} cannot be judged: {len(missing)} entrants are not measured"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            ContestJudged,
            f"contest-judged:{self.id}",
            track=self._planned().track,
            verdicts=verdicts,
            reasons=reasons,
        )

    def complete(self, context: Context, king_hotkey: str | None) -> None:
        """The contest stands."""
        self._must_be_open("be completed")
        self.record(
            context,
            ContestCompleted,
            f"contest-completed:{self.id}",
            track=self._planned().track,
            king_hotkey=king_hotkey,
        )

    def void(
        self, context: Context, cause: VoidCause, detail: str, *, holder: Holder | None = None
    ) -> ContestVoided:
        """The contest counts for nobody. While a claim lasts, only its holder may say so, or the
        operator: ``stopped`` is the cause that no evaluator gives."""
        self._must_be_open("be void")
        lasting = self.claim is not None and self.claim.until_block >= context.block
        if lasting and cause is not VoidCause.STOPPED:
            self._must_be_held(context, holder, "be void")
        return self.record(
            context,
            ContestVoided,
            f"contest-voided:{self.id}",
            track=self._planned().track,
            cause=cause.value,
            detail=detail,
        )

    def _planned(self) -> ContestPlanned:
        if self.plan is None:
            msg = f"contest {self.id} is unknown here"
            raise DecisionRefusedError(msg)
        return self.plan

    def _must_be_held(self, context: Context, holder: Holder | None, what: str) -> None:
        """Only the holder of a lasting claim records a contest (one never claimed has none)."""
        claim = self.claim
        if claim is None:
            return
        if holder is None or Holder(claim.worker, claim.session) != holder:
            msg = (
                f"contest {self.id} is claimed by {claim.worker} until block {claim.until_block}, "
                f"so it cannot {what} by anybody else"
            )
            raise ClaimHeldError(msg)
        if claim.until_block < context.block:
            msg = (
                f"the claim of {claim.worker} on contest {self.id} ended at block "
                f"{claim.until_block}, so it cannot {what} at block {context.block}"
            )
            raise ClaimLostError(msg)

    def _must_be_open(self, what: str) -> None:
        self._planned()
        if self.ended is not None:
            msg = f"contest {self.id} is {self.ended} and cannot {what}"
            raise DecisionRefusedError(msg)

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case ContestPlanned():
                self.plan = fact
            case ContestClaimed():
                self.claim = fact
            case BaselineMeasured():
                self.baseline = fact
            case EntrantMeasured():
                self.measured = {**self.measured, fact.submission_id: fact}
            case EvidenceSealed():
                self.evidence = fact
            case ContestJudged():
                pass  # the verdict changes others' state, not the contest's
            case ContestCompleted():
                self.ended = "completed"
            case ContestVoided():
                self.ended = "void"
                self.voided = fact
            case _:
                msg = f"a contest cannot take a {fact.topic}"
                raise TypeError(msg)
