"""`contest calibrate`: honest starts give a document whose gates let honest servers through."""

from __future__ import annotations

import hashlib
from pathlib import Path

from typer.testing import CliRunner

from api.cli.contest_calibrate import DEFAULT_SLACK_PERCENT
from api.cli.main import app
from api.errors import ExitCode
from evaluation.bundle import read_bundle
from evaluation.calibration import DEFAULT_SLACK_PPM, read_calibration
from evaluation.reference.image import image_path, reference_image_kinds, write_image
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from tests.quick_policy import quick_policy

STARTS = 2
POLICY = quick_policy(prompts=3)


def calibrated(tmp_path: Path, image: str, *more: str) -> tuple[int, str]:
    save_model(init_weights(ModelConfig().seed), tmp_path / "model")
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    said = CliRunner().invoke(
        app,
        [
            *("contest", "calibrate", image, "--baseline", "profile:reference"),
            *("--model", str(tmp_path / "model"), "--policy", str(tmp_path / "policy.toml")),
            *("--runner", "process", "--starts", str(STARTS), "--gpu", "none"),
            *("--out", str(tmp_path / "calibration.json")),
            *more,
        ],
    )
    return said.exit_code, said.stdout


def test_the_document_is_the_one_that_was_printed(tmp_path: Path) -> None:
    code, printed = calibrated(tmp_path, "profile:reference?engine=kv_cache")
    content = (tmp_path / "calibration.json").read_bytes()
    assert (code, printed) == (0, f"sha256:{hashlib.sha256(content).hexdigest()}\n")
    found = read_calibration(content)
    assert len(found.runs) == STARTS
    assert found.slack_ppm == DEFAULT_SLACK_PPM == DEFAULT_SLACK_PERCENT * 10_000
    assert (found.facts.model, found.facts.gpu) == ("cacheon-reference", "none")
    assert found.figures["top1_ppm"].least >= found.gates.min_top1_ppm
    assert found.figures["mean_margin_milli"].greatest <= found.gates.max_mean_margin_milli


def test_what_was_kept_of_it_calibrates_the_same_anywhere_else(tmp_path: Path) -> None:
    image = "profile:reference?engine=kv_cache"
    code, _ = calibrated(tmp_path, image, "--keep", str(tmp_path / "kept.zip"))
    here = read_calibration((tmp_path / "calibration.json").read_bytes())
    assert (code, here.facts.engine) == (0, image)
    assert len(read_bundle(tmp_path / "kept.zip").manifest.entrants) == STARTS
    said = CliRunner().invoke(
        app,
        [
            *("contest", "calibrate", "--bundle", str(tmp_path / "kept.zip"), "--gpu", "none"),
            *("--engine-name", image, "--out", str(tmp_path / "elsewhere.json")),
        ],
    )
    assert said.exit_code == 0
    elsewhere = (tmp_path / "elsewhere.json").read_bytes()
    assert elsewhere == (tmp_path / "calibration.json").read_bytes()
    for noise in (here.wall_block_within_ppm, here.wall_block_between_ppm):
        assert noise is not None
        assert noise.samples == STARTS


def test_the_slack_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    config = reference_image_kinds()["rounded"].config()
    root = tmp_path / "images"
    image = image_path(root, write_image(root, "rounded", config))
    code, _ = calibrated(tmp_path, str(image), "--slack", "20")
    found = read_calibration((tmp_path / "calibration.json").read_bytes())
    assert (code, found.slack_ppm) == (0, 200_000)
    seen = found.resampled["logprob_delta_milli"].greatest
    assert found.gates.max_logprob_delta_milli == max(5, -(-seen * 6 // 5))


def test_an_image_that_fails_calibrates_nothing(tmp_path: Path) -> None:
    config = reference_image_kinds()["dies_at_start"].config()
    root = tmp_path / "images"
    code, printed = calibrated(tmp_path, str(image_path(root, write_image(root, "dies", config))))
    assert (code, printed) == (ExitCode.REFUSED, "")
    assert not (tmp_path / "calibration.json").exists()
