"""The model computes the same however it is asked, and is what its seed says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from evaluation.reference.model import (
    Arithmetic,
    KvCache,
    ModelConfig,
    ModelError,
    Weights,
    forward,
    init_weights,
)
from evaluation.reference.model_files import load_model, save_model


def test_a_cache_filled_in_pieces_gives_the_logits_of_one_pass(
    weights: Weights, prompts: list[list[int]]
) -> None:
    prompt = prompts[0]
    whole = forward(weights, prompt)
    cache = KvCache.empty(weights.config)
    pieces = [prompt[:300], prompt[300:400], *([token] for token in prompt[400:])]
    pieced = np.concatenate([forward(weights, piece, cache) for piece in pieces])
    assert cache.length == len(prompt)
    assert whole.shape == (len(prompt), 257)
    np.testing.assert_allclose(pieced, whole, atol=2e-3)
    np.testing.assert_array_equal(forward(weights, prompt, last_only=True).shape, (1, 257))


def test_logits_do_not_see_later_tokens_and_do_see_every_earlier_one(weights: Weights) -> None:
    tokens = list(b"the king holds his crown")
    logits = forward(weights, tokens)
    changed_last = forward(weights, [*tokens[:-1], ord("!")])
    np.testing.assert_allclose(changed_last[:-1], logits[:-1], atol=2e-3)
    changed_first = forward(weights, [ord("T"), *tokens[1:]])
    assert np.abs(changed_first[-1] - logits[-1]).max() > 0.01


def test_a_cut_cache_continues_as_if_the_rest_had_never_been(weights: Weights) -> None:
    cache = KvCache.empty(weights.config)
    forward(weights, list(b"shared beginning, one end"), cache)
    cache.truncate(len(b"shared beginning"))
    continued = forward(weights, list(b" and other"), cache)
    fresh = forward(weights, list(b"shared beginning and other"))
    np.testing.assert_allclose(continued, fresh[-len(b" and other") :], atol=2e-3)
    with pytest.raises(ModelError, match="cannot be cut to 99"):
        cache.truncate(99)


def test_the_seed_alone_decides_the_weights() -> None:
    one, same, other = init_weights(3), init_weights(3), init_weights(4)
    assert one.config.seed == 3
    np.testing.assert_array_equal(one.layers[3].down, same.layers[3].down)
    np.testing.assert_array_equal(one.bias, same.bias)
    assert np.abs(one.head - other.head).max() > 0.1


def test_a_saved_model_is_read_back_bit_for_bit(weights: Weights, tmp_path: Path) -> None:
    save_model(weights, tmp_path)
    read = load_model(tmp_path)
    assert read.config == weights.config
    tokens = list(b"same bits")
    np.testing.assert_array_equal(forward(read, tokens), forward(weights, tokens))


def test_an_archive_that_does_not_fit_its_configuration_is_named(
    weights: Weights, tmp_path: Path
) -> None:
    save_model(weights, tmp_path)
    wider = msgspec.structs.replace(weights.config, positions=2048)
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(wider))
    with pytest.raises(ModelError, match="missing or misshapen: positions"):
        load_model(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="no model archive"):
        load_model(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="no model configuration"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [([], "at least one token"), ([257], "0..256"), ([-1], "0..256"), ([1] * 1025, "takes 1024")],
)
def test_sequences_the_model_cannot_take_are_refused(
    weights: Weights, tokens: list[int], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        forward(weights, tokens)


def test_multiply_adds_are_those_of_the_matrix_shapes() -> None:
    config = ModelConfig(layers=1, width=8, heads=2, ffn=16, positions=32)
    arithmetic = Arithmetic()
    forward(init_weights(1, config), [1, 2, 3], last_only=True, arithmetic=arithmetic)
    matrices = 3 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8)
    scores_and_sums = 2 * (2 * 3 * 3 * 4)
    assert arithmetic == Arithmetic(3, matrices + scores_and_sums + 8 * 257)
