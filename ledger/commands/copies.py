"""Copies: the earliest commit owns a content; a copy loses everything, whenever it is found.

DOMAIN 1 and 5: it changes future weights and annotates past reigns, never a past vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.codes import DepositionCause
from ledger.commands.contests import commit_order
from ledger.decisions.submission import CommitSeen, Submission


def record_fingerprint(ledger: Ledger, submission: UUID, fingerprint: str) -> None:
    """Note the content fingerprint of a submission's image."""

    def work(unit: Unit) -> None:
        unit.get(Submission, submission).fingerprint_as(unit.context, fingerprint)

    ledger.decide(work)


def find_copies(ledger: Ledger, submissions: Sequence[UUID]) -> list[UUID]:
    """Among submissions of one fingerprint, disqualify every other hotkey's later one.

    Ids of other fingerprints, refused commits and unknown contents are ignored. A copy that sits on
    a throne is deposed and the runner-up follows; as runner-up it loses that place. Returns the
    copies found now.
    """

    def work(unit: Unit) -> list[UUID]:
        groups: dict[str, list[tuple[CommitSeen, Submission]]] = {}
        for identity in dict.fromkeys(submissions):
            submission = unit.get(Submission, identity)
            if submission.fingerprint and submission.commit and submission.status != "refused":
                line = groups.setdefault(submission.fingerprint, [])
                line.append((submission.commit, submission))
        copies = []
        for line in groups.values():
            line.sort(key=lambda pair: commit_order(pair[0]))
            first_commit, original = line[0]
            for commit, submission in line[1:]:
                if commit.hotkey != first_commit.hotkey and submission.status != "copy":
                    _condemn(unit, submission, original)
                    copies.append(submission.id)
        return copies

    return ledger.decide(work)


def _condemn(unit: Unit, copy: Submission, original: Submission) -> None:
    copy.find_copy(unit.context, original)
    outer = unit.context
    if copy.last is not None:
        unit.because(copy.last)
    arena = unit.arena
    for track, runner_up in list(arena.runners_up.items()):
        if runner_up.submission_id == copy.id:
            arena.name_runner_up(unit.context, track, None)
    for track, king in list(arena.kings.items()):
        if king.submission_id == copy.id:
            owner = original.commit.hotkey if original.commit else "another hotkey"
            detail = f"its content is an earlier commit of {owner}"
            arena.succeed(unit.context, track, DepositionCause.COPY, detail)
    unit.context = outer
