"""A whole contest's evidence, imagined: a baseline, two honest entrants, and a store of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from entrant_evidence import answer, evidence

from evaluation.conditions import conditions_of
from evaluation.evidence import EvidenceStore, canonical
from evaluation.host import host_facts
from evaluation.images import ImageRef
from evaluation.judge import judge
from evaluation.manifest import (
    BaselineEvidence,
    ContestEvidence,
    EntrantPart,
    spelled_part,
    track_policy_digest,
)
from evaluation.outcome import BaselineFigures, ContestOutcome
from evaluation.plan import ContestPlan, PlannedEntrant
from evaluation.records import ArmRecord, BlockRecord
from ledger.contest_policy import ContestPolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy
from ledger.rules.seed import seed_from_block_hash

HASH = "0x" + "ab" * 32
SEED = seed_from_block_hash(HASH)
PROMPTS = "sha256:" + "0" * 64
PROMPTS_KEPT = msgspec.json.encode({"seed": SEED, "digest": PROMPTS})
ENTRANTS = (("fast", "king", 2_000), ("faster", "challenger", 1_000))


def plan(**contest: Any) -> ContestPlan:
    return ContestPlan(
        contest_id="round-1",
        track="qwen",
        attempt=1,
        seed_block=8,
        seed_block_hash=HASH,
        policy=TrackPolicy(
            model="qwen",
            emission=KingTakesAll(),
            scoring=ScoreV2(),
            contest=ContestPolicy(prompts=2, repeated_prompts=1, **contest),
        ),
        model_dir="",
        model_name="qwen",
        baseline=ImageRef("", "sha256:" + "1" * 64),
        entrants=tuple(
            PlannedEntrant(
                entrant_id=name,
                hotkey="5F" + name,
                role=role,  # type: ignore[arg-type]  # the names above are roles
                image=ImageRef("", "sha256:" + "2" * 64),
            )
            for name, role, _ in ENTRANTS
        ),
    )


def record(arm: str, lag_us: int = 500) -> ArmRecord:
    blocks = tuple(
        BlockRecord(
            phase="prompts",
            block=block,
            place=0,
            since_start_ms=block,
            prompts=1,
            client_lag_p99_us=lag_us,
            client_lag_max_us=lag_us,
            client_lag_samples=3,
            late_beats=((lag_us // 50 - 1, 3),),
        )
        for block in range(2)
    )
    return ArmRecord(arm=arm, image=None, gpu_ms=5, starts=(), blocks=blocks)


def stored(root: Path, **manifest: Any) -> tuple[EvidenceStore, ContestEvidence, str]:
    """The store, the manifest (``manifest`` in place of its fields) and its digest."""
    store, planned = EvidenceStore(root), plan()
    before = (answer(20, step_us=5_000), answer(20, step_us=4_000))
    parts, verdicts = [], []
    for name, role, step_us in ENTRANTS:
        found = evidence(
            entrant_id=name,
            hotkey="5F" + name,
            role=role,
            answers=(answer(20, step_us=step_us),) * 2,
            repeats=(answer(20, step_us=step_us),),
            baseline=before,
            record=record(role),
        )
        digest = store.put(canonical(found))
        parts.append(EntrantPart(entrant_id=name, evidence_digest=digest))
        verdicts.append(judge(found, planned.policy.gates, evidence_digest=digest))
    baseline = BaselineEvidence(
        contest_id="round-1",
        prompts_digest=PROMPTS,
        before=before,
        after=(),
        records=(record("baseline"),),
        log_tail="",
    )
    fields: dict[str, Any] = {
        "plan": planned,
        "policy_digest": track_policy_digest(planned.policy),
        "seed": SEED,
        "prompts_digest": PROMPTS,
        "prompts_evidence": store.put(PROMPTS_KEPT),
        "baseline_evidence": store.put(spelled_part(baseline)),
        "entrants": tuple(parts),
        "conditions": conditions_of(
            planned.policy.contest,
            before,
            (),
            baseline.records,
            [record(role) for _, role, _ in ENTRANTS],
        ),
        "runner": {"runner": "process"},
        "client": "cacheon-ledger 0",
        "host_before": host_facts(),
        "host_after": host_facts(),
        "outcome": ContestOutcome(
            contest_id="round-1",
            status="completed",
            seed=SEED,
            prompts_digest=PROMPTS,
            baseline=BaselineFigures(
                ttft_us=tuple(one.ttft_us for one in before),
                e2e_us=tuple(one.wall_us for one in before),
                tokens=(20, 20),
            ),
            verdicts=tuple(verdicts),
            gpu_ms={name: 5 for name, _, _ in ENTRANTS},
        ),
    }
    found_manifest = ContestEvidence(**(fields | manifest))
    return store, found_manifest, store.put(spelled_part(found_manifest))


def changed(part: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(part, **fields)
