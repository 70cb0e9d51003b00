"""The reference model: a small decoder-only transformer in float32 numpy.

It is real where contests look at it: its logits depend on the whole prefix, a KV cache saves real
arithmetic, and two orders of the same sums differ by float noise only. It has learned nothing: its
weights are drawn from a seed (:func:`init_weights`), and it writes reproducible nonsense in
printable ASCII.

Shapes below: ``T`` tokens in, ``H`` heads, ``P`` positions, ``D`` width, ``V`` vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.reference.numerics import EXACT, Floats, Numerics, Rounding
from evaluation.reference.tokenizer import EOS_ID, VOCABULARY

DEFAULT_SEED: Final = 14
_NORM_EPSILON: Final = np.float32(1e-5)
_TOKEN_SCALE: Final = 1.0
_POSITION_SCALE: Final = 0.5
_QUERY_KEY_GAIN: Final = 5.0
_PROJECT_GAIN: Final = 4.0
_STEEPEST_RECENCY: Final = 0.25
_HEAD_GAIN: Final = 3.0
_BIAS_SCALE: Final = 1.5
_UNPRINTABLE_BIAS: Final = -30.0
_EOS_BIAS: Final = -3.0


class ModelError(ValueError):
    """A model directory or a sequence that the reference model cannot take."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``config.json`` of a model directory says: the served name, the seed, the sizes.

    ``positions`` is the longest sequence, prompt and output together, in tokens.
    """

    name: str = "cacheon-reference"
    seed: int = DEFAULT_SEED
    layers: int = 4
    width: int = 128
    heads: int = 4
    ffn: int = 512
    vocabulary: int = VOCABULARY
    positions: int = 1024


@dataclass(frozen=True, slots=True)
class Layer:
    """One block: ``x += attend(norm(x)) @ project``, then ``x += relu(norm(x) @ up) @ down``."""

    query_key_value: Floats
    """(D, 3D)"""
    project: Floats
    """(D, D)"""
    up: Floats
    """(D, ffn)"""
    down: Floats
    """(ffn, D)"""


@dataclass(frozen=True, slots=True)
class Weights:
    """All parameters. Layer norms have no gain or offset of their own."""

    config: ModelConfig
    tokens: Floats
    """(V, D)"""
    positions: Floats
    """(P, D)"""
    layers: tuple[Layer, ...]
    head: Floats
    """(D, V)"""
    bias: Floats
    """(V,)"""


@dataclass(slots=True)
class Arithmetic:
    """What was computed so far, counted from the shapes that were multiplied."""

    token_forwards: int = 0
    """Tokens sent through all layers."""
    multiply_adds: int = 0
    """Multiply-adds of all matrix products, masked attention entries included."""


@dataclass(slots=True)
class KvCache:
    """Keys and values of the tokens a sequence begins with: (layers, H, P, D/H) each."""

    keys: Floats
    values: Floats
    length: int = field(default=0)

    @classmethod
    def empty(cls, config: ModelConfig, numerics: Numerics = EXACT) -> KvCache:
        """A cache with room for every position and no token in it."""
        shape = (config.layers, config.heads, config.positions, config.width // config.heads)
        return cls(np.empty(shape, numerics.dtype), np.empty(shape, numerics.dtype))

    def truncate(self, length: int) -> None:
        """Forget the tokens after the first ``length``; what follows is written over them."""
        if not 0 <= length <= self.length:
            msg = f"the cache holds {self.length} tokens; it cannot be cut to {length}"
            raise ModelError(msg)
        self.length = length


def init_weights(seed: int, config: ModelConfig | None = None) -> Weights:
    """Draw all weights from ``numpy.random.Generator(PCG64(seed))``; ``seed`` replaces config's.

    Standard normals in float32, in the order of the fields (layer after layer). Each matrix is
    scaled by 1/sqrt(its rows) times a gain; the gains of queries, keys and attention's output are
    large, so that a few places of the prompt decide what is written. The output bias leaves text
    to printable ASCII, makes some characters commoner than others, and EOS possible but rare.
    """
    sizes = msgspec.structs.replace(config or ModelConfig(), seed=seed)
    if sizes.width % sizes.heads or sizes.vocabulary != VOCABULARY:
        msg = f"width must be a multiple of heads and the vocabulary {VOCABULARY}, got {sizes}"
        raise ModelError(msg)
    draw = np.random.Generator(np.random.PCG64(seed))

    def matrix(rows: int, columns: int, gain: float) -> Floats:
        drawn = draw.standard_normal((rows, columns), dtype=np.float32)
        return np.asarray(drawn * np.float32(gain), dtype=np.float32)

    width, ffn = sizes.width, sizes.ffn
    tokens = matrix(sizes.vocabulary, width, _TOKEN_SCALE)
    positions = matrix(sizes.positions, width, _POSITION_SCALE)
    layers = []
    for _ in range(sizes.layers):
        fused = matrix(width, 3 * width, width**-0.5)
        fused[:, : 2 * width] *= np.float32(_QUERY_KEY_GAIN**0.5)
        layers.append(
            Layer(
                query_key_value=fused,
                project=matrix(width, width, _PROJECT_GAIN * width**-0.5),
                up=matrix(width, ffn, (2 / width) ** 0.5),
                down=matrix(ffn, width, ffn**-0.5),
            )
        )
    head = matrix(width, sizes.vocabulary, _HEAD_GAIN * width**-0.5)
    bias = matrix(1, sizes.vocabulary, _BIAS_SCALE)[0]
    bias[:32] = bias[127:256] = _UNPRINTABLE_BIAS
    bias[EOS_ID] = _EOS_BIAS
    return Weights(sizes, tokens, positions, tuple(layers), head, bias)


def forward(
    weights: Weights,
    tokens: Sequence[int],
    cache: KvCache | None = None,
    *,
    last_only: bool = False,
    arithmetic: Arithmetic | None = None,
    numerics: Numerics = EXACT,
) -> Floats:
    """Logits (T, V) that follow each of ``tokens``; (1, V) with ``last_only``.

    Without a cache ``tokens`` is the whole sequence. With one they come after the tokens it holds,
    and their keys and values are appended to it. ``arithmetic`` is added to. Raises
    :class:`ModelError` for an empty or over-long sequence or an id outside the vocabulary.
    """
    config = weights.config
    start = cache.length if cache is not None else 0
    ids = _checked(tokens, start, config)
    count, total = len(ids), start + len(ids)
    rounded, multiply = numerics.activations, numerics.multiply
    x = rounded(weights.tokens[ids] + weights.positions[start:total])
    for index, layer in enumerate(weights.layers):
        fused = rounded(multiply(rounded(norm(x)), layer.query_key_value))
        query, key, value = split_heads(fused, config.heads)
        key, value = numerics.cached(key), numerics.cached(value)
        if cache is not None:
            cache.keys[index, :, start:total] = key
            cache.values[index, :, start:total] = value
            key, value = cache.keys[index, :, :total], cache.values[index, :, :total]
        attended = rounded(attend(query, key, value, start, numerics))
        x = rounded(x + rounded(multiply(attended, layer.project)))
        x = rounded(x + feed_forward(layer, x, numerics))
    if cache is not None:
        cache.length = total
    read = x[-1:] if last_only else x
    if arithmetic is not None:
        arithmetic.token_forwards += count
        arithmetic.multiply_adds += _multiply_adds(config, count, total, len(read))
    return logits_of(weights, read, numerics)


def feed_forward(layer: Layer, x: Floats, numerics: Numerics) -> Floats:
    """``relu(norm(x) @ up) @ down`` of (T, D)."""
    rounded, multiply = numerics.activations, numerics.multiply
    inner = rounded(np.maximum(rounded(multiply(rounded(norm(x)), layer.up)), 0))
    return rounded(multiply(inner, layer.down))


def logits_of(weights: Weights, x: Floats, numerics: Numerics) -> Floats:
    """(T, V) from what the last layer leaves, (T, D)."""
    normed = numerics.activations(norm(x))
    return np.asarray(numerics.multiply(normed, weights.head) + weights.bias, dtype=np.float32)


def map_matrices(weights: Weights, change: Rounding, *, embeddings: bool) -> Weights:
    """The weights with every matrix changed; those of tokens and positions if ``embeddings``."""
    layers = tuple(
        Layer(
            change(layer.query_key_value),
            change(layer.project),
            change(layer.up),
            change(layer.down),
        )
        for layer in weights.layers
    )
    tokens, positions = weights.tokens, weights.positions
    if embeddings:
        tokens, positions = change(tokens), change(positions)
    return Weights(weights.config, tokens, positions, layers, change(weights.head), weights.bias)


def shallower(weights: Weights, layers: int) -> Weights:
    """The first ``layers`` layers alone under the same head: a smaller model."""
    if not 0 < layers < len(weights.layers):
        msg = f"a smaller model has 1 to {len(weights.layers) - 1} layers, not {layers}"
        raise ModelError(msg)
    config = msgspec.structs.replace(weights.config, layers=layers)
    return dataclasses.replace(weights, config=config, layers=weights.layers[:layers])


def _checked(tokens: Sequence[int], start: int, config: ModelConfig) -> NDArray[np.int64]:
    ids = np.asarray(tokens, dtype=np.int64)
    if ids.ndim != 1 or not len(ids):
        msg = "the model needs at least one token"
        raise ModelError(msg)
    if start + len(ids) > config.positions:
        msg = f"the sequence has {start + len(ids)} tokens; the model takes {config.positions}"
        raise ModelError(msg)
    if ids.min() < 0 or ids.max() >= config.vocabulary:
        msg = f"token ids must lie in 0..{config.vocabulary - 1}"
        raise ModelError(msg)
    return ids


def norm(x: Floats) -> Floats:
    """Each row of (T, D) with mean 0 and variance 1."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("td,td->t", centred, centred)[:, None] / np.float32(x.shape[-1])
    return np.asarray(centred / np.sqrt(variance + _NORM_EPSILON))


def split_heads(fused: Floats, heads: int) -> tuple[Floats, Floats, Floats]:
    """(T, 3D) into queries, keys and values of (H, T, D/H)."""
    count, columns = fused.shape
    split = fused.reshape(count, 3, heads, columns // (3 * heads)).transpose(1, 2, 0, 3)
    return split[0], split[1], split[2]


def attend(
    query: Floats, key: Floats, value: Floats, start: int, numerics: Numerics = EXACT
) -> Floats:
    """Causal attention of (H, T, d) queries at ``start``.. over (H, N, d) keys: (T, H·d)."""
    heads, count, size = query.shape
    scaled = query * np.float32(size**-0.5)
    scores = numerics.multiply(scaled, key.transpose(0, 2, 1))
    scores += _recency(heads, key.shape[1])
    if count > 1:
        scores += _causal_mask(start, count)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = numerics.multiply(scores, value)
    return np.asarray(mixed.transpose(1, 0, 2).reshape(count, heads * size))


@lru_cache(maxsize=64)
def _recency(heads: int, total: int) -> Floats:
    """(H, 1, N): what each head adds to the score of each key for standing late, as ALiBi does.

    ALiBi subtracts slope x distance; within a row that differs by a constant from slope x place,
    which the softmax cancels. Without it the few tokens of a prompt's own are lost in the preamble.
    """
    slopes = np.array([_STEEPEST_RECENCY / 4**head for head in range(heads)], dtype=np.float32)
    return np.asarray(slopes[:, None, None] * np.arange(1 - total, 1, dtype=np.float32))


@lru_cache(maxsize=8)
def _causal_mask(start: int, count: int) -> Floats:
    """(T, start + T): 0 where a token may look, -inf at tokens after it."""
    mask = np.full((count, start + count), -np.inf, dtype=np.float32)
    return np.asarray(np.triu(mask, k=start + 1), dtype=np.float32)


def _multiply_adds(config: ModelConfig, count: int, total: int, read: int) -> int:
    width, ffn = config.width, config.ffn
    matrices = count * (4 * width * width + 2 * width * ffn)
    attention = 2 * count * total * width
    return config.layers * (matrices + attention) + read * width * config.vocabulary
