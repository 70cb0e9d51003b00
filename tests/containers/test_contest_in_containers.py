"""A whole contest between containers: the honest server is scored, the cheat is caught."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from evaluation.contest import run_contest
from evaluation.evidence import EvidenceStore, rejudge
from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, PlannedEntrant
from evaluation.reference import tokenizer
from evaluation.reference.model import ModelConfig
from evaluation.runners.docker.runner import DockerRunner
from ledger.contest_policy import ContestPolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.reference_image import reference_image
from tests.quick_policy import NO_TIMING

POLICY = ContestPolicy(
    prompts=3,
    warmup_prompts=1,
    repeated_prompts=0,
    context_tokens=128,
    output_tokens=20,
    startup_timeout_s=120,
    prompt_timeout_s=60,
    # No timing decides: at these limits neither drift nor lag can void the round.
    max_drift_ppm=1_000_000,
    max_client_lag_us=10_000_000,
    limits=SMALL,
)
TOGETHER = msgspec.structs.replace(
    POLICY, order="interleaved", prompts=4, prompts_per_block=2, start_together=True
)


@pytest.mark.slow
@pytest.mark.parametrize("contest", [POLICY, TOGETHER], ids=["one by one", "together"])
def test_a_contest_between_containers(
    engine: Engine,
    runner: DockerRunner,
    model_dir: Path,
    tmp_path: Path,
    contest: ContestPolicy,
) -> None:
    missing = ImageRef(f"{engine.registry}/missing", "sha256:" + "0" * 64)
    images = {
        "kv_cache": reference_image(engine, "kv_cache"),
        "other_weights": reference_image(engine, "other_weights"),
        "dies_at_start": reference_image(engine, "dies_at_start"),
        "missing": missing,
    }
    plan = ContestPlan(
        contest_id="in-containers",
        track="reference",
        attempt=1,
        seed_block=8,
        seed_block_hash="0x" + "5a" * 32,
        policy=TrackPolicy(
            model="reference",
            emission=KingTakesAll(),
            scoring=ScoreV2(),
            gates=NO_TIMING,
            contest=contest,
        ),
        model_dir=str(model_dir),
        model_name=ModelConfig().name,
        baseline=reference_image(engine, "recompute"),
        entrants=tuple(
            PlannedEntrant(entrant_id=kind, hotkey=kind, role="challenger", image=image)
            for kind, image in images.items()
        ),
    )
    evidence = EvidenceStore(tmp_path)
    outcome = run_contest(plan, runner, evidence, tokenizer=tokenizer)
    assert (outcome.status, outcome.detail) == ("completed", "")
    found = {verdict.entrant_id: verdict for verdict in outcome.verdicts}
    assert {name: verdict.code for name, verdict in found.items()} == {
        "kv_cache": "",
        "other_weights": "other_weights",
        "dies_at_start": "exited_at_start",
        "missing": "pull_failed",
    }
    assert found["kv_cache"].status == "scored"
    assert found["missing"].status == "infrastructure"
    assert "--kv-cache-dtype: invalid choice: 'fp8'" in found["dies_at_start"].log_tail
    for verdict in outcome.verdicts:
        assert rejudge(evidence, verdict.evidence_digest, NO_TIMING) == verdict
    client = engine.client
    assert client.containers.list(all=True) == []
    assert client.volumes.list() == []
