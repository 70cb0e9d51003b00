"""The earliest commit owns a content; a later one of another hotkey loses everything."""

from __future__ import annotations

from uuid import UUID

import pytest

from ledger.commands.copies import find_copies, record_fingerprint
from ledger.decisions.arena import KingCrowned, KingDeposed
from ledger.decisions.base import DecisionRefusedError
from ledger.queries.reigns import reigns
from ledger.queries.weights import vector_in_force
from tests.unit.ledger.scenes import Scene, commit

SAME = "sha256:same"


def mark(scene: Scene, *submissions: UUID) -> None:
    for submission in submissions:
        record_fingerprint(scene.ledger, submission, SAME)


def test_a_later_copy_that_is_king_falls_and_the_runner_up_follows(scene: Scene) -> None:
    original, copy, other = scene.submit("A"), scene.submit("B"), scene.submit("C")
    scene.contest({original: 1_100, copy: 400, other: 600})
    assert (scene.king(), scene.runner_up()) == ("B", "C")
    mark(scene, original, copy)
    assert find_copies(scene.ledger, [copy, original, other]) == [copy]
    assert (scene.king(), scene.runner_up()) == ("C", None)
    deposed = scene.facts(KingDeposed)[-1]
    assert (deposed.hotkey, deposed.cause) == ("B", "copy")
    assert deposed.causation == f"copy-found:{copy}"
    past = [row for row in scene.read(reigns) if row["hotkey"] == "B"]
    assert past[0]["annotation"] == "its content was an earlier commit of A"


def test_a_copy_that_is_runner_up_loses_that_place(scene: Scene) -> None:
    original, copy = scene.submit("A"), scene.submit("B")
    scene.contest({original: 400, copy: 600})
    mark(scene, original, copy)
    assert find_copies(scene.ledger, [original, copy]) == [copy]
    assert (scene.king(), scene.runner_up()) == ("A", None)


def test_king_and_runner_up_both_copies_leave_the_throne_without_a_reign_between(
    scene: Scene,
) -> None:
    original, first, second = scene.submit("A"), scene.submit("B"), scene.submit("C")
    scene.contest({original: 1_100, first: 400, second: 600})
    crownings = len(scene.facts(KingCrowned))
    mark(scene, original, first, second)
    assert find_copies(scene.ledger, [first, second, original]) == [first, second]
    assert (scene.king(), scene.runner_up()) == (None, None)
    assert len(scene.facts(KingCrowned)) == crownings


def test_a_hotkey_may_resubmit_its_own_content(scene: Scene) -> None:
    first, again = scene.submit("A", "a1"), scene.submit("A", "a2")
    mark(scene, first, again)
    assert find_copies(scene.ledger, [again, first]) == []
    assert (scene.status(first), scene.status(again)) == ("queued", "queued")


def test_looking_twice_finds_a_copy_once(scene: Scene) -> None:
    original, copy = scene.submit("A"), scene.submit("B")
    mark(scene, original, copy)
    assert find_copies(scene.ledger, [original, copy]) == [copy]
    before = scene.log()
    assert find_copies(scene.ledger, [original, copy]) == []
    assert scene.log() == before


def test_a_commit_that_was_never_accepted_owns_nothing(scene: Scene) -> None:
    unpaid = commit(scene.pay("A", "a"), evidence=None)
    earlier = scene.identity(unpaid, scene.block(commits=(unpaid,)))
    later = scene.submit("B")
    mark(scene, earlier, later)
    assert find_copies(scene.ledger, [earlier, later]) == []


def test_an_image_has_one_fingerprint(scene: Scene) -> None:
    submission = scene.submit("A")
    mark(scene, submission, submission)
    with pytest.raises(DecisionRefusedError, match="has fingerprint sha256:same"):
        record_fingerprint(scene.ledger, submission, "sha256:other")


def test_a_copy_changes_future_weights_and_no_past_vector(scene: Scene) -> None:
    scene.register((0, "o", None), (1, "A", None), (2, "B", None))
    original, copy = scene.submit("A"), scene.submit("B")
    scene.contest({original: 1_100, copy: 400})
    before = scene.head
    paid = scene.read(vector_in_force, at=before)
    scene.block()
    mark(scene, original, copy)
    find_copies(scene.ledger, [original, copy])
    assert scene.read(vector_in_force, at=before) == paid
    assert dict(paid.shares) == {2: 1_000_000}
    assert dict(scene.read(vector_in_force).shares) == {0: 1_000_000}
