"""Copies: the earliest commit owns a content; a copy loses everything, whenever it is found.

DOMAIN 1 and 5: it changes future weights and annotates past reigns, never a past vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import DepositionCause
from ledger.commands.causes import after, after_fingerprint
from ledger.commands.contests import commit_order
from ledger.decisions.contest import Contest, Holder
from ledger.decisions.submission import CommitSeen, Submission


def record_fingerprint(
    ledger: Ledger,
    submission: UUID,
    fingerprint: str,
    *,
    contest: UUID | None = None,
    holder: Holder | None = None,
) -> None:
    """Note the content fingerprint of a submission's image.

    Where it was found in a ``contest``, only the holder of its claim may say so.
    """

    def work(unit: Unit) -> None:
        if contest is not None and holder is not None:
            unit.get(Contest, contest).must_be_held_by(holder, unit.block)
        found = unit.get(Submission, submission)
        if found.commit is not None:
            unit.because(found.commit)  # which names the image that was looked into
        found.fingerprint_as(unit.context, fingerprint)

    ledger.decide(work)


def find_copies(ledger: Ledger, submissions: Sequence[UUID]) -> list[UUID]:
    """Among submissions of one fingerprint, disqualify every other hotkey's later one.

    Ids of other fingerprints, unknown contents and commits that were not accepted (yet) are
    ignored. A copy that is runner-up loses that place; one that sits on a throne is deposed and the
    runner-up follows, unless it is a copy too. Returns the copies found now.
    """

    def work(unit: Unit) -> list[UUID]:
        groups: dict[str, list[tuple[CommitSeen, Submission]]] = {}
        for identity in dict.fromkeys(submissions):
            submission = unit.get(Submission, identity)
            if submission.fingerprint and submission.commit and submission.payment_id:
                line = groups.setdefault(submission.fingerprint, [])
                line.append((submission.commit, submission))
        copies: dict[UUID, Submission] = {}
        for line in groups.values():
            line.sort(key=lambda pair: commit_order(pair[0]))
            first_commit, original = line[0]
            for commit, submission in line[1:]:
                if commit.hotkey != first_commit.hotkey and submission.status != "copy":
                    submission.find_copy(after_fingerprint(unit, submission.id), original)
                    copies[submission.id] = original
        _unseat(unit, copies)
        return list(copies)

    return ledger.decide(work)


def _unseat(unit: Unit, copies: dict[UUID, Submission]) -> None:
    """Copies (with their originals) lose their places; runners-up first, lest one succeeds."""
    arena, outer = unit.arena, unit.context
    for track, runner_up in list(arena.runners_up.items()):
        if runner_up.submission_id in copies:
            unit.context = after(unit, unit.get(Submission, runner_up.submission_id))
            arena.name_runner_up(unit.context, track, None)
    for track, king in list(arena.kings.items()):
        original = copies.get(king.submission_id)
        if original is not None:
            unit.context = after(unit, unit.get(Submission, king.submission_id))
            owner = original.commit.hotkey if original.commit else "another hotkey"
            detail = f"its content is an earlier commit of {owner}"
            arena.succeed(unit.context, track, DepositionCause.COPY, detail)
    unit.context = outer
