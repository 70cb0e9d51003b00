"""A planned contest of launch profiles on a machine without Docker, by `contest remote`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from evaluation.bundle import read_bundle
from evaluation.engines.profile import parse_launch
from evaluation.images import ImageRef
from evaluation.plan import PlannedEntrant
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from ledger.contest_policy import ContestPolicy
from tests.hosts.scripted import PLAN
from tests.hosts.sshd import Sshd
from tests.quick_policy import NO_TIMING

pytestmark = pytest.mark.slow

MODEL = ModelConfig().name
SLOW, FAST = "profile:reference", "profile:reference?engine=kv_cache"
OWN = """
name = "mine"
about = "The reference server by a profile that lies on the machine."
program = ["nowhere"]
arguments = [
    "-m", "evaluation.reference.server", "--model", "{model_dir}", "--port", "{port}",
    "--config", "{engines}/profiles/reference-kv_cache.json",
]
teacher_forcing = "/v1/completions"
[environment]
PYTHONPATH = "{profiles}/../project"
"""

Command = Callable[..., Result]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(init_weights(ModelConfig().seed), folder)
    return folder


@pytest.fixture
def remote(machine: Sshd, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    words = ["contest", "remote", "--plan", "plan.json", "--out", "sealed.zip"]
    words += ["--program", sys.prefix, "--ssh-key", str(machine.key), "--model", str(model)]
    words += ["--host", str(machine.address), "--format", "json"]
    return lambda *more: CliRunner().invoke(app, [*words, *more])


def plan_of(baseline: str, *entrants: str) -> None:
    """A plan of these digests, in ``plan.json``."""
    planned = tuple(
        PlannedEntrant(
            entrant_id=f"entrant-{number}",
            hotkey=f"entrant-{number}",
            role="challenger",
            image=ImageRef("", digest),
        )
        for number, digest in enumerate(entrants)
    )
    contest = ContestPolicy(
        prompts=4,
        repeated_prompts=0,
        warmup_prompts=1,
        context_tokens=96,
        output_tokens=16,
        startup_timeout_s=60,
        prompt_timeout_s=30,
        max_drift_ppm=1_000_000,
        max_client_lag_us=10_000_000,
    )
    policy = msgspec.structs.replace(PLAN.policy, model=MODEL, contest=contest, gates=NO_TIMING)
    plan = msgspec.structs.replace(
        PLAN,
        policy=policy,
        model_name=MODEL,
        baseline=ImageRef("", baseline),
        entrants=planned,
    )
    Path("plan.json").write_bytes(msgspec.json.encode(plan))


def said(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def test_launches_run_there_and_come_home_by_their_names(machine: Sshd, remote: Command) -> None:
    plan_of(parse_launch(SLOW).digest(), parse_launch(FAST).digest())
    words = ("--runner", "process", "--launch", FAST, "--launch", SLOW)
    done = remote(*words, "--engine", f"reference={sys.executable} -m evaluation.reference.server")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["runner"]["runner"] == "process"
    assert report["baseline_image"] == SLOW
    assert [(line["image"], line["code"]) for line in report["entrants"]] == [(FAST, "")]
    plan = read_bundle(Path("sealed.zip")).manifest.plan
    assert plan.baseline.digest == parse_launch(SLOW).digest()
    assert list(machine.home.iterdir()) == []


def test_profiles_that_lie_there_are_used_there(
    machine: Sshd, remote: Command, tmp_path: Path
) -> None:
    there = tmp_path / "there" / "profiles"
    there.mkdir(parents=True)
    (there / "mine.toml").write_text(OWN, encoding="utf-8")
    (there.parent / "project").symlink_to(Path(__file__).resolve().parents[2])
    plan_of(parse_launch(SLOW).digest(), parse_launch("profile:mine", there).digest())
    done = remote(
        *("--runner", "process", "--launch", "profile:mine", "--launch", SLOW),
        *("--profiles", str(there), "--engine", f"mine={sys.executable}"),
    )
    assert done.exit_code == 0, done.output
    assert [line["code"] for line in json.loads(done.stdout)["entrants"]] == [""]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--runner", "process", "--launch", SLOW], "has the digest sha256:"),
        (["--runner", "process", "--launch", "profile:llama"], "no launch profile 'llama'"),
        (["--runner", "process"], "or which launch profiles they are"),
        (["--launch", SLOW], "give it with --runner process"),
        (["--engine", "vllm=/opt/vllm"], "give it with --runner process"),
        (["--images", "/images"], "give it with --runner process"),
        (["--runner", "process", "--launch", SLOW, "--engine", "vllm"], "is not NAME=COMMAND"),
        (["--runner", "process", "--launch", SLOW, "--profiles", "here"], "no path from / on"),
    ],
)
def test_what_cannot_be_meant_is_told_before_the_machine_is_asked(
    words: list[str], told: str, machine: Sshd, remote: Command
) -> None:
    plan_of(parse_launch(SLOW).digest(), parse_launch(FAST).digest())
    machine.close()
    done = remote(*words)
    assert done.exit_code == 2
    assert told in said(done)


def test_a_launch_that_only_that_machine_could_know_is_refused_there(
    machine: Sshd, remote: Command, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    plan_of(parse_launch(SLOW).digest(), parse_launch(FAST).digest())
    done = remote("--runner", "process", "--launch", SLOW, "--profiles", str(there))
    assert done.exit_code == 24
    assert parse_launch(FAST).digest() in done.stderr
    assert not Path("sealed.zip").exists()
