"""The desk: whose open contests it may void, and how what it records follows one another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from evaluation.conditions import Conditions
from evaluation.contest import BaselineFigures, ContestOutcome
from evaluation.desk import ContestDesk
from evaluation.evidence import Evidence, EvidenceStore
from evaluation.host import host_facts
from evaluation.images import ImageRef
from evaluation.judge import EntrantVerdict
from evaluation.manifest import BaselineEvidence, ContestEvidence, spelled_part
from evaluation.plan import ContestPlan
from evaluation.reference import tokenizer
from evaluation.runners.port import InfrastructureFaultError, Runner
from ledger.codes import InfrastructureCause, VoidCause
from ledger.commands.arena import pause
from ledger.commands.contests import (
    CLAIM_BLOCKS,
    RENEW_BELOW_BLOCKS,
    plan_contest,
    void_contest,
)
from ledger.contest_policy import ServerLimits
from ledger.decisions.contest import ClaimLostError, Contest, ContestClaimed, ContestVoided, Holder
from ledger.queries.why import why
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import TRACK, Scene


class NoMachine:
    """A runner without a machine: nothing is launched, no image can be had."""

    @contextmanager
    def stage(self, contest_id: str, limits: ServerLimits, servers: int = 1) -> Iterator[NoMachine]:
        yield self

    def facts(self) -> dict[str, str]:
        return {"runner": "none"}

    def prepare(self, image: ImageRef, timeout_s: float) -> Any:
        raise InfrastructureFaultError(InfrastructureCause.PULL_FAILED, f"no registry for {image}")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    yield Scene(engine)
    engine.dispose()


OURS = Holder("ours/0", "living")
EARLIER = Holder("ours/0", "dead")
THEIRS = Holder("theirs/0", "living")


def desk_of(scene: Scene, folder: Path, **more: Any) -> ContestDesk:
    return ContestDesk(
        scene.ledger,
        cast("Runner", NoMachine()),
        EvidenceStore(folder / "evidence"),
        tokenizer=tokenizer,
        holder=OURS,
        model_dir=folder,
        dead=[EARLIER],
        **more,
    )


def claimed(scene: Scene, holder: Holder | None) -> UUID:
    return plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[scene.submit("A")],
        seed_block=scene.block(),
        holder=holder,
    )


def ended(scene: Scene, contest: UUID) -> str | None:
    return scene.ledger.load(Contest, contest).ended


@pytest.mark.parametrize("holder", [EARLIER, None])
def test_recovering_voids_at_once_what_a_dead_run_of_this_worker_or_nobody_holds(
    scene: Scene, tmp_path: Path, holder: Holder | None
) -> None:
    contest = claimed(scene, holder)
    assert desk_of(scene, tmp_path).recover([contest]) == [contest]
    assert ended(scene, contest) == "void"
    assert {fact.cause for fact in scene.facts(ContestVoided)} == {"interrupted"}


@pytest.mark.parametrize("holder", [THEIRS, Holder("ours/0", "of another state folder")])
def test_recovering_leaves_what_another_worker_claims_until_its_claim_ends(
    scene: Scene, tmp_path: Path, holder: Holder
) -> None:
    contest = claimed(scene, holder)
    desk = desk_of(scene, tmp_path)
    claim = scene.ledger.load(Contest, contest).claim
    assert claim is not None
    assert claim.until_block - claim.effective_block == CLAIM_BLOCKS
    while scene.head < claim.until_block:
        scene.block()
    assert desk.recover([contest]) == []  # the last block of the claim is still theirs
    scene.block()
    assert desk.recover([contest]) == [contest]
    assert ended(scene, contest) == "void"


def outcome_of(plan: ContestPlan, store: Evidence) -> ContestOutcome:
    """The machine's part: every entrant measured, without servers; its manifest is stored."""
    outcome = ContestOutcome(
        contest_id=plan.contest_id,
        status="completed",
        seed=1,
        prompts_digest="sha256:00",
        baseline=BaselineFigures(ttft_us=(100,) * 2, e2e_us=(1_000,) * 2, tokens=(8,) * 2),
        verdicts=tuple(
            EntrantVerdict(
                entrant_id=entrant.entrant_id,
                status="scored",
                code="",
                detail="",
                log_tail="",
                baseline_ttft_us=(100,) * 2,
                baseline_e2e_us=(1_000,) * 2,
                baseline_tokens=(8,) * 2,
                ttft_us=(50,) * 2,
                e2e_us=(400 + place,) * 2,
                tokens=(8,) * 2,
            )
            for place, entrant in enumerate(plan.entrants)
        ),
    )
    baseline = BaselineEvidence(
        contest_id=plan.contest_id,
        prompts_digest="sha256:00",
        before=(),
        after=(),
        records=(),
        log_tail="",
    )
    manifest = ContestEvidence(
        plan=plan,
        policy_digest="sha256:00",
        seed=1,
        prompts_digest="sha256:00",
        prompts_evidence="",
        baseline_evidence=store.put(spelled_part(baseline)),
        entrants=(),
        conditions=Conditions(),
        runner={"runner": "none"},
        client="nobody",
        host_before=host_facts(),
        host_after=host_facts(),
        outcome=outcome,
    )
    return msgspec.structs.replace(outcome, manifest_digest=store.put(spelled_part(manifest)))


def test_what_the_desk_records_of_a_contest_follows_one_another_back_to_its_plan(
    scene: Scene, tmp_path: Path
) -> None:
    submissions = [scene.submit("A"), scene.submit("B")]
    seed_block = scene.block()
    desk = desk_of(scene, tmp_path, run=lambda plan, _, store, **__: outcome_of(plan, store))
    desk.run(TRACK, submissions, seed_block=seed_block)
    crown = scene.arena.kings[TRACK]
    assert crown.hotkey == "A"
    chain = scene.read(why, f"contest-judged:{crown.contest_id}")
    assert [fact.topic for fact in chain[:7]] == [
        "contest.judged.v1",
        "contest.evidence_sealed.v1",
        *["contest.entrant_measured.v1"] * 2,
        "contest.baseline_measured.v1",
        "contest.claimed.v2",
        "contest.planned.v1",
    ]
    assert chain[7].fact_key == f"accepted:{submissions[0]}"


def test_a_claim_is_prolonged_while_a_contest_runs_longer_than_it_lasts(
    scene: Scene, tmp_path: Path
) -> None:
    submission, seed_block = scene.submit("A"), scene.block()

    def slow(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        for _block in range(CLAIM_BLOCKS * 2):
            scene.block()
            until = scene.ledger.load(Contest, UUID(plan.contest_id)).claim
            deadline = time.monotonic() + 60
            while until is not None and until.until_block < scene.head + RENEW_BELOW_BLOCKS:
                assert time.monotonic() < deadline, "the claim was not prolonged"
                time.sleep(0.001)
                until = scene.ledger.load(Contest, UUID(plan.contest_id)).claim
        return outcome_of(plan, store)

    desk_of(scene, tmp_path, run=slow, claim_look_s=0.001).run(
        TRACK, [submission], seed_block=seed_block
    )
    assert scene.king() == "A"
    claims = scene.facts(ContestClaimed)
    assert len(claims) > 1
    assert {(fact.worker, fact.session) for fact in claims} == {("ours/0", "living")}


def test_a_worker_that_is_told_of_its_lost_claim_ends_the_run(scene: Scene, tmp_path: Path) -> None:
    submission, seed_block = scene.submit("A"), scene.block()
    before: list[int] = []

    def overtaken(plan: ContestPlan, _: object, store: Any, **kept: Any) -> ContestOutcome:
        assert kept["should_stop"]() is None
        contest = UUID(plan.contest_id)
        void_contest(scene.ledger, contest, cause=VoidCause.INTERRUPTED, detail="x", holder=OURS)
        deadline = time.monotonic() + 60
        while kept["should_stop"]() is not VoidCause.INTERRUPTED:
            assert time.monotonic() < deadline, "the loss was not noticed"
            time.sleep(0.001)
        before.append(len(scene.log()))
        return outcome_of(plan, store)

    desk = desk_of(scene, tmp_path, run=overtaken, claim_look_s=0.001)
    with pytest.raises(ClaimLostError, match="is void"):
        desk.run(TRACK, [submission], seed_block=seed_block)
    assert [len(scene.log())] == before


@pytest.mark.parametrize("voided", [False, True])
def test_what_a_worker_brings_after_its_claim_ran_out_is_not_recorded(
    scene: Scene, tmp_path: Path, voided: bool
) -> None:
    submission, seed_block = scene.submit("A"), scene.block()
    before: list[int] = []

    def too_late(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        for _block in range(CLAIM_BLOCKS + 1):
            scene.block()
        if voided:
            contest = UUID(plan.contest_id)
            void_contest(scene.ledger, contest, cause=VoidCause.INTERRUPTED, detail="x")
        before.append(len(scene.log()))
        return outcome_of(plan, store)

    desk = desk_of(scene, tmp_path, run=too_late, claim_look_s=3_600)
    with pytest.raises(ClaimLostError, match="is void" if voided else "ended at block"):
        desk.run(TRACK, [submission], seed_block=seed_block)
    assert [len(scene.log())] == before
    assert scene.king() is None


def test_a_run_over_which_evaluation_was_paused_is_told_as_the_void_it_is(
    scene: Scene, tmp_path: Path
) -> None:
    submission, seed_block = scene.submit("A"), scene.block()

    def paused_at_the_end(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        outcome = outcome_of(plan, store)
        pause(scene.ledger, "evaluation", reason="exploit", actor="op")
        return outcome

    told = desk_of(scene, tmp_path, run=paused_at_the_end).run(
        TRACK, [submission], seed_block=seed_block
    )
    assert (told.status, told.void_cause) == ("void", VoidCause.EVALUATION_PAUSED)
    assert told.detail == scene.facts(ContestVoided)[0].detail


def test_nothing_is_planned_where_evidence_cannot_be_kept(scene: Scene, tmp_path: Path) -> None:
    submission, seed_block = scene.submit("A"), scene.block()
    (tmp_path / "evidence").write_text("a file in the folder's place")
    before = scene.log()
    with pytest.raises(InfrastructureFaultError, match="evidence cannot be stored"):
        desk_of(scene, tmp_path).run(TRACK, [submission], seed_block=seed_block)
    assert scene.log() == before


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "told to stop"),
        (OSError(2, "No such file or directory", "/srv/secret"), "No such file or directory"),
        (RuntimeError("postgresql://me:s3cret@/srv/secret"), "RuntimeError"),
    ],
)
def test_whatever_ends_a_run_early_leaves_the_attempt_void_and_tells_no_path_of_ours(
    scene: Scene, tmp_path: Path, error: BaseException, told: str
) -> None:
    submission, seed_block = scene.submit("A"), scene.block()

    def broken(*_: object, **__: object) -> ContestOutcome:
        raise error

    with pytest.raises(type(error)):
        desk_of(scene, tmp_path, run=broken).run(TRACK, [submission], seed_block=seed_block)
    (voided,) = scene.facts(ContestVoided)
    stopped = isinstance(error, KeyboardInterrupt)
    assert voided.cause == ("interrupted" if stopped else "host_failed")
    assert told in voided.detail
    assert "/srv" not in voided.detail
    assert scene.status(submission) == "queued"
