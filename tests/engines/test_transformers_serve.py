"""A real engine of others goes through client, tokenizer, forcing and judge, and is not refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.errors import ExitCode
from tests.engines import installing
from tests.engines.made import needed, write_model

pytestmark = pytest.mark.slow

POLICY = """
name = "foreign"
[fee]
treasury_ss58 = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
[tracks.tiny]
model = "tiny-qwen"
[tracks.tiny.emission]
phase = "king_takes_all"
[tracks.tiny.scoring]
formula = "v2"
[tracks.tiny.gates]
require_logprobs = false
# What a busy machine delays is no finding.
max_repeat_gain_ppm = 1_000_000
min_stream_spread_ppm = 0
max_burst_ppm = 1_000_000
[tracks.tiny.contest]
prompts = 4
repeated_prompts = 1
warmup_prompts = 1
context_tokens = 256
output_tokens = 24
startup_timeout_s = 240
prompt_timeout_s = 120
restart_each_block = false
max_drift_ppm = 1_000_000
max_client_lag_us = 10_000_000
"""


@pytest.fixture(scope="module")
def engine() -> Path:
    """The Python that has transformers."""
    return needed(installing.transformers(), "transformers serve")


@pytest.fixture(scope="module")
def model(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a BPE tokenizer and a chat template."""
    out = tmp_path_factory.mktemp("engines") / "tiny-qwen"
    write_model(engine, out)
    (out.parent / "policy.toml").write_text(POLICY, encoding="utf-8")
    return out


def contest(engine: Path, model: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    said = CliRunner().invoke(
        app,
        [
            *("contest", *words, "--model", str(model), "--runner", "process"),
            *("--policy", str(model.parent / "policy.toml"), "--format", "json"),
            *("--engine", f"transformers={engine.parent / 'transformers'}"),
            *("--engine", f"transformers-adapted={engine}"),
        ],
    )
    assert said.stdout, said.output
    return said.exit_code, json.loads(said.stdout), said.output


def test_it_keeps_the_contract_behind_its_layer(engine: Path, model: Path) -> None:
    code, report, output = contest(engine, model, "check", "profile:transformers-adapted")
    checks = {check["name"]: check for check in report["checks"]}
    assert code == 0, output
    assert checks["stream"]["outcome"] == checks["end of stream"]["outcome"] == "passed"
    assert checks["logprobs"]["outcome"] == "hint"  # it gives none, and this track asks none
    assert checks["length"]["outcome"] == "passed"


def test_as_it_comes_it_is_told_what_it_lacks(engine: Path, model: Path) -> None:
    code, report, _ = contest(
        engine, model, "check", "profile:transformers", "--model-name", str(model)
    )
    checks = {check["name"]: check for check in report["checks"]}
    assert code == ExitCode.CONTRACT_BROKEN
    assert checks["model name"]["outcome"] == "passed"
    assert checks["end of stream"]["code"] == "stream_broken"
    assert "without [DONE]" in checks["end of stream"]["seen"]


def test_an_honest_one_is_scored_and_other_arithmetic_is_not_refused(
    engine: Path, model: Path
) -> None:
    code, report, output = contest(
        engine,
        model,
        *("run", "--baseline", "profile:transformers-adapted"),
        *("--entrant", "profile:transformers-adapted"),
        *("--entrant", "profile:transformers-adapted?dtype=bfloat16"),
    )
    assert code == 0, output
    lines = {line["entrant"]: line for line in report["entrants"]}
    assert {name: line["status"] for name, line in lines.items()} == {
        "entrant-1": "scored",
        "entrant-2": "scored",
    }, output
    figures = {(line["entrant"], line["gate"]): line["figure"] for line in report["gates"]}
    assert figures["entrant-1", "scored by the reference"] == 1_000_000
    assert figures["entrant-1", "reference's first choice"] >= 990_000
