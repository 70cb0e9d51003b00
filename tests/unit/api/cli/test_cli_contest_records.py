"""`contest plan` and `void`: a plan that nobody can have blocks nothing, and one can be ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import ExitCode
from api.limits import MAX_CLAIM_BLOCKS
from ledger.decisions.contest import ContestClaimed, ContestPlanned, ContestVoided
from tests.contract.stores import quick_engine
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.ledger.scenes import TRACK, Scene, policy

BASELINE = "ghcr.io/sn14/baseline@sha256:" + "b" * 64


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    found = Scene(engine, rules=policy(baseline_image=BASELINE))
    found.register((0, "A", None))
    yield found
    engine.dispose()


@pytest.fixture
def where(scene: Scene) -> list[str]:
    url = scene.engine.url.render_as_string(hide_password=False)
    return ["--database", url, "--network", "test", "--netuid", "14"]


def test_a_plan_that_cannot_be_written_is_not_made(
    run: Run, scene: Scene, where: list[str], tmp_path: Path
) -> None:
    waiting = scene.submit("A")
    scene.block()
    nowhere = tmp_path / "nosuch" / "plan.json"
    failed(
        run("contest", "plan", "--track", TRACK, "--out", nowhere, *where),
        ExitCode.UNREADABLE_FILE,
        "cannot be used",
    )
    assert scene.facts(ContestPlanned) == []
    assert scene.status(waiting) == "queued"


def test_a_refused_plan_leaves_an_earlier_file_as_it_was(
    run: Run, scene: Scene, where: list[str], tmp_path: Path
) -> None:
    scene.block()
    out = tmp_path / "plan.json"
    out.write_text("earlier")
    failed(
        run("contest", "plan", "--track", TRACK, "--out", out, *where),
        ExitCode.REFUSED,
        "nothing to contest",
    )
    failed(
        run("contest", "plan", "--track", "nosuch", "--out", out, *where),
        ExitCode.IMPOSSIBLE_POLICY,
        "no track 'nosuch'",
    )
    assert out.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir() if "plan" in path.name] == ["plan.json"]


@pytest.mark.parametrize("blocks", [MAX_CLAIM_BLOCKS, MAX_CLAIM_BLOCKS + 1])
def test_a_planned_contest_is_claimed_for_a_bounded_time_and_can_be_ended(
    run: Run, scene: Scene, where: list[str], tmp_path: Path, blocks: int
) -> None:
    waiting = scene.submit("A")
    scene.block()
    out = tmp_path / "plan.json"
    words = ["--track", TRACK, "--out", out, "--for-blocks", blocks, *where]
    planned = run("contest", "plan", *words, "--format", "json")
    if blocks > MAX_CLAIM_BLOCKS:
        assert planned.exit_code == ExitCode.USAGE
        assert scene.facts(ContestPlanned) == []
        return
    assert planned.exit_code == 0, planned.stderr
    contest = json.loads(out.read_text())["contest_id"]
    assert scene.facts(ContestClaimed)[0].until_block == scene.head + blocks
    void = ["contest", "void", contest, *where, "--actor", "op"]
    failed(run(*void, "--reason", " "), ExitCode.REFUSED, "without a reason")
    ended = run(*void, "--reason", "the remote machine is gone")
    assert ended.exit_code == 0, ended.stderr
    assert contest in ended.stdout
    assert scene.facts(ContestVoided)[0].detail == "op: the remote machine is gone"
    assert scene.status(waiting) == "queued"
    failed(run(*void, "--reason", "again"), ExitCode.REFUSED, "is void")
