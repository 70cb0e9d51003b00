"""The desk: whose open contests it may void, and how what it records follows one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from evaluation import desk as module
from evaluation.contest import BaselineFigures, ContestOutcome
from evaluation.desk import ContestDesk
from evaluation.evidence import EvidenceStore
from evaluation.images import ImageRef
from evaluation.judge import EntrantVerdict
from evaluation.plan import ContestPlan
from evaluation.reference import tokenizer
from evaluation.runners.port import InfrastructureFaultError, Runner
from ledger.codes import InfrastructureCause
from ledger.commands.contests import CLAIM_BLOCKS, plan_contest
from ledger.contest_policy import ServerLimits
from ledger.decisions.contest import Contest, ContestVoided
from ledger.queries.why import why
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import TRACK, Scene


class NoMachine:
    """A runner without a machine: nothing is launched, no image can be had."""

    @contextmanager
    def stage(self, contest_id: str, limits: ServerLimits) -> Iterator[NoMachine]:
        yield self

    def prepare(self, image: ImageRef, timeout_s: float) -> Any:
        raise InfrastructureFaultError(InfrastructureCause.PULL_FAILED, f"no registry for {image}")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    yield Scene(engine)
    engine.dispose()


def desk_of(scene: Scene, host: str, folder: Path) -> ContestDesk:
    return ContestDesk(
        scene.ledger,
        cast("Runner", NoMachine()),
        EvidenceStore(folder / "evidence"),
        tokenizer=tokenizer,
        host=host,
        model_dir=folder,
    )


def claimed(scene: Scene, host: str | None, hotkey: str) -> UUID:
    submission = scene.submit(hotkey)
    return plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[submission],
        seed_block=scene.block(),
        attempt=1,
        host=host,
    )


def ended(scene: Scene, contest: UUID) -> str | None:
    return scene.ledger.load(Contest, contest).ended


def test_recovering_leaves_what_another_host_claims_until_its_claim_ends(
    scene: Scene, tmp_path: Path
) -> None:
    theirs, ours = claimed(scene, "theirs", "A"), claimed(scene, "ours", "B")
    unclaimed = claimed(scene, None, "C")
    desk = desk_of(scene, "ours", tmp_path)
    desk.recover([theirs, ours, unclaimed])
    assert [ended(scene, one) for one in (theirs, ours, unclaimed)] == [None, "void", "void"]
    assert {fact.cause for fact in scene.facts(ContestVoided)} == {"interrupted"}

    claim = scene.ledger.load(Contest, theirs).claim
    assert claim is not None
    while scene.head < claim.until_block:
        scene.block()
    desk.recover([theirs])
    assert ended(scene, theirs) is None  # the last block of the claim is still theirs
    scene.block()
    desk.recover([theirs])
    assert ended(scene, theirs) == "void"
    assert claim.until_block - claim.effective_block == CLAIM_BLOCKS


def test_what_the_desk_records_of_a_contest_follows_one_another_back_to_its_plan(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's part is replaced: two entrants measured, without servers."""

    def measured(plan: ContestPlan, *_: object, **__: object) -> ContestOutcome:
        return ContestOutcome(
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

    monkeypatch.setattr(module, "run_contest", measured)
    submissions = [scene.submit("A"), scene.submit("B")]
    seed_block = scene.block()
    desk = desk_of(scene, "ours", tmp_path)
    desk.run(TRACK, submissions, seed_block=seed_block, attempt=1)
    crown = scene.arena.kings[TRACK]
    assert crown.hotkey == "A"
    chain = scene.read(why, f"contest-judged:{crown.contest_id}")
    assert [fact.topic for fact in chain[:6]] == [
        "contest.judged.v1",
        *["contest.entrant_measured.v1"] * 2,
        "contest.baseline_measured.v1",
        "contest.claimed.v1",
        "contest.planned.v1",
    ]
    assert chain[6].fact_key == f"accepted:{submissions[0]}"
