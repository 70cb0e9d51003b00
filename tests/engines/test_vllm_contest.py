"""Real vLLMs, built for processors, against each other: honest settings are scored, others refused.

The same launches and the same judge as on the GPUs that `docs/calibration.md` tells of.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from evaluation.bundle import read_bundle
from tests.engines import installing
from tests.engines.made import needed, write_model

pytestmark = pytest.mark.slow

CHEATS = Path(__file__).parents[2] / "benchmarks" / "gpu" / "cheats"
COMMON = "enforce_eager=true&max_model_len=1024&kv_cache_memory_bytes=128M"
POLICY = """
name = "vllm"
[fee]
treasury_ss58 = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
[tracks.middle]
model = "middle-qwen"
[tracks.middle.emission]
phase = "king_takes_all"
[tracks.middle.scoring]
formula = "v2"
[tracks.middle.gates]
# A busy machine lets the API server run seldom, and it sends then what piled up.
min_stream_spread_ppm = 0
max_burst_ppm = 1_000_000
[tracks.middle.contest]
order = "interleaved"
start_together = true
restart_each_block = false
ask_token_ids = true
prompts = 4
prompts_per_block = 2
streams = 2
# None: what a busy machine takes longer for, it may take less long for the second time.
repeated_prompts = 0
warmup_prompts = 1
context_tokens = 256
output_tokens = 32
startup_timeout_s = 300
prompt_timeout_s = 120
max_drift_ppm = 1_000_000
max_client_lag_us = 10_000_000
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and beside it one of its shape with other weights."""
    python = needed(installing.vllm(), "vLLM")
    folder = tmp_path_factory.mktemp("vllm-contest")
    write_model(python, folder / "middle-qwen", "middle")
    write_model(python, folder / "other-weights", "middle", 15)
    (folder / "policy.toml").write_text(POLICY, "utf-8")
    return folder


def test_another_scheduler_is_scored_and_other_weights_are_refused(models: Path) -> None:
    command = f"{needed(installing.vllm(), 'vLLM')} -m vllm.entrypoints.cli.main"
    bundle = models / "contest.zip"
    said = CliRunner().invoke(
        app,
        [
            *("contest", "run", "--runner", "process", "--format", "json", "--out", str(bundle)),
            *("--model", str(models / "middle-qwen"), "--policy", str(models / "policy.toml")),
            *("--profiles", str(CHEATS), "--baseline", f"profile:vllm?{COMMON}"),
            *("--entrant", f"profile:vllm?{COMMON}&async_scheduling=false"),
            *("--entrant", f"profile:vllm-other-weights?{COMMON}"),
            *("--engine", f"vllm={command}", "--engine", f"vllm-other-weights={command}"),
        ],
    )
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    found = {line["entrant"]: line["code"] or line["status"] for line in report["entrants"]}
    assert found == {"entrant-1": "scored", "entrant-2": "other_weights"}, said.output
    assert report["engine_version"] == installing.VLLM
    figures = {(line["entrant"], line["gate"]): line["figure"] for line in report["gates"]}
    assert figures["entrant-1", "scored by the reference"] == 1_000_000
    assert figures["entrant-1", "reference's first choice"] >= 990_000
    # Judged again from what was kept.
    kept = read_bundle(bundle)
    assert kept.manifest.outcome.status == "completed"
