"""How much arithmetic each honest engine saves: exact counts, no clock.

A contest's order in the demo hangs on these ratios and not on timing noise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from benchmarks.registry import Measurement, benchmark
from evaluation.prompts import prompts_for
from evaluation.reference import tokenizer
from evaluation.reference.engines import (
    Engine,
    KvCacheEngine,
    PrefixCacheEngine,
    RecomputeEngine,
)
from evaluation.reference.model import DEFAULT_SEED, init_weights
from ledger.contest_policy import ContestPolicy

GOAL: Final = 2.0
CONTEST: Final = ContestPolicy(prompts=2, context_tokens=608, output_tokens=20)
"""The lengths of the demo's season; fewer prompts, because every one costs the same."""


@benchmark("multiply-adds of recomputing the prefix for every token, over a KV cache's", goal=GOAL)
def baseline_over_kv_cache() -> Measurement:
    """The baseline against the plain KV cache."""
    recompute, kv_cache, _ = _multiply_adds()
    return Measurement(recompute / kv_cache, 1, _note(recompute, kv_cache))


@benchmark("multiply-adds of a KV cache, over those of one that shares prefixes", goal=GOAL)
def kv_cache_over_prefix_cache() -> Measurement:
    """The plain KV cache against the one that also keeps what prompts share."""
    _, kv_cache, prefix_cache = _multiply_adds()
    return Measurement(kv_cache / prefix_cache, 1, _note(kv_cache, prefix_cache))


@lru_cache(maxsize=1)
def _multiply_adds() -> tuple[int, int, int]:
    """Of the scored prompts of one attempt, after its warm-up, by each engine."""
    weights = init_weights(DEFAULT_SEED)
    recompute, kv_cache, prefix_cache = (
        _count(engine)
        for engine in (
            RecomputeEngine(weights),
            KvCacheEngine(weights),
            PrefixCacheEngine(weights),
        )
    )
    return recompute, kv_cache, prefix_cache


def _count(engine: Engine) -> int:
    prompts = prompts_for(14, CONTEST, tokenizer)
    for content in prompts.warmup:
        _answer(engine, content)
    before = engine.arithmetic.multiply_adds
    for content in prompts.scored:
        _answer(engine, content)
    return engine.arithmetic.multiply_adds - before


def _answer(engine: Engine, content: str) -> None:
    prompt = tokenizer.chat_prompt([{"role": "user", "content": content}])
    for _ in engine.generate(prompt, CONTEST.output_tokens):
        pass


def _note(more: int, less: int) -> str:
    return (
        f"{more:,} against {less:,} multiply-adds for {CONTEST.prompts} prompts of "
        f"{CONTEST.context_tokens} tokens and {CONTEST.output_tokens} of output; counted, so exact"
    )
