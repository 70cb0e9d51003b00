"""What an evaluator does next: whom it takes, what it waits for, and when it stands back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from api.app import Services
from api.evaluating import (
    FAULTS_UNTIL_STANDING_BACK,
    Attempted,
    Evaluator,
    Waiting,
    copy_finder,
)
from api.settings import Settings
from evaluation.contest import ContestOutcome
from evaluation.desk import ContestDesk
from evaluation.evidence import EvidenceStore
from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, PlanError
from evaluation.reference import tokenizer
from evaluation.runners.port import ImageFacts, InfrastructureFaultError, Runner
from ledger.codes import InfrastructureCause, VoidCause
from ledger.commands.arena import pause
from ledger.commands.contests import UNCOUNTED, void_contest
from ledger.decisions.contest import ContestPlanned, EvidenceSealed, Holder
from ledger.decisions.submission import SubmissionFingerprinted, SubmissionRequeued
from ledger.observations import AlertRaised
from ledger.policy import PolicyError
from tests.contract.stores import quick_engine
from tests.unit.evaluation.test_contest_desk import NoMachine, outcome_of
from tests.unit.ledger.scenes import TRACK, Scene, policy

OURS, THEIRS = Holder("ours/0", "a"), Holder("theirs/0", "b")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    found = Scene(engine, rules=policy(max_attempts=3))
    found.register(*((uid, hotkey, None) for uid, hotkey in enumerate("ABCD")))
    yield found
    engine.dispose()


def completed(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
    return outcome_of(plan, store)


def void_by(cause: VoidCause) -> Any:
    def run(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        return ContestOutcome(
            contest_id=plan.contest_id,
            status="void",
            seed=1,
            prompts_digest="",
            void_cause=cause,
            detail="it broke",
        )

    return run


def evaluator(
    scene: Scene, folder: Path, run: Any = completed, holder: Holder = OURS, **more: Any
) -> Evaluator:
    services = Services(Settings(), scene.engine)
    said: list[str] = []
    desk = ContestDesk(
        scene.ledger,
        cast("Runner", NoMachine()),
        EvidenceStore(folder / "evidence"),
        tokenizer=tokenizer,
        holder=holder,
        model_dir=folder,
        run=run,
    )
    return Evaluator(
        services,
        "test",
        14,
        scene.ledger,
        desk,
        holder,
        say=said.append,
        wait=lambda _: None,
        **more,
    )


def entrants(scene: Scene) -> list[list[str]]:
    return [[one.hotkey for one in fact.entrants] for fact in scene.facts(ContestPlanned)]


def test_nothing_is_done_where_nobody_waits_or_evaluation_is_paused(
    scene: Scene, tmp_path: Path
) -> None:
    own = evaluator(scene, tmp_path)
    assert own.step(TRACK) == Waiting("no submission waits")
    scene.submit("A")
    scene.block()
    pause(scene.ledger, "evaluation", reason="exploit", actor="op")
    assert own.step(TRACK) == Waiting("evaluation is paused")
    assert entrants(scene) == []


def test_it_waits_for_a_block_after_the_commits_and_after_the_last_seed(
    scene: Scene, tmp_path: Path
) -> None:
    own = evaluator(scene, tmp_path, void_by(VoidCause.INTERRUPTED))
    scene.submit("A")
    waiting = own.step(TRACK)
    assert isinstance(waiting, Waiting)
    assert waiting.for_a_block
    scene.block()
    assert isinstance(own.step(TRACK), Attempted)
    waiting = own.step(TRACK)
    assert isinstance(waiting, Waiting)
    assert waiting.for_a_block
    scene.block()
    assert isinstance(own.step(TRACK), Attempted)
    assert [attempt.attempt for attempt in own.attempts] == [1, 2]


def test_the_first_hotkeys_of_the_line_run_each_with_its_latest_commit(
    scene: Scene, tmp_path: Path
) -> None:
    old, other, new = scene.submit("A", "a1"), scene.submit("B"), scene.submit("A", "a2")
    third = scene.submit("C")
    scene.block()
    evaluator(scene, tmp_path, max_challengers=2).step(TRACK)
    assert entrants(scene) == [["B", "A"]]
    statuses = [scene.status(one) for one in (old, other, new, third)]
    assert statuses == ["superseded", "scored", "scored", "queued"]
    scene.block()
    evaluator(scene, tmp_path).step(TRACK)
    assert entrants(scene)[1][-1] == "C"


def test_every_track_of_the_policy_is_looked_at(tmp_path: Path) -> None:
    engine = quick_engine(tmp_path)
    scene = Scene(engine, rules=policy(tracks=("one", "two")))
    looked = []

    class Looking(Evaluator):
        def step(self, track: str) -> Waiting:
            looked.append(track)
            return Waiting("no submission waits")

    own = evaluator(scene, tmp_path)
    Looking(
        own.services, "test", 14, scene.ledger, own.desk, OURS, say=own.say, wait=own.wait
    ).once()
    assert looked == ["one", "two"]
    engine.dispose()


def test_what_a_verdict_rests_on_is_in_the_log(scene: Scene, tmp_path: Path) -> None:
    scene.submit("A")
    scene.block()
    evaluator(scene, tmp_path).step(TRACK)
    (sealed,) = scene.facts(EvidenceSealed)
    assert sealed.policy_digest == scene.rules.digest()
    assert ("runner", "none") in sealed.host
    assert [arm.role for arm in sealed.arms] == ["baseline", "challenger"]
    assert b'"cacheon-contest-evidence/1"' in EvidenceStore(tmp_path / "evidence").get(
        sealed.manifest_digest
    )


@pytest.mark.parametrize("cause", list(VoidCause))
def test_only_what_the_track_is_judged_by_counts_when_a_round_is_void(
    scene: Scene, tmp_path: Path, cause: VoidCause
) -> None:
    scene.submit("A")
    scene.block()
    evaluator(scene, tmp_path, void_by(cause)).step(TRACK)
    (requeued,) = scene.facts(SubmissionRequeued)
    counts = cause in {VoidCause.BASELINE_FAILED, VoidCause.SCORING_FAILED}
    assert requeued.counted is counts is (cause.value not in UNCOUNTED)


@pytest.mark.parametrize("cause", [VoidCause.BASELINE_FAILED, VoidCause.HOST_FAILED])
def test_a_host_that_always_fails_stands_back_before_it_credits_anybody(
    scene: Scene, tmp_path: Path, cause: VoidCause
) -> None:
    waiting = scene.submit("A")
    own = evaluator(scene, tmp_path, void_by(cause))
    for _ in range(6):
        scene.block()
        own.step(TRACK)
    assert len(own.attempts) == 2
    assert scene.status(waiting) == "queued"
    assert {alert.kind for alert in scene.facts(AlertRaised)} == {"evaluation_failing"}
    again = evaluator(scene, tmp_path, void_by(cause))  # a restart forgets nothing
    assert isinstance(again.step(TRACK), Waiting)
    theirs = evaluator(scene, tmp_path, holder=THEIRS)
    assert isinstance(theirs.step(TRACK), Attempted)
    assert scene.king() == "A"


def test_the_operator_may_let_a_mended_host_try_again(scene: Scene, tmp_path: Path) -> None:
    scene.submit("A")
    own = evaluator(scene, tmp_path, void_by(VoidCause.DRIFTED))
    for _ in range(3):
        scene.block()
        own.step(TRACK)
    mended = evaluator(scene, tmp_path)
    assert isinstance(mended.step(TRACK), Waiting)
    mended.forgive()
    assert isinstance(mended.step(TRACK), Attempted)
    assert scene.king() == "A"


def test_a_contest_of_another_worker_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    scene.submit("A")
    seed_block = scene.block()

    def meanwhile(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        scene.block()
        other = evaluator(scene, tmp_path, holder=THEIRS).step(TRACK)
        assert isinstance(other, Waiting)  # all of it is contested
        assert "1 entrants is open, claimed by ours/0 until block" in other.why
        scene.submit("B")
        scene.block()
        held = evaluator(scene, tmp_path, holder=THEIRS).step(TRACK)
        assert isinstance(held, Waiting)
        assert "claimed by ours/0" in held.why
        return outcome_of(plan, store)

    done = evaluator(scene, tmp_path, meanwhile).step(TRACK)
    assert isinstance(done, Attempted)
    assert (done.status, done.seed_block) == ("completed", seed_block)


def test_a_lost_claim_is_told_and_nothing_is_recorded(scene: Scene, tmp_path: Path) -> None:
    scene.submit("A")
    scene.block()

    def voided(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        contest = UUID(plan.contest_id)
        void_contest(scene.ledger, contest, cause=VoidCause.INTERRUPTED, detail="x", holder=OURS)
        return outcome_of(plan, store)

    done = evaluator(scene, tmp_path, voided).step(TRACK)
    assert isinstance(done, Attempted)
    assert (done.status, "is void" in done.detail) == ("lost", True)
    assert scene.king() is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect")])
def test_an_attempt_that_is_ended_early_is_in_the_report(
    scene: Scene, tmp_path: Path, error: BaseException
) -> None:
    scene.submit("A")
    scene.block()

    def ended(*_: object, **__: object) -> ContestOutcome:
        raise error

    own = evaluator(scene, tmp_path, ended)
    with pytest.raises(type(error)):
        own.once()
    (attempt,) = own.attempts
    cause = "interrupted" if isinstance(error, KeyboardInterrupt) else "host_failed"
    assert (attempt.status, attempt.void_cause, attempt.entrants) == ("void", cause, 1)


@pytest.mark.parametrize("planned", [False, True])
def test_what_is_refused_on_one_track_holds_up_no_other_and_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: bool
) -> None:
    engine = quick_engine(tmp_path)
    scene = Scene(engine, rules=policy(max_attempts=3, tracks=("broken", TRACK)))
    scene.register((0, "A", None), (1, "B", None))
    scene.submit("A")  # goes to the first track
    scene.block()
    turns: list[int] = []

    def refused(*_: object, **__: object) -> ContestOutcome:
        msg = "the prompts cannot be had"
        raise PlanError(msg)

    def wait(_: float) -> None:
        turns.append(1)
        scene.block()
        if len(turns) == 5:
            raise KeyboardInterrupt

    own = evaluator(scene, tmp_path, refused)
    own.wait = wait
    if not planned:
        own.desk.run = refused  # type: ignore[method-assign]  # refused before anything is planned
    looked: list[str] = []
    step = Evaluator.step

    def spied(self: Evaluator, track: str) -> Attempted | Waiting:
        looked.append(track)
        return step(self, track)

    monkeypatch.setattr(Evaluator, "step", spied)
    with pytest.raises(KeyboardInterrupt):
        own.follow()
    assert looked[:2] == ["broken", TRACK]
    assert len(scene.facts(ContestPlanned)) == (FAULTS_UNTIL_STANDING_BACK if planned else 0)
    assert len(scene.facts(AlertRaised)) == planned
    engine.dispose()


def test_a_track_that_the_policy_does_not_have_is_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no track 'nosuch'"):
        evaluator(scene, tmp_path, tracks=[TRACK, "nosuch"]).once()
    assert scene.facts(ContestPlanned) == []


def test_a_machine_that_cannot_be_swept_runs_nothing_and_is_asked_again(
    scene: Scene, tmp_path: Path
) -> None:
    scene.submit("A")
    scene.block()
    asked: list[int] = []

    def sweep() -> list[str]:
        asked.append(1)
        if len(asked) < 3:
            raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, "no engine")
        return ["a container"]

    def wait(_: float) -> None:
        if scene.king() is not None:
            raise KeyboardInterrupt

    own = evaluator(scene, tmp_path, sweep=sweep)
    own.wait = wait
    with pytest.raises(KeyboardInterrupt):
        own.follow()
    assert scene.king() == "A"


def test_a_copy_is_found_when_its_image_is_first_had_and_loses_the_crown(
    scene: Scene, tmp_path: Path
) -> None:
    """The copy is crowned while the original still waits for its turn."""
    original, copy = scene.submit("A"), scene.submit("B")
    scene.block()
    services = Services(Settings(), scene.engine)

    class Alike(NoMachine):
        def prepare(self, image: ImageRef, timeout_s: float) -> ImageFacts:
            return ImageFacts(image=str(image), fingerprint="sha256:" + "5a" * 32)

    def run(plan: ContestPlan, runner: Any, store: Any, **__: object) -> ContestOutcome:
        with runner.stage(plan.contest_id, plan.policy.contest.limits) as stage:
            for entrant in plan.entrants:
                stage.prepare(entrant.image, 1)
        return outcome_of(plan, store)

    desk = ContestDesk(
        scene.ledger,
        cast("Runner", Alike()),
        EvidenceStore(tmp_path / "evidence"),
        tokenizer=tokenizer,
        holder=OURS,
        model_dir=tmp_path,
        run=run,
        on_fingerprint=copy_finder(services, "test", 14, lambda _: None),
    )
    desk.run(TRACK, [copy], seed_block=scene.head)
    assert scene.king() == "B"
    scene.block()
    desk.run(TRACK, [original], seed_block=scene.head)
    assert (scene.king(), scene.status(copy)) == ("A", "copy")
    found = {fact.fingerprint for fact in scene.facts(SubmissionFingerprinted)}
    assert found == {"sha256:" + "5a" * 32}
