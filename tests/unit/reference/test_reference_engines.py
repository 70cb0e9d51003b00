"""What each engine promises: the honest ones the same text for less, the cheats their cheat."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from evaluation.reference import engines as engines_module
from evaluation.reference.building import build_engine
from evaluation.reference.cheats import ReplayingEngine, TruncatingEngine, repeat_penalised
from evaluation.reference.config import KvCached, PrefixCached, Replay
from evaluation.reference.engines import (
    Emitted,
    Engine,
    Finished,
    KvCacheEngine,
    PacedEngine,
    PrefixCacheEngine,
    RecomputeEngine,
)
from evaluation.reference.model import Weights, init_weights
from evaluation.reference.scoring import teacher_forced
from evaluation.reference.tokenizer import EOS_ID
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

OUTPUT_TOKENS = 20
GATES = GatePolicy()


def answer(engine: Engine, prompt: Sequence[int], max_tokens: int = OUTPUT_TOKENS) -> list[int]:
    """The answer's ids; its last step must be the only end."""
    steps = list(engine.generate(prompt, max_tokens))
    assert [type(step) for step in steps] == [Emitted] * (len(steps) - 1) + [Finished]
    return [step.token_id for step in steps if isinstance(step, Emitted)]


def cost(engine: Engine, prompt: Sequence[int]) -> int:
    """Multiply-adds of answering ``prompt``."""
    before = engine.arithmetic.multiply_adds
    answer(engine, prompt)
    return engine.arithmetic.multiply_adds - before


def margins(weights: Weights, prompt: Sequence[int], output: Sequence[int]) -> list[float]:
    """How far each output token lies below the best one under ``weights``, in logprob."""
    found = []
    entries = teacher_forced(weights, [*prompt, *output]).tokens[len(prompt) :]
    for token, entry in zip(output, entries, strict=True):
        assert entry is not None
        best = next(scored for scored in entry.values() if scored.rank == 1)
        found.append(best.logprob - entry[token].logprob)
    return found


def top1_ppm(found: Sequence[float]) -> int:
    return sum(margin == 0 for margin in found) * PPM // len(found)


def test_honest_engines_write_what_the_baseline_writes(
    weights: Weights, prompts: list[list[int]]
) -> None:
    baseline, cached = RecomputeEngine(weights), KvCacheEngine(weights)
    prefix = PrefixCacheEngine(weights)
    for prompt in prompts[:3]:
        expected = list(baseline.generate(prompt, OUTPUT_TOKENS))
        for engine in (cached, prefix):
            steps = list(engine.generate(prompt, OUTPUT_TOKENS))
            assert steps[-1] == expected[-1] == Finished("length")
            for step, wanted in zip(steps[:-1], expected[:-1], strict=True):
                assert isinstance(step, Emitted)
                assert isinstance(wanted, Emitted)
                assert step.token_id == wanted.token_id == step.top5[0][0]
                assert step.logprob == pytest.approx(wanted.logprob, abs=2e-3)


def test_answers_differ_by_prompt_and_repeat_some_tokens(
    weights: Weights, prompts: list[list[int]]
) -> None:
    answers = [answer(KvCacheEngine(weights), prompt) for prompt in prompts]
    assert len({tuple(one) for one in answers}) == len(prompts)
    distinct = [len(set(one)) for one in answers]
    assert all(3 <= count < OUTPUT_TOKENS for count in distinct)
    assert all(32 <= token < 127 for one in answers for token in one)


def test_each_honest_step_saves_at_least_half_of_the_arithmetic(
    weights: Weights, prompts: list[list[int]]
) -> None:
    baseline, cached = RecomputeEngine(weights), KvCacheEngine(weights)
    prefix = PrefixCacheEngine(weights)
    for prompt in prompts[:2]:  # the preamble becomes known from the first two different prompts
        answer(prefix, prompt)
    prompt = prompts[2]
    by_baseline, by_cache = cost(baseline, prompt), cost(cached, prompt)
    assert by_baseline >= 2 * by_cache
    assert by_cache >= 2 * cost(prefix, prompt)


def test_a_repeated_prompt_costs_the_prefix_cache_what_a_fresh_one_costs(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = PrefixCacheEngine(weights)
    first = cost(engine, prompts[0])
    assert cost(engine, prompts[0]) == first
    answer(engine, prompts[1])
    fresh = cost(engine, prompts[2])
    assert fresh < first
    assert cost(engine, prompts[2]) == fresh
    assert cost(engine, prompts[0]) == fresh


def test_the_prefix_cache_forgets_a_preamble_nobody_uses_any_more(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = PrefixCacheEngine(weights)
    for prompt in prompts[:2]:
        answer(engine, prompt)
    unrelated = list(b"another preamble altogether, and longer than nothing")
    assert answer(engine, unrelated) == answer(RecomputeEngine(weights), unrelated)
    assert answer(engine, prompts[0]) == answer(KvCacheEngine(weights), prompts[0])


def test_an_abandoned_answer_leaves_the_prefix_cache_sound(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = PrefixCacheEngine(weights)
    for prompt in prompts[:3]:
        next(iter(engine.generate(prompt, OUTPUT_TOKENS)))
    assert answer(engine, prompts[3]) == answer(KvCacheEngine(weights), prompts[3])


def test_honest_output_is_the_first_choice_of_teacher_forcing(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = PrefixCacheEngine(weights)
    found = [
        margin for prompt in prompts for margin in margins(weights, prompt, answer(engine, prompt))
    ]
    assert top1_ppm(found) >= 990_000
    assert max(found) < 0.01


def test_other_weights_are_far_from_every_first_choice(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = KvCacheEngine(init_weights(4_711))
    found = [
        margin for prompt in prompts for margin in margins(weights, prompt, answer(engine, prompt))
    ]
    assert top1_ppm(found) < GATES.min_model_top1_ppm
    assert sum(found) / len(found) > 1


def test_a_repeat_penalty_is_the_right_model_with_another_choice(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = KvCacheEngine(weights, repeat_penalised(1_300_000))
    found = [
        margin for prompt in prompts for margin in margins(weights, prompt, answer(engine, prompt))
    ]
    assert GATES.min_model_top1_ppm <= top1_ppm(found) < GATES.min_top1_ppm
    clip = GATES.margin_clip_milli / 1000
    clipped = [min(margin, clip) for margin in found]
    assert 1000 * sum(clipped) / len(clipped) > GATES.max_mean_margin_milli


def test_a_repeat_penalty_pushes_emitted_tokens_down_on_both_sides_of_zero() -> None:
    sample = repeat_penalised(2_000_000)
    logits = np.array([3.0, 2.0, -1.0], dtype=np.float32)
    assert sample(logits, []) == 0
    assert sample(logits, [0]) == 1
    assert sample(-logits, [2]) == 2
    assert sample(np.array([-1.0, -1.5], dtype=np.float32), [0]) == 1


def test_a_truncating_engine_claims_an_end_after_its_part(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = TruncatingEngine(KvCacheEngine(weights), 500_000)
    steps = list(engine.generate(prompts[0], OUTPUT_TOKENS))
    assert steps[-1] == Finished("stop")
    whole = answer(KvCacheEngine(weights), prompts[0])
    emitted = [step.token_id for step in steps if isinstance(step, Emitted)]
    assert emitted == whole[: OUTPUT_TOKENS // 2]


def test_a_replaying_engine_computes_a_prompt_once(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = ReplayingEngine(PrefixCacheEngine(weights), stored_answers=2)
    first = answer(engine, prompts[0])
    assert cost(engine, prompts[1]) > 0
    assert cost(engine, prompts[0]) == 0
    assert answer(engine, prompts[0]) == first
    answer(engine, prompts[2])  # the oldest of three is forgotten
    assert cost(engine, prompts[0]) > 0


def test_the_end_of_the_sequence_stops_an_answer_and_is_not_emitted(
    weights: Weights, prompts: list[list[int]]
) -> None:
    bias = weights.bias.copy()
    bias[EOS_ID] = 8.0
    ending = dataclasses.replace(weights, bias=bias)
    ends = [list(KvCacheEngine(ending).generate(prompt, 40)) for prompt in prompts]
    stopped = [steps for steps in ends if steps[-1] == Finished("stop")]
    assert any(len(steps) > 1 for steps in stopped)
    steps = max(stopped, key=len)
    output = [step.token_id for step in steps if isinstance(step, Emitted)]
    assert EOS_ID not in output
    prompt = prompts[ends.index(steps)]
    assert margins(ending, prompt, [*output, EOS_ID])[-1] == 0


@pytest.mark.parametrize("kind", [KvCached, PrefixCached, Replay])
def test_a_paced_engine_writes_the_same_and_waits_before_each_token(
    kind: type[KvCached | PrefixCached | Replay],
    weights: Weights,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(engines_module.time, "sleep", slept.append)
    paced = build_engine(kind(token_us=5_000), weights)
    assert answer(paced, prompts[0]) == answer(KvCacheEngine(weights), prompts[0])
    assert slept == [0.005] * OUTPUT_TOKENS
    assert not isinstance(build_engine(kind(), weights), PacedEngine)


def test_a_pace_that_is_not_set_is_not_written_into_an_image() -> None:
    assert msgspec.json.encode(KvCached()) == b'{"engine":"kv_cache"}'
    assert msgspec.json.decode(msgspec.json.encode(Replay(token_us=5)), type=Replay).token_us == 5
