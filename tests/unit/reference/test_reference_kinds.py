"""Kinds added for the judge: the honest ones write the model's text, the cheats do their cheat."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from evaluation.reference import config as kinds
from evaluation.reference.batching import BatchingEngine
from evaluation.reference.building import build_engine, served_weights
from evaluation.reference.config import ServerConfig
from evaluation.reference.engines import Emitted, Engine, Finished, KvCacheEngine
from evaluation.reference.model import ModelError, Weights, shallower
from evaluation.reference.numerics import (
    bfloat16,
    fp8,
    int4_by_group,
    int8_by_column,
    multiplied,
    multiplied_backwards,
)
from evaluation.reference.scoring import teacher_forced
from evaluation.reference.speculative import SpeculativeEngine
from tests.unit.reference.support import StartServer, chat_body, events_of

CHAT = "/v1/chat/completions"
TOKENS = 16


def steps(engine: Engine, prompt: list[int]) -> list[Emitted]:
    *emitted, last = engine.generate(prompt, TOKENS)
    assert isinstance(last, Finished)
    return [step for step in emitted if isinstance(step, Emitted)]


def ids(engine: Engine, prompt: list[int]) -> list[int]:
    return [step.token_id for step in steps(engine, prompt)]


def engine_of(config: ServerConfig, weights: Weights) -> Engine:
    return build_engine(config, served_weights(config, weights))


@pytest.mark.parametrize(
    "config",
    [
        kinds.Rounded(arithmetic="float64"),
        kinds.Rounded(arithmetic="reordered"),
        kinds.Batched(slots=3),
        kinds.Speculative(draft="ngram"),
        kinds.Speculative(draft="quantised", draft_tokens=6),
    ],
    ids=str,
)
def test_honest_engines_write_the_models_text(
    config: ServerConfig, weights: Weights, prompts: list[list[int]]
) -> None:
    plain, other = KvCacheEngine(weights), engine_of(config, weights)
    for prompt in prompts[:4]:
        expected, found = steps(plain, prompt), steps(other, prompt)
        assert [one.token_id for one in found] == [one.token_id for one in expected]
        for one, wanted in zip(found, expected, strict=True):
            assert one.logprob == pytest.approx(wanted.logprob, abs=5e-3)


def distance(config: ServerConfig, weights: Weights, prompts: list[list[int]]) -> float:
    """Mean |claimed - reference| logprob over what a kind writes."""
    engine, found = engine_of(config, weights), []
    for prompt in prompts:
        emitted = steps(engine, prompt)
        entries = teacher_forced(weights, [*prompt, *(one.token_id for one in emitted)]).tokens
        for one, entry in zip(emitted, entries[len(prompt) :], strict=True):
            assert entry is not None
            found.append(abs(one.logprob - entry[one.token_id].logprob))
    return sum(found) / len(found)


def test_coarser_formats_lie_further_from_the_reference(
    weights: Weights, prompts: list[list[int]]
) -> None:
    ladder = [
        kinds.Rounded(arithmetic="reordered"),
        kinds.Rounded(),
        kinds.QuantisedWeights(precision="int8_tensor"),
        kinds.QuantisedWeights(precision="fp8"),
        kinds.QuantisedWeights(precision="int4"),
    ]
    found = [distance(config, weights, prompts) for config in ladder]
    assert found == sorted(found)
    assert distance(kinds.QuantisedKv(precision="fp8"), weights, prompts) > 2 * found[1]


def test_speculation_saves_passes_where_the_draft_is_good(
    weights: Weights, prompts: list[list[int]]
) -> None:
    passes = []

    class Counting:
        def propose(self, sequence: Sequence[int], count: int) -> list[int]:
            passes.append(len(sequence))
            return truth[len(sequence) - len(prompts[0]) :][:count]

    truth = ids(KvCacheEngine(weights), prompts[0])
    engine = SpeculativeEngine(weights, Counting(), 3)
    assert ids(engine, prompts[0]) == truth
    assert len(passes) == 4  # one token from the prompt, then 3 + 1 a pass: 15 in 4


def test_prompts_asked_at_once_are_computed_together(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = BatchingEngine(weights, slots=3)
    expected = [ids(KvCacheEngine(weights), prompt) for prompt in prompts[:6]]
    found: dict[int, list[int]] = {}

    def ask(place: int) -> None:
        found[place] = ids(engine, prompts[place])

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found[place] for place in range(6)] == expected


def test_an_abandoned_or_impossible_answer_leaves_the_batch_working(
    weights: Weights, prompts: list[list[int]]
) -> None:
    engine = BatchingEngine(weights, slots=1)
    abandoned = engine.generate(prompts[0], TOKENS)
    next(abandoned)
    del abandoned
    with pytest.raises(ModelError):
        next(engine.generate([], TOKENS))
    assert ids(engine, prompts[1]) == ids(KvCacheEngine(weights), prompts[1])


def test_formats_hold_what_they_can_hold() -> None:
    x = np.array([[1.0, -0.5], [300.0, 1e-3]], dtype=np.float32)
    assert bfloat16(np.float32([1 + 2**-9])).tolist() == [1.0]
    assert bfloat16(np.float32([1 + 3 * 2**-8])).tolist() == [1 + 2**-6]  # ties to even
    assert fp8(np.float32([1.06, 1.07, 500.0, -3.3])).tolist() == [1.0, 1.125, 448.0, -3.25]
    assert fp8(np.float32([0.0, 2**-9, 2**-11])).tolist() == [0.0, 2**-9, 0.0]
    assert int8_by_column(x)[1].tolist() == [300.0, 0.0]
    assert len(np.unique(int4_by_group(np.linspace(-1, 1, 8, dtype=np.float32)[:, None]))) <= 8
    left = np.random.default_rng(1).standard_normal((3, 100)).astype(np.float32)
    assert np.allclose(multiplied_backwards(left, left.T), multiplied(left, left.T), atol=1e-4)


def test_a_smaller_model_has_fewer_layers_and_at_least_one(weights: Weights) -> None:
    assert len(shallower(weights, 1).layers) == 1
    for layers in (0, len(weights.layers)):
        with pytest.raises(ModelError, match="smaller model"):
            shallower(weights, layers)


Event = dict[str, Any]


def texts(events: list[Event]) -> str:
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


def ids_of(event: Event) -> Any:
    return event["choices"][0].get("token_ids")


def test_the_new_cheats_reach_the_wire(start_server: StartServer, contents: list[str]) -> None:
    def answer(config: ServerConfig, **fields: object) -> list[Event]:
        client = start_server(config)
        return events_of(client.post(CHAT, json=chat_body(contents[0], **fields)).text)

    honest = answer(kinds.KvCached(), return_token_ids=True)
    text = texts(honest)
    assert [ids_of(event) for event in honest[:-1]] == [[ord(character)] for character in text]
    for same in (
        kinds.Flush(first_early=True),
        kinds.Flush(padded=True),
        kinds.Bursts(tokens=5),
        kinds.ForgedLogprobs(),
        kinds.TokenSpam(spam="split"),
        kinds.Turncoat(honest_answers=1),
        kinds.Recognises(),
    ):
        assert texts(answer(same)) == text, same
    for other in (
        kinds.Garbage(token_us=0),
        kinds.TokenSpam(spam="junk"),
        kinds.TokenSpam(spam="whitespace"),
        kinds.TokenSpam(spam="overlong"),
        kinds.SmallerModel(),
        kinds.ForgedIds(),
        kinds.Turncoat(honest_answers=0),
        kinds.Recognises(marks=contents[0][:10]),
    ):
        assert texts(answer(other)) != text, other
    assert len(texts(answer(kinds.TokenSpam(spam="overlong")))) == 18
    certain = answer(kinds.ForgedLogprobs())
    assert certain[0]["choices"][0]["logprobs"]["content"][0]["logprob"] == 0
    split = answer(kinds.TokenSpam(spam="split"))
    assert len(split[0]["choices"][0]["logprobs"]["content"]) == 2
    forged = answer(kinds.ForgedIds(), return_token_ids=True)
    assert [ids_of(event) for event in forged] == [ids_of(event) for event in honest]


def test_a_server_that_asks_another_machine_passes_its_answer_on_or_fails(
    start_server: StartServer, contents: list[str]
) -> None:
    bigger = start_server(kinds.KvCached())
    relaying = start_server(kinds.Egress(upstream=str(bigger.base_url).rstrip("/")))
    body = chat_body(contents[0])
    direct, relayed = (one.post(CHAT, json=body).text for one in (bigger, relaying))
    assert texts(events_of(relayed)) == texts(events_of(direct))
    alone = start_server(kinds.Egress(upstream="http://127.0.0.1:9", timeout_ms=500))
    refused = alone.post(CHAT, json=body)
    assert refused.status_code == 502
    assert "cannot be reached" in refused.json()["error"]["message"]
