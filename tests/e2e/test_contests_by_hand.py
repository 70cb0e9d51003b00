"""`contest check` and `contest run` over real servers: a pass is a pass, a fault is explained."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.errors import ExitCode
from evaluation.bundle import read_bundle
from evaluation.calibrated_gates import CALIBRATED
from evaluation.calibration import read_calibration
from evaluation.images import ImageRef
from evaluation.reference.image import image_path, reference_image_kinds, write_image
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.port import InfrastructureFaultError
from evaluation.runners.process import ProcessRunner, ProcessServer
from ledger.codes import InfrastructureCause
from tests.faults.processes import wait_until
from tests.quick_policy import TIMELESS, quick_policy

Image = Callable[[str], str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contest-commands") / "model"
    save_model(init_weights(ModelConfig().seed), folder)
    return folder


@pytest.fixture(scope="module")
def image(model: Path) -> Image:
    """The path of an image directory, by its kind."""

    def path(kind: str) -> str:
        config = reference_image_kinds()[kind].config()
        root = model.parent / "images"
        return str(image_path(root, write_image(root, kind, config)))

    return path


POLICY = quick_policy()
TRIES = 5


def contest(*words: str) -> Result:
    return CliRunner().invoke(app, ["contest", *words])


def checked(image: str, model: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code of `contest check`, and its checks by name."""
    said = contest(
        *("check", image, "--model", str(model), "--runner", "process", "--format", "json", *words)
    )
    report = json.loads(said.stdout)
    return said.exit_code, {check["name"]: check for check in report["checks"]} | {"": report}


def checked_by_times(image: str, model: Path, pace: str) -> tuple[int, dict[str, Any]]:
    """As :func:`checked`, until the times tell of the image's pace what they should.

    A busy machine can make an answer look as if it had been held back, or one that was held back
    look as if it had not, and not for long.
    """
    for _ in range(TRIES):
        code, checks = checked(image, model)
        if checks["pace"]["outcome"] == pace:
            break
    return code, checks


@pytest.mark.parametrize("kind", ["kv_cache", "prefix_cache"])
def test_an_honest_image_keeps_the_contract(kind: str, image: Image, model: Path) -> None:
    code, checks = checked_by_times(image(kind), model, "passed")
    assert (code, checks[""]["passed"]) == (0, True)
    assert {check["outcome"] for name, check in checks.items() if name} == {"passed", "not_tried"}
    # What a plain process cannot show is not called passed.
    assert checks["needs no network"]["outcome"] == "not_tried"


@pytest.mark.parametrize(
    ("kind", "failed", "code", "seen", "remedy"),
    [
        ("dies_at_start", "start", "exited_at_start", "value fp8 of --kv-cache-dtype", "its log"),
        ("wrong_model_name", "model name", "wrong_model_name", "offers '/models'", "served-model"),
        ("no_logprobs", "logprobs", "logprobs_missing", "32 of 32 pieces", "top_logprobs"),
        ("flush", "pace", "flushed", "at least 5.0 % is asked", "each token"),
    ],
)
def test_each_fault_is_told_with_its_code_and_what_to_do(
    kind: str, failed: str, code: str, seen: str, remedy: str, image: Image, model: Path
) -> None:
    look = partial(checked_by_times, pace="failed") if failed == "pace" else checked
    ended, checks = look(image(kind), model)
    assert ended == ExitCode.CONTRACT_BROKEN
    told = checks[failed]
    assert (told["outcome"], told["code"]) == ("failed", code)
    assert seen in told["seen"]
    assert remedy in told["remedy"]


def test_behind_a_wrong_name_the_rest_is_looked_at_all_the_same(image: Image, model: Path) -> None:
    _, checks = checked(image("wrong_model_name"), model)
    assert checks["stream"]["outcome"] == checks["logprobs"]["outcome"] == "passed"
    assert checks["same answer again"]["outcome"] == "passed"


def test_one_that_is_never_healthy_is_told_where_it_listens(
    image: Image, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = ProcessRunner.launch

    def listening(self: ProcessRunner, what: ImageRef, role: str) -> ProcessServer:
        server = launch(self, what, role)
        # Its start-up time begins when it surely is up, so that only its answers decide.
        wait_until(lambda: "listening" in server.log_tail(), "it listens")
        return server

    monkeypatch.setattr(ProcessRunner, "launch", listening)
    code, checks = checked(image("never_healthy"), model, "--startup-timeout-s", "1")
    assert code == ExitCode.CONTRACT_BROKEN
    assert checks["health"]["code"] == "never_healthy"
    if sys.platform == "linux":
        assert re.search(r"it listens on 127\.0\.0\.1:[0-9]+$", checks["health"]["seen"])


def test_the_table_is_for_people(image: Image, model: Path) -> None:
    said = contest("check", image("dies_at_start"), "--model", str(model), "--runner", "process")
    assert said.exit_code == ExitCode.CONTRACT_BROKEN
    assert "a contest would not take it" in said.stdout
    assert "invalid choice: 'fp8'" in said.stdout
    assert "starting the server" in said.stderr


@pytest.fixture(scope="module")
def round_of_four(image: Image, model: Path) -> tuple[Result, dict[str, Any]]:
    """A king, an honest challenger that is faster, one that dies and one that cheats."""
    policy = model.parent / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    said = contest(
        *("run", "--baseline", "profile:reference", "--king", image("kv_cache")),
        *("--entrant", "profile:reference?engine=prefix_cache"),
        *("--entrant", image("dies_at_start"), "--entrant", image("repeat_penalty")),
        *("--model", str(model), "--policy", str(policy), "--runner", "process"),
        *("--seed-hash", "0x" + "5a" * 32, "--seed-block", "8", "--format", "json"),
        *("--evidence", str(model.parent / "evidence"), "--out", str(model.parent / "sealed.zip")),
    )
    assert said.exit_code == 0, said.output
    return said, json.loads(said.stdout)


def test_a_whole_contest_is_run_and_reported(round_of_four: tuple[Result, dict[str, Any]]) -> None:
    _, report = round_of_four
    assert report["status"] == "completed"
    assert report["seed_note"] == "the seed is the given block's hash"
    lines = {line["entrant"]: line for line in report["entrants"]}
    assert [lines[name]["code"] for name in ("king", "entrant-1", "entrant-2", "entrant-3")] == [
        "",
        "",
        "exited_at_start",
        "sampler_changed",
    ]
    assert lines["entrant-1"]["score_ppm"] is not None
    assert lines["entrant-2"]["score_ppm"] is None


def test_the_report_says_who_would_be_crowned_and_why(
    round_of_four: tuple[Result, dict[str, Any]],
) -> None:
    _, report = round_of_four
    steps = {step["entrant"]: step for step in report["throne"]}
    assert set(steps) == {"entrant-1"}  # nobody else was correct
    won = steps["entrant-1"]["what"] == "crowned"
    assert report["crowned"] == ("entrant-1" if won else "king")
    assert "margin" in steps["entrant-1"]["why"]


def test_gates_stand_beside_their_limits(round_of_four: tuple[Result, dict[str, Any]]) -> None:
    _, report = round_of_four
    kept = {(line["entrant"], line["gate"]): line["open"] for line in report["gates"]}
    assert kept["king", "reference's first choice"] is True
    assert kept["entrant-3", "reference's first choice"] is False
    assert not any(entrant == "entrant-2" for entrant, _ in kept)


def test_the_one_that_died_is_shown_its_own_log_and_what_to_do(
    round_of_four: tuple[Result, dict[str, Any]],
) -> None:
    _, report = round_of_four
    dead = next(line for line in report["entrants"] if line["entrant"] == "entrant-2")
    assert "invalid choice: 'fp8'" in dead["log_tail"]
    assert "does not know the value fp8 of --kv-cache-dtype" in dead["remedy"]


@pytest.fixture(scope="module")
def calibrated(image: Image, model: Path) -> tuple[Path, Path]:
    """A calibration of two honest starts, and a policy that names it and judges by its limits."""
    folder = model.parent
    (folder / "wide.toml").write_text(POLICY, encoding="utf-8")
    document = folder / "calibration.json"
    made = contest(
        *("calibrate", image("kv_cache"), "--model", str(model), "--runner", "process"),
        *("--starts", "2", "--policy", str(folder / "wide.toml"), "--out", str(document)),
        *("--gpu", "none"),
    )
    assert made.exit_code == 0, made.output
    proposed = msgspec.to_builtins(read_calibration(document.read_bytes()).gates)
    limits = {name: proposed[name] for name in CALIBRATED}
    text = quick_policy(gates={**TIMELESS, **limits})
    named = text.replace(
        "[tracks.tiny]\n", f'[tracks.tiny]\ncalibration = "{made.stdout.strip()}"\n'
    )
    (folder / "calibrated.toml").write_text(named, encoding="utf-8")
    return document, folder / "calibrated.toml"


def test_a_policy_judges_by_the_calibration_that_it_names(
    calibrated: tuple[Path, Path], image: Image, model: Path
) -> None:
    document, policy = calibrated
    words = ["run", "--baseline", image("kv_cache"), "--entrant", image("prefix_cache")]
    words += ["--entrant", image("repeat_penalty"), "--model", str(model), "--runner", "process"]
    words += ["--calibration", str(document), "--format", "json"]
    said = contest(*words, "--policy", str(policy))
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    assert [line["code"] for line in report["entrants"]] == ["", "sampler_changed"]
    told = " ".join(report["warnings"])
    # No GPU is here, and the reference server says no version.
    assert "measured on none and this contest ran on unknown ones" in told
    assert "in version unknown and the baseline's here is unknown" in told

    other = contest(*words, "--policy", str(policy.with_name("wide.toml")))
    assert other.exit_code == ExitCode.REFUSED
    assert "the track names none; give the document that it names" in other.stderr
    changed = policy.with_name("changed.toml")
    limit = re.compile("max_mean_margin_milli = [0-9]+")
    changed.write_text(limit.sub("max_mean_margin_milli = 29", policy.read_text("utf-8")), "utf-8")
    refused = contest(*words, "--policy", str(changed))
    assert refused.exit_code == ExitCode.REFUSED
    assert "the track's max_mean_margin_milli is 29 and its calibration proposes" in refused.stderr


def test_evidence_is_kept_where_it_was_asked_for(
    round_of_four: tuple[Result, dict[str, Any]], model: Path
) -> None:
    _, report = round_of_four
    for line in report["entrants"]:
        digest = line["evidence_digest"].removeprefix("sha256:")
        assert (model.parent / "evidence" / digest[:2] / digest[2:]).is_file()


def test_the_bundle_is_sealed_and_says_the_same(
    round_of_four: tuple[Result, dict[str, Any]], model: Path
) -> None:
    _, report = round_of_four
    bundle = read_bundle(model.parent / "sealed.zip")
    assert bundle.manifest_digest == report["manifest_digest"]
    assert bundle.rejudged.differences == ()
    assert bundle.rejudged.throne.king == report["crowned"]
    scores = {line["entrant"]: line["score_ppm"] for line in report["entrants"]}
    assert {one.entrant_id: one.score_ppm for one in bundle.rejudged.throne.scores} == {
        name: score_ppm for name, score_ppm in scores.items() if score_ppm is not None
    }
    assert report["bundle"].endswith("sealed.zip")


def test_what_was_used_and_how_steady_it_was_is_said(
    round_of_four: tuple[Result, dict[str, Any]],
) -> None:
    _, report = round_of_four
    used = {line["entrant"]: line["gpu_minutes"] for line in report["entrants"]}
    assert all(minutes is not None for minutes in used.values())
    assert report["client_lag_p99_us"] is not None
    assert report["max_drift_ppm"] == 1_000_000


def test_progress_is_plain_lines_where_nobody_watches(
    round_of_four: tuple[Result, dict[str, Any]],
) -> None:
    said, _ = round_of_four
    lines = said.stderr.splitlines()
    assert lines[0] == "the rules are 'quick'; the seed is the given block's hash"
    assert any(re.match(r"prompts of king\b.*: 4 of 4, [0-9.]+x as fast", line) for line in lines)
    assert "\x1b" not in said.stderr


def test_a_failed_baseline_makes_it_void(image: Image, model: Path) -> None:
    said = contest(
        *("run", "--baseline", image("dies_at_start"), "--entrant", image("kv_cache")),
        *("--model", str(model), "--runner", "process"),
    )
    assert said.exit_code == ExitCode.CONTEST_VOID
    assert "baseline_failed" in said.stdout
    assert "invalid choice: 'fp8'" in said.stdout
    assert "not for the ledger" in said.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--entrant", "profile:llama"], "there is no launch profile 'llama'"),
        (["--entrant", "profile:vllm?tensor=8"], "it has: enforce_eager"),
        (["--entrant", "ghcr.io/you/engine:v1"], "nothing that runs as a process"),
        (["--entrant", "profile:reference", "--seed-hash", "0x12"], "64 lower-case hex digits"),
        (["--entrant", "profile:reference", "--track", "other"], "with --policy"),
        (["--entrant", "profile:reference", "--engine", "vllm"], "NAME=COMMAND"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: list[str], sentence: str, model: Path
) -> None:
    said = contest(
        "run",
        "--baseline",
        "profile:reference",
        "--model",
        str(model),
        "--runner",
        "process",
        *words,
    )
    assert said.exit_code == ExitCode.USAGE
    assert sentence in " ".join(said.stderr.replace("│", " ").split())


def test_an_engine_that_scores_nothing_is_no_baseline(model: Path) -> None:
    said = contest(
        *("run", "--baseline", "profile:sglang", "--entrant", "profile:reference"),
        *("--model", str(model), "--runner", "process"),
    )
    assert said.exit_code == ExitCode.USAGE
    assert "scores no given token ids" in " ".join(said.stderr.replace("│", " ").split())


def test_an_engine_that_is_not_installed_is_not_the_images_fault(model: Path) -> None:
    code, checks = checked("profile:sglang", model, "--engine", "sglang=no-such-program-here")
    assert code == ExitCode.CONTEST_VOID
    assert (checks[""]["passed"], checks[""]["machine_failed"]) == (False, True)
    assert "no program 'no-such-program-here'" in checks["machine"]["seen"]
    assert {check["outcome"] for name, check in checks.items() if name} == {"machine_failed"}


def small_contest(image: Image, model: Path, *more: str) -> Result:
    policy = model.parent / "small.toml"
    policy.write_text(POLICY, encoding="utf-8")
    return contest(
        *("run", "--baseline", "profile:reference", "--entrant", image("kv_cache")),
        *("--model", str(model), "--policy", str(policy), "--runner", "process"),
        *("--format", "json", *more),
    )


def test_a_file_that_cannot_be_written_is_told_before_any_server_runs(
    image: Image, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "nosuch" / "sealed.zip"
    said = small_contest(image, model, "--out", str(out))
    assert said.exit_code == ExitCode.UNREADABLE_FILE
    assert f"'{out}' cannot be written" in said.stderr
    assert "baseline" not in said.stderr


@pytest.mark.parametrize("named", [True, False])
def test_a_disk_that_is_full_at_the_end_costs_the_file_and_nothing_else(
    image: Image,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    named: bool,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/.bundle-1")

    monkeypatch.setattr("evaluation.bundle.write_bundle", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evidence = ("--evidence", str(tmp_path / "kept")) if named else ()
    said = small_contest(image, model, "--out", str(tmp_path / "sealed.zip"), *evidence)
    assert said.exit_code == ExitCode.UNREADABLE_FILE
    assert f"sealed into '{tmp_path / 'sealed.zip'}': No space left on device" in said.stderr
    assert ".bundle-1" not in said.stderr
    report = json.loads(said.stdout)
    assert report["status"] == "completed"
    assert report["bundle"] is None
    kept = re.search(r"its evidence is kept in '(.+)'", said.stderr)
    assert kept
    digest = report["manifest_digest"].removeprefix("sha256:")
    assert (Path(kept[1]) / digest[:2] / digest[2:]).is_file()


def test_a_machine_that_cannot_try_an_image_has_a_code_of_its_own(
    image: Image, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, "no engine answers")

    monkeypatch.setattr(ProcessRunner, "stage", broken)
    code, checks = checked(image("kv_cache"), model)
    assert code == ExitCode.CONTEST_VOID
    assert checks["machine"]["outcome"] == "machine_failed"
    said = contest("check", image("kv_cache"), "--model", str(model), "--runner", "process")
    assert "says nothing of the image" in " ".join(said.stdout.split())
    assert "would not take it" not in said.stdout
