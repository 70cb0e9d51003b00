"""Campaigns side by side: each sees its own GPUs, waits for whom it must, and ends in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu import campaign, lanes
from benchmarks.gpu.lanes import LanesError, main, must_be_read, read_lanes, run_lanes
from benchmarks.gpu.policies import policy_of

CAMPAIGNS = sorted((Path(lanes.__file__).parent / "campaigns").glob("*.toml"))

TWO = """
common = ["--model", "nowhere"]
[[lanes]]
name = "one"
gpus = [0]
steps = [["aa"], ["price"]]
[[lanes]]
name = "two"
gpus = [1, 2]
after = ["one"]
steps = [["tp", "--gpus", "2"]]
"""
STEP = """
import os, subprocess, sys, time
seen = subprocess.run(["nvidia-smi", "-q"], capture_output=True, text=True).stdout.strip()
with open(os.environ["TOLD"], "a") as told:
    told.write(f"{sys.argv[1]} {os.environ['CUDA_VISIBLE_DEVICES']} {seen}\\n")
time.sleep(float(os.environ.get("LASTS", "0")))
sys.exit(sys.argv[1] == "price")
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the campaign, which says what it was told; and a machine's nvidia-smi."""
    root, programs = tmp_path / "root", tmp_path / "programs"
    package = root / "benchmarks" / "gpu"
    package.mkdir(parents=True)
    for folder in (root / "benchmarks", package):
        (folder / "__init__.py").write_text("")
    (package / "__main__.py").write_text(STEP)
    programs.mkdir()
    smi = programs / "nvidia-smi"
    smi.write_text('#!/bin/sh\necho "$@"\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("TOLD", str(tmp_path / "told.txt"))
    monkeypatch.setattr(lanes, "ROOT", root)
    return tmp_path / "told.txt"


def test_steps_run_in_order_on_their_own_gpus(told: Path, tmp_path: Path) -> None:
    failed = run_lanes(read_lanes(TWO), tmp_path / "out", 60)
    assert told.read_text().splitlines() == [
        "aa 0 -i 0 -q",
        "price 0 -i 0 -q",
        "tp 1,2 -i 1,2 -q",
    ]
    assert failed == ["one"]


def test_what_lasts_too_long_is_ended_and_what_waits_is_not_begun(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTS", "600")
    failed = run_lanes(read_lanes(TWO), tmp_path / "out", 3)
    assert [line.split()[0] for line in told.read_text().splitlines()] == ["aa"]
    assert failed == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lanes = []", "no lanes"),
        ("[[lanes]]", "name"),
        (TWO.replace('"two"', '"one"'), "waits for 'one'|two lanes 'one'"),
        (TWO.replace('after = ["one"]', 'after = ["later"]'), "waits for 'later'"),
        (TWO.replace("[1, 2]", "[64]"), "64|<= 63"),
        ("a = ", "no lanes"),
        (TWO.replace("[1, 2]", "[1, 0]").replace('after = ["one"]', ""), "at once on GPU 0"),
        (TWO.replace('["price"]', "[]"), "no lanes"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(LanesError, match=why):
        read_lanes(text)


def test_a_lane_waits_for_whom_it_follows_by_way_of_others() -> None:
    third = '[[lanes]]\nname = "three"\ngpus = [0]\nafter = ["two"]\nsteps = [["aa"]]\n'
    assert [lane.name for lane in read_lanes(TWO + third).lanes] == ["one", "two", "three"]


def test_a_word_that_no_step_knows_is_told_before_any_begins(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lanes.toml"
    file.write_text(TWO.replace('"--gpus"', '"--gpu-count"'))
    with pytest.raises(SystemExit) as ended:
        main([str(file), "--out", str(tmp_path / "out"), "--seconds", "1"])
    assert ended.value.code == 2
    assert "--gpu-count" in capsys.readouterr().err
    assert not told.exists()


def test_a_step_that_would_not_begin_is_told_before_any_begins(
    told: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lanes.toml"
    file.write_text(TWO.replace('["price"]', '["price", "--prompts-per-block", "99999"]'))
    assert main([str(file), "--out", str(tmp_path / "out"), "--seconds", "1"]) == 2
    assert "the step 'price' of the lane 'one' cannot begin" in capsys.readouterr().err
    assert not told.exists()


@pytest.mark.parametrize("file", CAMPAIGNS, ids=[file.stem for file in CAMPAIGNS])
def test_what_a_host_is_asked_can_be_read(file: Path) -> None:
    must_be_read(read_lanes(file.read_text("utf-8")))


@pytest.mark.parametrize("file", CAMPAIGNS, ids=[file.stem for file in CAMPAIGNS])
def test_what_a_host_is_asked_is_allowed_and_names_arms_there_are(file: Path) -> None:
    found = read_lanes(file.read_text("utf-8"))
    for lane in found.lanes:
        for step in lane.steps:
            asked = campaign.parser().parse_args([step[0], *found.common, *step[1:], "--out", "x"])
            made = campaign.campaign_of(asked, Path("x"))
            arms = {arm.name for arm in (*made.engines.honest(), *made.engines.coarse())}
            assert made.only <= (arms if step[0] == "field" else set())
            if step[0] not in ("price", "references"):  # which judge nobody
                assert policy_of(made.model_name, made.size, made.manner)


def test_a_bundle_is_one_of_its_folder_or_at_its_path() -> None:
    words = ["references", "--model", "m", "--out", "x"]
    for given, bundle in (
        ([], "x/aa.zip"),
        (["--bundle", "/y/field.zip"], "/y/field.zip"),
    ):
        asked = campaign.parser().parse_args([*words, *given])
        assert campaign.campaign_of(asked, Path("x")).bundle == Path(bundle), given


def test_nothing_is_begun_without_a_file(tmp_path: Path) -> None:
    asked = [str(tmp_path / "none.toml"), "--out", str(tmp_path / "out"), "--seconds", "1"]
    assert main(asked) == 2
