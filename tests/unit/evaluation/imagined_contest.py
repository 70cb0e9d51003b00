"""A whole contest's evidence, imagined: a baseline, two honest entrants, and a store of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from entrant_evidence import answer, evidence

from evaluation.blocks import blocks_of
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
from evaluation.prompts import PromptSet, prompts_for
from evaluation.records import ArmRecord, BlockRecord
from evaluation.reference import tokenizer
from ledger.contest_policy import ContestPolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy
from ledger.rules.seed import seed_from_block_hash

HASH = "0x" + "ab" * 32
SEED = seed_from_block_hash(HASH)
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
            contest=ContestPolicy(
                **({"prompts": 2, "repeated_prompts": 1, "context_tokens": 96} | contest)
            ),
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


def prompts_of(planned: ContestPlan) -> PromptSet:
    """What a contest by that plan asks."""
    seed = seed_from_block_hash(planned.seed_block_hash)
    return prompts_for(seed, planned.policy.contest, tokenizer)


PROMPTS = prompts_of(plan())
PROMPTS_KEPT = msgspec.json.encode(PROMPTS)


def record(arm: str, lag_us: int = 500, contest: ContestPolicy | None = None) -> ArmRecord:
    blocks = tuple(
        BlockRecord(
            phase="prompts",
            block=block,
            place=0,
            since_start_ms=block,
            prompts=len(places),
            client_lag_p99_us=lag_us,
            client_lag_max_us=lag_us,
            client_lag_samples=3,
            late_beats=((lag_us // 50 - 1, 3),),
        )
        for block, places in enumerate(blocks_of(contest or plan().policy.contest))
    )
    return ArmRecord(arm=arm, image=None, gpu_ms=5, starts=(), blocks=blocks)


def stored(
    root: Path,
    *,
    entrant: Mapping[str, Any] = MappingProxyType({}),
    prompts: PromptSet = PROMPTS,
    contest: Mapping[str, Any] = MappingProxyType({}),
    **manifest: Any,
) -> tuple[EvidenceStore, ContestEvidence, str]:
    """The store, the manifest (``manifest`` in place of its fields) and its digest.

    ``entrant`` is in place of fields of every entrant's evidence, ``contest`` of the policy's, and
    ``prompts`` are kept in the place of those that were asked. All else follows from them.
    """
    store, planned = EvidenceStore(root), plan(**contest)
    before = (answer(20, step_us=5_000), answer(20, step_us=4_000))
    parts, verdicts, records = [], [], []
    for name, role, step_us in ENTRANTS:
        fields_of_it: dict[str, Any] = {
            "entrant_id": name,
            "hotkey": "5F" + name,
            "role": role,
            "answers": (answer(20, step_us=step_us),) * 2,
            "prompts_digest": PROMPTS.digest,
            "repeated": PROMPTS.repeated,
            "repeats": (answer(20, step_us=step_us),),
            "baseline": before,
            "record": record(role),
        }
        found = evidence(**(fields_of_it | dict(entrant)))
        records.append(found.record)
        digest = store.put(canonical(found))
        parts.append(EntrantPart(entrant_id=name, evidence_digest=digest))
        verdicts.append(judge(found, planned.policy.gates, evidence_digest=digest))
    baseline = BaselineEvidence(
        contest_id="round-1",
        prompts_digest=PROMPTS.digest,
        before=before,
        after=(),
        records=(record("baseline"),),
        log_tail="",
    )
    fields: dict[str, Any] = {
        "plan": planned,
        "policy_digest": track_policy_digest(planned.policy),
        "seed": SEED,
        "prompts_digest": PROMPTS.digest,
        "prompts_evidence": store.put(msgspec.json.encode(prompts)),
        "baseline_evidence": store.put(spelled_part(baseline)),
        "entrants": tuple(parts),
        "conditions": conditions_of(
            planned.policy.contest,
            before,
            (),
            baseline.records,
            [one for one in records if one is not None],
        ),
        "runner": {"runner": "process"},
        "client": "cacheon-ledger 0",
        "host_before": host_facts(),
        "host_after": host_facts(),
        "outcome": ContestOutcome(
            contest_id="round-1",
            status="completed",
            seed=SEED,
            prompts_digest=PROMPTS.digest,
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
