"""From a configuration to the engine and the weights that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from evaluation.reference import config as kinds
from evaluation.reference.batching import BatchingEngine
from evaluation.reference.cheats import (
    ForgingEngine,
    GarbageEngine,
    ReplayingEngine,
    SpammingEngine,
    TruncatingEngine,
    TurningEngine,
    drawn_at,
    first_answers,
    repeat_penalised,
    without,
)
from evaluation.reference.engines import (
    Engine,
    KvCacheEngine,
    PacedEngine,
    PrefixCacheEngine,
    RecomputeEngine,
    greedy,
)
from evaluation.reference.model import (
    ModelError,
    Weights,
    init_weights,
    map_matrices,
    shallower,
)
from evaluation.reference.numerics import (
    Numerics,
    Rounding,
    bfloat16,
    fp8,
    int4_by_group,
    int4_by_row,
    int8_by_column,
    int8_by_tensor,
    multiplied_backwards,
)
from evaluation.reference.speculative import ModelDraft, NgramDraft, SpeculativeEngine
from evaluation.reference.tokenizer import encode

WEIGHT_FORMATS: Final[Mapping[str, Rounding]] = MappingProxyType(
    {
        "int8": int8_by_column,
        "int8_tensor": int8_by_tensor,
        "fp8": fp8,
        "int4": int4_by_group,
    }
)
CACHE_FORMATS: Final[Mapping[str, Rounding]] = MappingProxyType({"fp8": fp8, "int4": int4_by_row})
ARITHMETICS: Final[Mapping[str, Numerics]] = MappingProxyType(
    {
        "bfloat16": Numerics(activations=bfloat16, cached=bfloat16),
        "float64": Numerics(dtype=np.float64),
        "reordered": Numerics(multiply=multiplied_backwards),
    }
)


def served_weights(config: kinds.ServerConfig, weights: Weights) -> Weights:
    """The weights a server of this kind computes with; raises ModelError where there are none."""
    match config:
        case kinds.OtherWeights(seed=seed):
            if seed == weights.config.seed:
                msg = f"other_weights needs another seed than the model's own {seed}"
                raise ModelError(msg)
            return init_weights(seed, weights.config)
        case kinds.SmallerModel(layers=layers):
            return shallower(weights, layers)
        case kinds.QuantisedWeights(precision=precision):
            # Embeddings are looked up, not multiplied: nobody gains by storing them coarsely.
            return map_matrices(weights, WEIGHT_FORMATS[precision], embeddings=False)
        case kinds.Rounded(arithmetic="bfloat16"):
            return map_matrices(weights, bfloat16, embeddings=True)
        case kinds.Rounded(arithmetic="float64"):
            return map_matrices(weights, _widened, embeddings=True)
        case _:
            return weights


def _widened(x: np.ndarray) -> np.ndarray:
    """In float64: no Rounding of float32, but the same shape."""
    return x.astype(np.float64)


def build_engine(config: kinds.ServerConfig, weights: Weights) -> Engine:
    """The engine that ``config`` names over ``weights``, which :func:`served_weights` gave."""
    match config:
        case kinds.Recompute():
            return RecomputeEngine(weights)
        case kinds.PrefixCached() | kinds.Flush() | kinds.Bursts():
            return _paced(PrefixCacheEngine(weights), config)
        case kinds.Rounded(arithmetic=arithmetic):
            return KvCacheEngine(weights, numerics=ARITHMETICS[arithmetic])
        case kinds.Batched(slots=slots):
            return BatchingEngine(weights, slots)
        case kinds.Speculative(draft=draft, draft_tokens=draft_tokens):
            coarse = map_matrices(weights, int8_by_column, embeddings=False)
            drafting = ModelDraft(coarse) if draft == "quantised" else NgramDraft()
            return SpeculativeEngine(weights, drafting, draft_tokens)
        case _:
            return _over_kv_cache(config, weights)


def _paced(engine: Engine, config: kinds.ServerConfig) -> Engine:
    token_us = config.token_us if isinstance(config, kinds.Paced) else 0
    return PacedEngine(engine, token_us) if token_us else engine


def _over_kv_cache(config: kinds.ServerConfig, weights: Weights) -> Engine:
    """The honest engine over cached keys and values, and the cheats that are made of it."""
    honest = KvCacheEngine(weights)
    engine: Engine = honest
    match config:
        case kinds.KvCached():
            engine = _paced(honest, config)
        case kinds.Truncated(kept_ppm=kept_ppm, claims=claims):
            engine = TruncatingEngine(honest, kept_ppm, claims)
        case kinds.RepeatPenalty(penalty_ppm=penalty_ppm):
            engine = KvCacheEngine(weights, repeat_penalised(penalty_ppm))
        case kinds.Sampled(temperature_milli=temperature_milli, seed=seed):
            engine = KvCacheEngine(weights, drawn_at(temperature_milli, seed))
        case kinds.QuantisedKv(precision=precision):
            engine = KvCacheEngine(weights, greedy, Numerics(cached=CACHE_FORMATS[precision]))
        case kinds.Replay():
            inner = _paced(PrefixCacheEngine(weights), config)
            engine = ReplayingEngine(
                inner, config.stored_answers, config.delay_ppm, config.jitter_ppm
            )
        case kinds.Garbage(token_us=token_us):
            engine = GarbageEngine(token_us)
        case kinds.TokenSpam(spam=spam):
            engine = honest if spam == "split" else SpammingEngine(honest, spam)
        case kinds.ForgedLogprobs(claim=claim):
            engine = ForgingEngine(honest, claim)
        case kinds.Turncoat(honest_answers=count, layers=layers):
            engine = TurningEngine(
                honest, KvCacheEngine(shallower(weights, layers)), first_answers(count)
            )
        case kinds.Recognises(marks=marks, layers=layers):
            engine = TurningEngine(
                honest, KvCacheEngine(shallower(weights, layers)), without(encode(marks))
            )
        case _:
            pass
    return engine
