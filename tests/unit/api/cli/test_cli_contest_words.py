"""Words of the contest's commands that cannot be meant, and files that hold something else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.contest_calibrate import MAX_CALIBRATION_BYTES
from api.cli.main import app
from api.errors import ExitCode
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model

Contest = Callable[..., Result]


@pytest.fixture
def contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contest:
    """In a folder with a model, and a bundle that was cut short."""
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    save_model(init_weights(ModelConfig().seed), tmp_path / "model")
    Path("cut.zip").write_bytes(b"PK\x03\x04 and no more")
    Path("own").mkdir()
    return lambda *words: CliRunner().invoke(app, ["contest", *words])


def said(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no calibration"),
        (b"{}", "no calibration"),
        (b"\xff", "is not UTF-8 text"),
        (b'{"form":"other/1"}', "no calibration"),
        (b" " * (MAX_CALIBRATION_BYTES + 1), f"than the {MAX_CALIBRATION_BYTES} bytes"),
    ],
)
def test_a_file_that_is_no_calibration_is_named(
    contest: Contest, content: bytes, told: str
) -> None:
    Path("c.json").write_bytes(content)
    done = contest("calibration", "c.json")
    assert done.exit_code == ExitCode.UNREADABLE_FILE
    assert "'c.json'" in done.stderr
    assert told in done.stderr


def test_of_several_bundles_the_damaged_one_is_named(contest: Contest) -> None:
    done = contest("calibrate", "--bundle", "cut.zip", "--out", "c.json")
    assert done.exit_code == ExitCode.UNREADABLE_FILE
    assert "'cut.zip' calibrates nothing" in done.stderr
    assert not Path("c.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--starts", "3"], "'--starts': with --bundle nothing is run"),
        (["--keep", "k.zip"], "'--keep': with --bundle nothing is run"),
        (["--profiles", "own"], "'--profiles': with --bundle nothing is run"),
        (["profile:vllm"], "'IMAGE': with --bundle nothing is run"),
    ],
)
def test_what_a_bundle_settles_is_not_taken_beside_it(
    contest: Contest, words: list[str], told: str
) -> None:
    done = contest("calibrate", *words, "--bundle", "cut.zip", "--out", "c.json")
    assert done.exit_code == ExitCode.USAGE
    assert told in said(done)


def test_an_engine_that_no_profile_has_is_a_slip(contest: Contest) -> None:
    where = ("--runner", "process", "--model", "model", "--engine", "vlm=/opt/vllm/bin/vllm")
    done = contest("check", "profile:vllm", *where)
    assert done.exit_code == ExitCode.USAGE
    assert "no launch profile is called 'vlm'; there are: reference" in said(done)


def test_an_engine_that_is_not_here_is_the_machines_matter(contest: Contest) -> None:
    where = ("--runner", "process", "--model", "model", "--engine", "vllm=no-such-program-here")
    done = contest("check", "profile:vllm", *where)
    assert done.exit_code == ExitCode.CONTEST_VOID
    assert "it could not be tried: this machine failed" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("check", "profile:reference"),
        ("run", "--baseline", "profile:reference", "--entrant", "profile:reference"),
        ("calibrate", "profile:reference", "--out", "c.json"),
    ],
)
@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nowhere", "there is no model directory 'nowhere'; check the path"),
        ("empty", "empty has neither model.npz nor tokenizer.json; name the directory of a model"),
    ],
)
def test_a_model_that_is_not_there_is_an_unreadable_file(
    contest: Contest, words: tuple[str, ...], model: str, told: str
) -> None:
    Path("empty").mkdir()
    done = contest(*words, "--runner", "process", "--model", model)
    assert done.exit_code == ExitCode.UNREADABLE_FILE
    assert told in said(done)


def test_evidence_that_cannot_be_kept_is_told_before_any_server_runs(contest: Contest) -> None:
    done = contest(
        *("run", "--baseline", "profile:reference", "--entrant", "profile:reference"),
        *("--runner", "process", "--model", "model", "--evidence", "cut.zip/evidence"),
    )
    assert done.exit_code == ExitCode.UNREADABLE_FILE
    assert "no evidence can be kept in 'cut.zip/evidence': Not a directory; name" in said(done)
    assert "prepare of the baseline" not in done.stderr


def test_a_plain_process_needs_a_model(contest: Contest) -> None:
    done = contest("check", "profile:reference", "--runner", "process")
    assert done.exit_code == ExitCode.USAGE
    assert "'--model': a plain process has no weights of its own" in said(done)


def test_a_folder_of_images_must_be_there(contest: Contest) -> None:
    Path("plan.json").touch()
    where = ("--runner", "process", "--model", "model", "--images", "nowhere")
    done = contest("run", "--plan", "plan.json", *where)
    assert done.exit_code == ExitCode.USAGE
    assert "'nowhere' does not exist" in said(done)


def test_a_void_contest_that_cannot_be_sealed_says_where_its_evidence_is(
    contest: Contest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    done = contest(
        *("calibrate", "profile:reference", "--baseline", "profile:vllm", "--starts", "2"),
        *("--engine", "vllm=false", "--runner", "process", "--model", "model"),
        *("--keep", "k" * 300, "--out", "c.json"),
    )
    assert done.exit_code == ExitCode.CONTEST_VOID
    (folder,) = kept.glob("contest-*")
    assert f"its evidence is kept in '{folder}'" in done.stderr
    assert any(folder.rglob("*"))
