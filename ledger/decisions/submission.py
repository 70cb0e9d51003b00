"""A submission: one commit and all that happens to it.

Identity: arena, hotkey, reveal-or-commit block, index, SHA-256 of the payload. Defends its path:
known → accepted or refused → queued → contested → scored, disqualified, credited or superseded; a
copy may be found at any time after acceptance.
"""

from __future__ import annotations

from typing import Final, Literal
from uuid import UUID

import msgspec

from ledger.codes import DisqualificationCode, RefusalCode
from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact, upcast

Status = Literal[
    "known",
    "deferred",
    "refused",
    "queued",
    "contested",
    "scored",
    "disqualified",
    "credited",
    "superseded",
    "copy",
]

MAX_LOG_TAIL_CHARS: Final = 8_192


@fact("submission.commit_seen.v1")
class CommitSeenV1(Fact, frozen=True, kw_only=True):
    """As :class:`CommitSeen`, from when an extrinsic was thought to hold one commitment."""

    track: str
    hotkey: str
    coldkey: str | None
    uid: int | None
    form: str
    block: int
    block_hash: str
    index: int
    payload: str
    payload_sha256: str
    image: str | None
    digest: str | None
    payment_tx: str | None
    payment_block: str | None


@fact("submission.commit_seen.v2")
class CommitSeen(Fact, frozen=True, kw_only=True):
    """A commit became known. The four payload fields are None where it is malformed.

    ``index`` is the place in the block: of the extrinsic (-1 where the runtime itself made it), or
    among the block's reveals where ``form`` is ``timelocked``; ``nth`` tells the commitments of one
    extrinsic apart, from 0. ``payload`` is the text as committed, cut at 4,096 characters.
    """

    track: str
    hotkey: str
    coldkey: str | None
    uid: int | None
    form: str
    block: int
    block_hash: str
    index: int
    nth: int
    payload: str
    payload_sha256: str
    image: str | None
    digest: str | None
    payment_tx: str | None
    payment_block: str | None


@upcast("submission.commit_seen.v1")
def commit_with_its_place_in_the_extrinsic(old: CommitSeenV1) -> CommitSeen:
    """The first of its extrinsic: then a second one by the same hotkey was not told apart."""
    return CommitSeen(nth=0, **msgspec.structs.asdict(old))


@fact("submission.payment_check_deferred.v1")
class PaymentCheckDeferred(Fact, frozen=True, kw_only=True):
    """The node could not answer; the check is repeated, nothing is refused."""

    reason: str


@fact("submission.refused.v1")
class SubmissionRefused(Fact, frozen=True, kw_only=True):
    """The commit breaks rules: all of them by code, most specific first (DOMAIN 2)."""

    codes: tuple[str, ...]
    detail: str


@fact("submission.accepted.v1")
class SubmissionAccepted(Fact, frozen=True, kw_only=True):
    """The commit is paid for and waits for a contest."""

    payment_id: UUID
    fee_rao: int
    overpaid_rao: int
    by_credit: bool


@fact("submission.fingerprinted.v1")
class SubmissionFingerprinted(Fact, frozen=True, kw_only=True):
    """The content fingerprint of its image (DOMAIN 1, Copies)."""

    fingerprint: str


@fact("submission.contested.v1")
class SubmissionContested(Fact, frozen=True, kw_only=True):
    """It entered a contest."""

    contest_id: UUID
    attempt: int


@fact("submission.requeued.v1")
class SubmissionRequeued(Fact, frozen=True, kw_only=True):
    """The contest was void, or the infrastructure failed: it stands where it stood before.

    ``counted``: this attempt counts towards those after which policy credits the submission.
    """

    contest_id: UUID
    cause: str
    detail: str
    counted: bool


@fact("submission.scored.v1")
class SubmissionScored(Fact, frozen=True, kw_only=True):
    """Correct, with this score; the interval is None under the historic formulas."""

    contest_id: UUID
    score_ppm: int
    lower_ppm: int | None
    upper_ppm: int | None


@fact("submission.disqualified.v1")
class SubmissionDisqualified(Fact, frozen=True, kw_only=True):
    """Its own server did what a code names; the score is zero. The log tail is the server's own."""

    contest_id: UUID
    code: str
    detail: str
    log_tail: str
    evidence_digest: str | None


@fact("submission.credited.v1")
class SubmissionCredited(Fact, frozen=True, kw_only=True):
    """The infrastructure failed it as often as policy allows; its payment can be used again."""

    contest_id: UUID
    payment_id: UUID
    cause: str


@fact("submission.superseded.v1")
class SubmissionSuperseded(Fact, frozen=True, kw_only=True):
    """The same hotkey's later accepted commit takes its place in the queue."""

    by_submission_id: UUID


@fact("submission.copy_found.v1")
class CopyFound(Fact, frozen=True, kw_only=True):
    """Its content is another hotkey's earlier one. It loses everything from here on."""

    fingerprint: str
    original_submission_id: UUID
    original_hotkey: str


class Submission(Aggregate):
    """State and rule of one submission."""

    status: Status = "known"
    commit: CommitSeen | None = None
    payment_id: UUID | None = None
    fingerprint: str | None = None
    failed_attempts: int = 0
    _before_contest: Status = "queued"
    contest_id: UUID | None = None

    # -- commands ---------------------------------------------------------------------------

    def see(self, context: Context, fact_key: str, **content: object) -> CommitSeen | None:
        """Take note of the commit; seeing it again is a no-op (None)."""
        if self.commit is not None:
            return None
        return self.record(context, CommitSeen, fact_key, **content)

    def defer(self, context: Context, reason: str) -> PaymentCheckDeferred | None:
        """The payment could not be checked yet; deferring it again is a no-op (None)."""
        self._must_be("defer", "known", "deferred")
        if self.status == "deferred":
            return None
        return self.record(context, PaymentCheckDeferred, f"deferred:{self.id}", reason=reason)

    def accept(
        self,
        context: Context,
        payment_id: UUID,
        fee_rao: int,
        overpaid_rao: int,
        *,
        by_credit: bool,
    ) -> SubmissionAccepted:
        """Accept it, paid by that payment."""
        self._must_be("accept", "known", "deferred")
        return self.record(
            context,
            SubmissionAccepted,
            f"accepted:{self.id}",
            payment_id=payment_id,
            fee_rao=fee_rao,
            overpaid_rao=overpaid_rao,
            by_credit=by_credit,
        )

    def refuse(self, context: Context, codes: tuple[RefusalCode, ...], detail: str) -> None:
        """Refuse it for those rules."""
        self._must_be("refuse", "known", "deferred")
        if not codes:
            msg = f"submission {self.id} cannot be refused without a code"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            SubmissionRefused,
            f"refused:{self.id}",
            codes=tuple(code.value for code in codes),
            detail=detail,
        )

    def fingerprint_as(self, context: Context, fingerprint: str) -> None:
        """Note the content fingerprint; another one for the same image is refused."""
        if self.fingerprint == fingerprint:
            return
        if self.fingerprint is not None:
            msg = f"submission {self.id} has fingerprint {self.fingerprint}, not {fingerprint}"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            SubmissionFingerprinted,
            f"fingerprinted:{self.id}",
            fingerprint=fingerprint,
        )

    def enter(self, context: Context, contest_id: UUID, attempt: int) -> None:
        """Enter a contest: from the queue, or again as king or runner-up."""
        self._must_be("enter a contest", "queued", "scored")
        self.record(
            context,
            SubmissionContested,
            f"contested:{self.id}:{contest_id}",
            contest_id=contest_id,
            attempt=attempt,
        )

    @property
    def waits_as_challenger(self) -> bool:
        """Whether it came to its contest from the queue, not as king or runner-up."""
        return self._before_contest == "queued"

    def requeue(
        self, context: Context, contest_id: UUID, cause: str, detail: str, *, counted: bool
    ) -> None:
        """Stand again where it stood, after a contest that counted for nothing."""
        self._must_be("return to the queue", "contested")
        self.record(
            context,
            SubmissionRequeued,
            f"requeued:{self.id}:{contest_id}",
            contest_id=contest_id,
            cause=cause,
            detail=detail,
            counted=counted,
        )

    def score(
        self,
        context: Context,
        contest_id: UUID,
        score_ppm: int,
        lower_ppm: int | None,
        upper_ppm: int | None,
    ) -> None:
        """It was correct, and this fast."""
        self._must_be("be scored", "contested")
        self.record(
            context,
            SubmissionScored,
            f"scored:{self.id}:{contest_id}",
            contest_id=contest_id,
            score_ppm=score_ppm,
            lower_ppm=lower_ppm,
            upper_ppm=upper_ppm,
        )

    def disqualify(
        self,
        context: Context,
        contest_id: UUID,
        code: DisqualificationCode,
        detail: str,
        log_tail: str,
        evidence_digest: str | None,
    ) -> None:
        """Its own server did it."""
        self._must_be("be disqualified", "contested")
        self.record(
            context,
            SubmissionDisqualified,
            f"disqualified:{self.id}:{contest_id}",
            contest_id=contest_id,
            code=code.value,
            detail=detail,
            log_tail=log_tail[-MAX_LOG_TAIL_CHARS:],
            evidence_digest=evidence_digest,
        )

    def credit(self, context: Context, contest_id: UUID, cause: str) -> SubmissionCredited:
        """Give it up and its payment free."""
        self._must_be("be credited", "contested", "queued")
        if self.payment_id is None:
            msg = f"submission {self.id} was never paid for, so there is nothing to credit"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            SubmissionCredited,
            f"credited:{self.id}",
            contest_id=contest_id,
            payment_id=self.payment_id,
            cause=cause,
        )

    def supersede(self, context: Context, by: UUID) -> None:
        """The same hotkey committed again before it was contested."""
        self._must_be("be superseded", "queued")
        self.record(context, SubmissionSuperseded, f"superseded:{self.id}", by_submission_id=by)

    def find_copy(self, context: Context, original: Submission) -> None:
        """Its content belongs to ``original``; finding it twice is a no-op."""
        if self.status == "copy":
            return
        if original.commit is None or self.fingerprint is None:
            msg = f"submission {self.id} cannot be called a copy before both contents are known"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            CopyFound,
            f"copy-found:{self.id}",
            fingerprint=self.fingerprint,
            original_submission_id=original.id,
            original_hotkey=original.commit.hotkey,
        )

    # -- inside -----------------------------------------------------------------------------

    def _must_be(self, what: str, *statuses: Status) -> None:
        if self.commit is None:
            msg = f"submission {self.id} is unknown here, so it cannot {what}"
            raise DecisionRefusedError(msg)
        if self.status not in statuses:
            msg = f"submission {self.id} is {self.status}, so it cannot {what}"
            raise DecisionRefusedError(msg)

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case CommitSeen():
                self.commit = fact
            case PaymentCheckDeferred():
                self.status = "deferred"
            case SubmissionRefused():
                self.status = "refused"
            case SubmissionAccepted():
                self.status = "queued"
                self.payment_id = fact.payment_id
            case SubmissionFingerprinted():
                self.fingerprint = fact.fingerprint
            case SubmissionContested():
                self._before_contest = self.status
                self.status = "contested"
                self.contest_id = fact.contest_id
            case SubmissionRequeued():
                # A king or runner-up that was measured again in vain keeps the standing it had.
                self.status = self._before_contest
                self.failed_attempts += fact.counted
            case SubmissionScored():
                self.status = "scored"
                self.failed_attempts = 0  # those in a row count, of a king or runner-up
            case SubmissionDisqualified():
                self.status = "disqualified"
            case SubmissionCredited():
                self.status = "credited"
            case SubmissionSuperseded():
                self.status = "superseded"
            case CopyFound():
                self.status = "copy"
            case _:
                msg = f"a submission cannot take a {fact.topic}"
                raise TypeError(msg)
