"""A whole contest of real servers beside a program that says what a GPU's own would: its clocks,
temperatures and processes are in the evidence, and a throttle under the baseline voids it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.errors import ExitCode
from evaluation.bundle import Bundle, read_bundle
from evaluation.evidence import read_evidence
from evaluation.manifest import read_baseline
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from tests.quick_policy import quick_policy
from tests.standins.nvidia_smi import IDLE, UUID, busy, nvidia_smi

BLOCKS = 2
# No timing decides: a baseline would have to run a hundred times slower in one block.
POLICY = quick_policy(prompts_per_block=2, max_drift_ppm=990_000)
STEADY = (IDLE, busy(1_965, 66), busy(1_980, 70))
COLLAPSED = (IDLE, busy(9, 88, 0x40), busy(9, 88, 0x40))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_model(init_weights(ModelConfig().seed), tmp_path / "model")
    (tmp_path / "policy.toml").write_text(POLICY)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def ran(place: Path) -> tuple[Result, Bundle]:
    said = CliRunner().invoke(
        app,
        [
            *("contest", "run", "--baseline", "profile:reference", "--runner", "process"),
            *("--entrant", "profile:reference?engine=kv_cache", "--format", "json"),
            *("--model", str(place / "model"), "--policy", str(place / "policy.toml")),
            *("--out", str(place / "sealed.zip")),
        ],
    )
    # Reading it judges it again: all that is said of the GPUs follows from the records.
    return said, read_bundle(place / "sealed.zip")


def test_gpus_are_sampled_under_every_arm_and_the_report_tells_of_them(place: Path) -> None:
    stranger = f"{UUID}, {os.getpid()}, python3, 1092\n"
    nvidia_smi(place / "bin", STEADY, moment=busy(1_980, 71), processes=stranger)
    said, bundle = ran(place)
    assert said.exit_code == 0, said.output
    report: dict[str, Any] = json.loads(said.stdout)
    (gpu,) = report["gpus"]
    assert (gpu["least_mhz"], gpu["greatest_mhz"], gpu["held_back"]) == (
        1_965,
        1_980,
        ["power limit"],
    )
    assert (gpu["celsius_before"], gpu["celsius_after"], gpu["greatest_celsius"]) == (71, 71, 71)
    assert report["clock_drift_ppm"] == 0
    assert report["engine_version"] is None  # the project's own server has no version to tell
    # Found before the first server was started; later our own servers are on no list.
    (found,) = report["gpu_strangers"]
    assert (found["pid"], found["memory_mib"]) == (os.getpid(), 1_092)
    (warning,) = report["warnings"]
    assert f"python3 (process {os.getpid()}, 1092 MiB" in warning
    baseline = read_baseline(bundle.get(bundle.manifest.baseline_evidence)).records[0]
    entrant = read_evidence(bundle.get(bundle.manifest.entrants[0].evidence_digest)).record
    assert entrant is not None
    for arm in (baseline, entrant):
        blocks = [block for block in arm.blocks if block.phase == "prompts"]
        assert [len(block.gpu_samples.gpus or ()) for block in blocks] == [1] * BLOCKS
        assert all(
            block.gpu_samples.gpus is None for block in arm.blocks if block.phase == "repeats"
        )
    assert baseline.starts[0].strangers == bundle.manifest.conditions.strangers


def test_a_clock_that_collapses_under_the_baseline_voids_the_round(place: Path) -> None:
    nvidia_smi(place / "bin", STEADY)
    (place / "bin" / "sampled.2").write_text("".join(COLLAPSED))
    said, bundle = ran(place)
    assert said.exit_code == ExitCode.CONTEST_VOID
    report = json.loads(said.stdout)
    assert (report["status"], report["void_cause"]) == ("void", "drifted")
    assert "the GPUs' clock under the baseline drifted by 995454 ppm" in report["detail"]
    assert bundle.manifest.conditions.clock_drift_ppm == 995_454
    (gpu,) = report["gpus"]
    assert (gpu["least_mhz"], gpu["held_back"]) == (9, ["power limit", "too hot (hardware)"])


def test_a_clock_that_collapses_under_an_entrant_alone_voids_nothing(place: Path) -> None:
    nvidia_smi(place / "bin", STEADY)
    for turn in (3, 4):  # the entrant's two blocks, after the baseline's
        (place / "bin" / f"sampled.{turn}").write_text("".join(COLLAPSED))
    said, bundle = ran(place)
    assert said.exit_code == 0, said.output
    assert bundle.manifest.conditions.clock_drift_ppm == 0
