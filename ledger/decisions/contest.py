"""A contest: one attempt of baseline and entrants on one machine with the same prompts.

Identity: arena, track, the attempt's seed block. Defends: planned once, measured once per entrant,
and ended once: judged and completed, or void. A void attempt is never revived; the next one has a
later seed block (DOMAIN 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from ledger.codes import VoidCause
from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact

Role = Literal["king", "runner_up", "challenger"]
EntrantStatus = Literal["scored", "disqualified", "infrastructure"]


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
class ContestClaimed(Fact, frozen=True, kw_only=True):
    """A host runs it until that block; after it, anybody may void it."""

    host: str
    until_block: int


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
    ended: Literal["completed", "void"] | None = None

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

    def claim_for(self, context: Context, host: str, until_block: int) -> None:
        """Let a host run it; only one may, until its claim ends."""
        self._must_be_open("be claimed")
        if self.claim is not None and self.claim.until_block >= context.block:
            if self.claim.host == host:
                return
            msg = (
                f"contest {self.id} is claimed by {self.claim.host} "
                f"until block {self.claim.until_block}"
            )
            raise DecisionRefusedError(msg)
        self.record(
            context,
            ContestClaimed,
            f"contest-claimed:{self.id}:{self.version + 1}",
            host=host,
            until_block=until_block,
        )

    def measure_baseline(self, context: Context, **content: object) -> None:
        """Note the baseline's figures; the same again is a no-op."""
        self._must_be_open("take a baseline")
        if self.baseline is None or self.baseline.content() != content:
            self.record(context, BaselineMeasured, f"baseline-measured:{self.id}", **content)

    def measure(self, context: Context, submission_id: UUID, **content: object) -> None:
        """Note one entrant's figures; the same again is a no-op."""
        self._must_be_open("take a measurement")
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

    def judge(
        self, context: Context, verdicts: tuple[JudgedEntrant, ...], reasons: tuple[str, ...]
    ) -> ContestJudged:
        """Note the verdict. Every entrant must have been measured."""
        self._must_be_open("be judged")
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

    def void(self, context: Context, cause: VoidCause, detail: str) -> ContestVoided:
        """The contest counts for nobody."""
        self._must_be_open("be void")
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
            case ContestJudged():
                pass  # the verdict changes others' state, not the contest's
            case ContestCompleted():
                self.ended = "completed"
            case ContestVoided():
                self.ended = "void"
            case _:
                msg = f"a contest cannot take a {fact.topic}"
                raise TypeError(msg)
