"""The `submissions` view: state, verdict and reasons of every commit."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, Text

from ledger.decisions.submission import (
    CommitSeen,
    CopyFound,
    PaymentCheckDeferred,
    SubmissionAccepted,
    SubmissionContested,
    SubmissionCredited,
    SubmissionDisqualified,
    SubmissionFingerprinted,
    SubmissionRefused,
    SubmissionRequeued,
    SubmissionScored,
    SubmissionSuperseded,
)
from ledger.facts import Fact
from ledger.observations import SealedCommitSeen
from ledger.projections.rows import Rows
from ledger.projections.tables import appended, versioned

submissions: Final = versioned(
    "submissions",
    [Column("submission_id", Text, primary_key=True)],
    [
        Column("track", Text, nullable=False),
        Column("hotkey", Text, nullable=False),
        Column("coldkey", Text),
        Column("uid", Integer),
        Column("form", Text, nullable=False),
        Column("block", BigInteger, nullable=False),
        Column("block_hash", Text, nullable=False),
        Column("place", Integer, nullable=False),
        Column("nth", Integer, nullable=False),
        Column("image", Text),
        Column("digest", Text),
        Column("payment_tx", Text),
        Column("payment_block", Text),
        Column("accepted", Boolean),  # None until the payment was judged
        Column("status", Text, nullable=False),
        Column("codes", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("payment_id", Text),
        Column("fee_rao", BigInteger),
        Column("overpaid_rao", BigInteger),
        Column("by_credit", Boolean),
        Column("fingerprint", Text),
        Column("contest_id", Text),
        Column("attempts", Integer, nullable=False),
        Column("score_ppm", BigInteger),
        Column("log_tail", Text),
        Column("evidence_digest", Text),
        Column("changed_at_block", BigInteger, nullable=False),
        Column("before_contest", Text),
    ],
    indexed=(("fingerprint",),),
)

sealed: Final = appended(
    "submissions_sealed",
    Column("block", BigInteger, nullable=False),
    Column("hotkey", Text, nullable=False),
    Column("coldkey", Text),
    Column("uid", Integer),
    Column("place", Integer, nullable=False),
    Column("nth", Integer, nullable=False),
    Column("extrinsic_hash", Text),
    Column("reveal_round", BigInteger),
    Column("succeeded", Boolean, nullable=False),
)
"""Every timelocked commitment as it was made; what became of it shows beside the others.

Anybody may name any round of 64 bits: one from 2^63 on shows as 2^63 - 1, far beyond all others.
"""


def _codes(*codes: str) -> str:
    return msgspec.json.encode(codes).decode()


class SubmissionsProjection:
    """Folds every commit's path."""

    name = "submissions"
    tables = (submissions, sealed)
    knows: tuple[type[Fact], ...] = (
        CommitSeen,
        CopyFound,
        PaymentCheckDeferred,
        SealedCommitSeen,
        SubmissionAccepted,
        SubmissionContested,
        SubmissionCredited,
        SubmissionDisqualified,
        SubmissionFingerprinted,
        SubmissionRefused,
        SubmissionRequeued,
        SubmissionScored,
        SubmissionSuperseded,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        if isinstance(fact, CommitSeen):
            _begin(rows, position, fact)
            return
        if isinstance(fact, SealedCommitSeen):
            _seal(rows, position, fact)
            return
        changes = _changes(rows, fact)
        if changes:
            rows.put(
                submissions,
                position,
                str(fact.originator_id),
                changed_at_block=fact.effective_block,
                **changes,
            )


def _begin(rows: Rows, position: int, fact: CommitSeen) -> None:
    rows.put_new(
        submissions,
        position,
        str(fact.originator_id),
        track=fact.track,
        hotkey=fact.hotkey,
        coldkey=fact.coldkey,
        uid=fact.uid,
        form=fact.form,
        block=fact.block,
        block_hash=fact.block_hash,
        place=fact.index,
        nth=fact.nth,
        image=fact.image,
        digest=fact.digest,
        payment_tx=fact.payment_tx,
        payment_block=fact.payment_block,
        status="known",
        codes=_codes(),
        detail="",
        attempts=0,
        changed_at_block=fact.effective_block,
    )


def _seal(rows: Rows, position: int, fact: SealedCommitSeen) -> None:
    rows.append(
        sealed,
        position,
        block=fact.block,
        hotkey=fact.hotkey,
        coldkey=fact.coldkey,
        uid=fact.uid,
        place=fact.extrinsic_index,
        nth=fact.nth,
        extrinsic_hash=fact.extrinsic_hash,
        reveal_round=fact.reveal_round,
        succeeded=fact.succeeded,
    )


def _changes(rows: Rows, fact: Fact) -> dict[str, object]:  # noqa: PLR0911  one per event
    match fact:
        case PaymentCheckDeferred():
            return {"status": "deferred", "detail": fact.reason}
        case SubmissionRefused():
            return {
                "accepted": False,
                "status": "refused",
                "codes": _codes(*fact.codes),
                "detail": fact.detail,
            }
        case SubmissionAccepted():
            return {
                "accepted": True,
                "status": "queued",
                "detail": "",
                "payment_id": str(fact.payment_id),
                "fee_rao": fact.fee_rao,
                "overpaid_rao": fact.overpaid_rao,
                "by_credit": fact.by_credit,
            }
        case SubmissionFingerprinted():
            return {"fingerprint": fact.fingerprint}
        case SubmissionContested():
            before = rows.get(submissions, str(fact.originator_id)) or {}
            return {
                "status": "contested",
                "before_contest": before.get("status"),
                "contest_id": str(fact.contest_id),
                "attempts": before.get("attempts", 0) + 1,
            }
        case SubmissionRequeued():
            before = rows.get(submissions, str(fact.originator_id)) or {}
            status = before.get("before_contest") or "queued"
            # A king or runner-up stands as it stood; only who waits again wants to know why.
            detail = f"{fact.cause}: {fact.detail}" if status == "queued" else ""
            return {"status": status, "detail": detail}
        case SubmissionScored():
            return {"status": "scored", "score_ppm": fact.score_ppm, "detail": ""}
        case SubmissionDisqualified():
            return {
                "status": "disqualified",
                "score_ppm": 0,
                "codes": _codes(fact.code),
                "detail": fact.detail,
                "log_tail": fact.log_tail,
                "evidence_digest": fact.evidence_digest,
            }
        case SubmissionCredited():
            return {"status": "credited", "detail": fact.cause}
        case SubmissionSuperseded():
            return {"status": "superseded", "detail": f"by {fact.by_submission_id}"}
        case CopyFound():
            return {
                "status": "copy",
                "codes": _codes("copy"),
                "detail": f"its content is an earlier commit of {fact.original_hotkey}",
            }
        case _:
            return {}  # not a fact of this view
