"""`contest run --plan … --launch …`: a plan's digests found among launch profiles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.errors import ExitCode
from evaluation.bundle import read_bundle
from evaluation.engines.profile import parse_launch
from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, EntrantRole, PlannedEntrant
from evaluation.reference.image import image_path, reference_image_kinds, write_image
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from ledger.policy import parse_policy_toml
from tests.quick_policy import quick_policy

POLICY = quick_policy()
OWN = """
name = "mine"
about = "The reference server by a profile of one's own."
program = ["sh"]
arguments = [
    "{profiles}/serve.sh", "--model", "{model_dir}", "--host", "{host}", "--port", "{port}",
]
teacher_forcing = "/v1/completions"
hands_on = ["PATH", "PYTHONPATH"]
[parameters.engine]
kind = "text"
default = "kv_cache"
arguments = ["--config", "{engines}/profiles/reference-{value}.json"]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launches") / "model"
    save_model(init_weights(ModelConfig().seed), folder)
    return folder


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the profile `mine`, whose program lies beside it."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.toml").write_text(OWN, encoding="utf-8")
    script = f'exec "{sys.executable}" -m evaluation.reference.server "$@"\n'
    (folder / "serve.sh").write_text(script, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    return folder


def plan_of(file: Path, baseline: str, entrants: dict[str, tuple[EntrantRole, str]]) -> Path:
    """A plan as the ledger writes one, of these digests."""
    policy = parse_policy_toml(POLICY).track("tiny")
    plan = ContestPlan(
        contest_id="by-test",
        track="tiny",
        attempt=1,
        seed_block=8,
        seed_block_hash="0x" + "5a" * 32,
        policy=policy,
        model_dir="",
        model_name=policy.model,
        baseline=ImageRef("", baseline),
        entrants=tuple(
            PlannedEntrant(entrant_id=name, hotkey=name, role=role, image=ImageRef("", digest))
            for name, (role, digest) in entrants.items()
        ),
    )
    file.write_bytes(msgspec.json.encode(plan))
    return file


def contest(*words: str) -> Result:
    return CliRunner().invoke(app, ["contest", *words])


def said(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def test_a_plan_names_launches_and_directories_by_their_digests(
    model: Path, profiles: Path, tmp_path: Path
) -> None:
    kind = reference_image_kinds()["kv_cache"]
    directory = write_image(tmp_path / "images", "kv_cache", kind.config())
    fast, mine = "profile:reference?engine=prefix_cache", "profile:mine"
    plan = plan_of(
        tmp_path / "plan.json",
        parse_launch("profile:reference").digest(),
        {
            "kept": ("king", directory),
            "fast": ("challenger", parse_launch(fast).digest()),
            "mine": ("challenger", parse_launch(mine, profiles).digest()),
        },
    )
    done = contest(
        *("run", "--plan", str(plan), "--model", str(model), "--runner", "process"),
        *("--launch", mine, "--launch", "profile:reference", "--launch", fast),
        *("--images", str(tmp_path / "images"), "--profiles", str(profiles)),
        *("--out", str(tmp_path / "sealed.zip"), "--format", "json"),
    )
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    assert [line["code"] for line in report["entrants"]] == ["", "", ""]
    named = {line["entrant"]: line["image"] for line in report["entrants"]}
    assert named == {"kept": directory, "fast": fast, "mine": mine}
    sealed = read_bundle(tmp_path / "sealed.zip").manifest.plan
    assert sealed.baseline.digest == parse_launch("profile:reference").digest()


def test_the_digest_of_a_launch_is_told(profiles: Path) -> None:
    done = contest("launch", "profile:mine?engine=recompute", "--profiles", str(profiles))
    assert done.exit_code == 0
    assert done.stdout.strip() == parse_launch("profile:mine?engine=recompute", profiles).digest()
    refused = contest("launch", "profile:mine")
    assert refused.exit_code == ExitCode.USAGE
    assert "there is no launch profile 'mine'" in said(refused)


def test_a_digest_that_no_launch_has_is_named(model: Path, tmp_path: Path) -> None:
    lacks = parse_launch("profile:vllm?enforce_eager=true").digest()
    plan = plan_of(
        tmp_path / "plan.json",
        parse_launch("profile:reference").digest(),
        {"eager": ("challenger", lacks)},
    )
    done = contest(
        *("run", "--plan", str(plan), "--model", str(model), "--runner", "process"),
        *("--launch", "profile:reference", "--launch", "profile:vllm"),
    )
    assert done.exit_code == ExitCode.USAGE
    assert f"the plan's image of eager has the digest {lacks}" in said(done)


def test_a_baseline_that_scores_nothing_is_refused_in_a_plan_too(
    model: Path, tmp_path: Path
) -> None:
    plan = plan_of(
        tmp_path / "plan.json",
        parse_launch("profile:sglang").digest(),
        {"one": ("challenger", parse_launch("profile:reference").digest())},
    )
    done = contest(
        *("run", "--plan", str(plan), "--model", str(model), "--runner", "process"),
        *("--launch", "profile:reference", "--launch", "profile:sglang"),
    )
    assert done.exit_code == ExitCode.USAGE
    assert "scores no given token ids" in said(done)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--launch", "profile:reference"], "leave it out"),
        (["--plan", "plan.json", "--launch", "profile:reference"], "leave it out"),
        (["--plan", "plan.json", "--runner", "process"], "with --launch"),
        (["--plan", "PLAN", "--runner", "process", "--launch", "profile:llama"], "'llama'"),
        (["--plan", "PLAN", "--runner", "process", "--launch", "DIRECTORY"], "no launch profile"),
        (["--profiles", "PROFILES", "--baseline", "a", "--entrant", "b"], "--runner process"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: list[str], told: str, model: Path, profiles: Path, tmp_path: Path
) -> None:
    digest = write_image(tmp_path, "kv_cache", reference_image_kinds()["kv_cache"].config())
    plan = plan_of(tmp_path / "plan.json", digest, {"one": ("challenger", digest)})
    stands_for = {
        "PLAN": str(plan),
        "PROFILES": str(profiles),
        "DIRECTORY": str(image_path(tmp_path, digest)),
    }
    done = contest("run", "--model", str(model), *(stands_for.get(word, word) for word in words))
    assert done.exit_code == ExitCode.USAGE
    assert told in said(done)


def test_a_profile_of_ones_own_is_checked_and_calibrated(
    model: Path, profiles: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    where = ("--model", str(model), "--runner", "process", "--profiles", str(profiles))
    done = contest("check", "profile:mine", *where, "--format", "json")
    assert done.exit_code == 0, done.output
    out = tmp_path / "calibration.json"
    found = contest(
        *("calibrate", "profile:mine", "--baseline", "profile:reference", "--starts", "2"),
        *("--policy", str(policy), "--out", str(out), *where),
    )
    assert found.exit_code == 0, found.output
    assert out.is_file()


@pytest.mark.parametrize("command", ["check", "run", "calibrate"])
def test_a_name_that_ships_is_refused_everywhere(
    command: str, model: Path, profiles: Path, tmp_path: Path
) -> None:
    (profiles / "mine.toml").rename(profiles / "reference.toml")
    more = {
        "check": ["profile:reference"],
        "run": ["--baseline", "profile:reference", "--entrant", "profile:reference"],
        "calibrate": ["profile:reference", "--out", str(tmp_path / "out.json")],
    }
    where = ("--model", str(model), "--runner", "process", "--profiles", str(profiles))
    done = contest(command, *more[command], *where)
    assert done.exit_code == ExitCode.USAGE
    assert "has the name of one that ships" in said(done)
