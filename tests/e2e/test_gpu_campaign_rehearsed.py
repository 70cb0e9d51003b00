"""The GPU campaign rehearsed with the project's own servers; the hill played again from bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from benchmarks.gpu import campaign
from benchmarks.gpu.hill_ledger import MINERS, HillLedger
from benchmarks.gpu.hill_rounds import (
    STANDINGS,
    HillError,
    Standing,
    keep_answers,
    replay,
    standings_in,
)
from benchmarks.gpu.policies import arena_policy
from benchmarks.gpu.program import Clock, Program, Ran, StepError
from benchmarks.gpu.settings import Engines
from benchmarks.gpu.throughput import tokens_per_s
from evaluation.bundle import read_bundle
from evaluation.reference.model import DEFAULT_SEED, init_weights
from evaluation.reference.model_files import save_model
from ledger.gate_policy import GatePolicy
from tests.quick_policy import TIMELESS

KEPT = Path(__file__).parents[1] / "data" / "gpu"
SMALLEST = (
    *("--engine-kind", "reference", "--blocks", "6", "--prompts-per-block", "2"),
    *("--streams", "2", "--context-tokens", "256", "--output-tokens", "12"),
    *("--warmup-prompts", "1", "--repeated-prompts", "1", "--copies", "2"),
    # A busy machine may be as slow as it likes: no verdict is asserted that hangs on time.
    *("--max-drift-ppm", "1000000", "--max-client-lag-us", "10000000"),
)

ARMS: Mapping[str, tuple[str, ...]] = {
    "aa": (),
    "honest": ("prefix-cache",),
    "transformers": (),
    "cheats": ("fp8-weights", "fp8-kv"),
    "field": ("float64", "other-weights"),
    "proxies": ("honest", "forge"),
    "references": (),
    "price": (),
    "tp": ("copy",),
}
"""Each step, in its turn, with some of its arms (all where none is named): most of what a contest
takes here is the start of its servers."""


class InProcess(Program):
    """The commands without the second that a process of their own would take to begin."""

    def command(self, name: str, words: Sequence[str]) -> Ran:
        done = CliRunner().invoke(app, list(words))
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = None
        (self.folder / f"{name}.out").write_text(done.stdout, "utf-8")
        return Ran(name, done.exit_code, 0.0, document, done.stderr)


class Interrupted(InProcess):
    """Ends in the second round of a hill."""

    def planned(self, name: str, plan: Path, launches: Sequence[str]) -> Ran:
        if name == "hill-2":
            msg = "the machine went away"
            raise StepError(msg)
        return super().planned(name, plan, launches)


@pytest.fixture(scope="module", autouse=True)
def timeless() -> Iterator[None]:
    """No time of an answer voids a round or refuses anybody, as it may on a GPU."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmarks.gpu.policies.GatePolicy", partial(GatePolicy, **TIMELESS))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal") / "cacheon-reference"
    save_model(init_weights(DEFAULT_SEED), folder)
    return folder


@pytest.fixture(scope="module")
def hill(model: Path) -> Path:
    """A hill that was played here, now; between the plan of its second round and the contest it
    was interrupted."""
    folder = model.parent / "hill"
    words = ["hill", "--out", str(folder), "--model", str(model), *SMALLEST]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(campaign, "Program", Interrupted)
        assert campaign.main(words) == 1
        assert "the machine went away" in (folder / "hill.txt").read_text("utf-8")
        assert len(standings_in(folder)) == 1
        patched.setattr(campaign, "Program", InProcess)
        assert campaign.main(words) == 0, (folder / "hill.txt").read_text("utf-8")
    return folder


def replayed(folder: Path, into: Path) -> list[Standing]:
    bundles = [folder / f"hill-{number}.zip" for number in (1, 2, 3)]
    commands = InProcess(folder=into, model=into, clock=Clock(None))
    found = replay(into / "again.db", bundles, commands, into)
    policy = arena_policy(read_bundle(bundles[0]).manifest.plan.policy)
    ledger = HillLedger(into / "again.db", policy)
    try:
        keep_answers(ledger, commands)
    finally:
        ledger.close()
    return found


@pytest.fixture(scope="module")
def again(hill: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which that hill was played again, from its bundles alone."""
    folder = tmp_path_factory.mktemp("again")
    replayed(hill, folder)
    return folder


@pytest.mark.slow
def test_a_hill_is_played_to_its_end_and_its_bundles_give_the_same_kings_and_weights(
    hill: Path, again: Path
) -> None:
    before = standings_in(hill)
    assert [one.round for one in before] == [1, 2, 3]
    assert all(sum(one.shares_ppm.values()) == 1_000_000 for one in before)
    assert standings_in(again) == before
    names = ["weights", "contests", "reigns", *(f"payouts-{miner}" for miner in MINERS)]
    for name in names:
        first, second = (folder / f"hill-{name}.out" for folder in (hill, again))
        assert json.loads(first.read_text("utf-8")) == json.loads(second.read_text("utf-8"))


@pytest.mark.slow
def test_a_hill_whose_ledger_went_on_elsewhere_is_not_taken_up(
    hill: Path, again: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(again, folder)
    (folder / STANDINGS).unlink()
    with pytest.raises(HillError, match="cannot be taken up"):
        replayed(hill, folder)


@pytest.mark.parametrize("folder", sorted(path.parent for path in KEPT.glob("*/hill-1.zip")))
def test_the_kept_hill_of_a_real_gpu_gives_the_same_kings_and_weights(
    folder: Path, tmp_path: Path
) -> None:
    assert replayed(folder, tmp_path) == standings_in(folder)


@pytest.mark.slow
def test_every_other_step_runs_through(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "Program", InProcess)
    folder = model.parent / "others"
    assert {*ARMS, "hill"} == set(campaign.NAMES)
    for name, arms in ARMS.items():
        words = [name, "--out", str(folder), "--model", str(model), *SMALLEST]
        for arm in arms:
            words += ["--only", arm]
        code = campaign.main(words)
        told = capsys.readouterr().out
        assert code == 0, told
        assert (folder / f"{name}.txt").read_text("utf-8") in told + "\n"
    assert {path.stem for path in folder.glob("*.zip")} == {
        *("aa", "honest", "transformers", "cheats", "field", "proxies", "tp-0"),
    }
    assert tokens_per_s(folder / "aa.zip") > 0
    forced = json.loads((folder / "references.json").read_text("utf-8"))
    assert all(one["once"] == one["twice"] for one in forced)
    assert "OTHERWISE" not in (folder / "cheats.txt").read_text("utf-8")


def test_every_arm_of_the_rehearsal_is_in_one_of_its_steps() -> None:
    engines = Engines("reference", {})
    run = {arm for arms in ARMS.values() for arm in arms}
    assert {arm.name for arm in (*engines.honest(), *engines.coarse())} <= run
    # What each proxy does has contests of its own, in `test_cheats_before_a_server.py`.
    assert {arm.name for arm in engines.proxied(1)} & run == {"honest", "forge"}
