"""Two evaluator processes: a worker that lost its claim records nothing, and one planner wins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import Engine

from evaluation.contest import ContestOutcome
from evaluation.desk import ContestDesk
from evaluation.evidence import EvidenceStore
from evaluation.plan import ContestPlan
from evaluation.reference import tokenizer
from evaluation.runners.port import Runner
from ledger.application import Ledger
from ledger.commands.contests import CLAIM_BLOCKS
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import (
    ClaimHeldError,
    ClaimLostError,
    Contest,
    ContestClaimed,
    ContestJudged,
    ContestPlanned,
    ContestVoided,
    EntrantMeasured,
    Holder,
)
from ledger.observations import FactConflictSeen
from ledger.store.database import open_engine
from tests.contract.stores import SHARED_STORES, migrated_url
from tests.faults.processes import barrier, ended, pipe, received, start
from tests.unit.evaluation.test_contest_desk import NoMachine, outcome_of
from tests.unit.ledger.scenes import ARENA, TRACK, Scene

PLANNERS = 4


@pytest.fixture(params=SHARED_STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return migrated_url(request.param, tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    found = open_engine(url)
    yield found
    found.dispose()


def _desk(ledger: Ledger, folder: Path, worker: str, run: Any, **more: Any) -> ContestDesk:
    return ContestDesk(
        ledger,
        cast("Runner", NoMachine()),
        EvidenceStore(folder),
        tokenizer=tokenizer,
        holder=Holder(worker, f"session of {worker}"),
        model_dir=folder,
        run=run,
        **more,
    )


def _slow_worker(
    url: str, folder: str, submission: UUID, seed_block: int, begun: Any, go_on: Any, done: Any
) -> None:
    """A worker that stands still in the middle of its contest, longer than its claim lasts."""

    def run(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        begun.send(plan.contest_id)
        received(go_on)
        return outcome_of(plan, store)

    ledger = Ledger(open_engine(url), ARENA)
    desk = _desk(ledger, Path(folder), "slow/0", run, claim_look_s=3_600)
    try:
        desk.run(TRACK, [submission], seed_block=seed_block)
    except DecisionRefusedError as refused:
        done.send((type(refused).__name__, str(refused)))
    else:
        done.send(("recorded", ""))


@pytest.mark.parametrize("overtaken", ["ran_out", "voided", "done_again"])
def test_a_worker_that_lost_its_claim_records_nothing(
    url: str, engine: Engine, tmp_path: Path, overtaken: str
) -> None:
    scene = Scene(engine)
    submission, seed_block = scene.submit("A"), scene.block()
    (begun, begin), (go_on, let_go), (done, tell) = pipe(), pipe(), pipe()
    slow = start(
        _slow_worker, url, str(tmp_path / "slow"), submission, seed_block, begin, go_on, tell
    )
    contest = UUID(received(begun))
    with pytest.raises(ClaimHeldError, match="still open, claimed by slow/0"):
        scene.plan(submission)
    for _ in range(CLAIM_BLOCKS + 1):
        scene.block()
    quick = _desk(
        scene.ledger, tmp_path, "quick/0", lambda plan, _, store, **__: outcome_of(plan, store)
    )
    if overtaken != "ran_out":
        assert quick.recover([contest]) == [contest]
    if overtaken == "done_again":
        quick.run(TRACK, [submission], seed_block=scene.head)
    before = scene.log()
    let_go.send("go on")
    name, why = received(done)
    assert ended(slow) == 0
    assert name == ClaimLostError.__name__, why
    assert scene.log() == before
    assert len(scene.facts(ContestJudged)) == (overtaken == "done_again")
    assert {fact.originator_id for fact in scene.facts(EntrantMeasured)} == (
        {scene.ledger.newest(ContestPlanned).originator_id}  # type: ignore[union-attr]
        if overtaken == "done_again"
        else set()
    )
    if overtaken == "done_again":
        assert [fact.attempt for fact in scene.facts(ContestPlanned)] == [1, 2]
        assert len(scene.facts(ContestVoided)) == 1


def _planner(
    url: str, folder: str, number: int, submission: UUID, blocks: list[int], at_once: Any, done: Any
) -> None:
    def run(plan: ContestPlan, _: object, store: Any, **__: object) -> ContestOutcome:
        done.send(("running", plan.contest_id))
        at_once.wait()  # until all have tried: nobody gets it because another one is done
        return outcome_of(plan, store)

    ledger = Ledger(open_engine(url), ARENA)
    desk = _desk(ledger, Path(folder), f"host/{number}", run)
    at_once.wait()
    try:
        desk.run(TRACK, [submission], seed_block=blocks[number % len(blocks)])
    except ClaimHeldError:
        done.send(("held", ""))
        at_once.wait()
    else:
        done.send(("recorded", ""))


@pytest.mark.parametrize("same", [True, False], ids=["same-challenger", "another-each"])
def test_of_planners_that_race_exactly_one_plans_and_runs_the_attempt(
    url: str, engine: Engine, tmp_path: Path, same: bool
) -> None:
    scene = Scene(engine)
    submissions = [scene.submit(f"H{number}") for number in range(PLANNERS)]
    blocks = [scene.block(), scene.block()]
    at_once, (answers, tell) = barrier(PLANNERS), pipe()
    planners = [
        start(
            _planner,
            url,
            str(tmp_path / str(number)),
            number,
            submissions[0 if same else number],
            blocks,
            at_once,
            tell,
        )
        for number in range(PLANNERS)
    ]
    said = [received(answers)[0] for _ in range(PLANNERS + 1)]
    assert [ended(planner) for planner in planners] == [0] * PLANNERS
    assert sorted(said) == ["held"] * (PLANNERS - 1) + ["recorded", "running"]
    assert len(scene.facts(ContestPlanned)) == 1
    assert len(scene.facts(ContestClaimed)) == 1
    assert len(scene.facts(ContestJudged)) == 1
    assert scene.facts(FactConflictSeen) == []
    plan = scene.facts(ContestPlanned)[0]
    assert scene.ledger.load(Contest, plan.originator_id).ended == "completed"
