"""Honest ways to generate the same greedy text with more or less arithmetic.

An engine yields :class:`Emitted` for each token as soon as it is known and :class:`Finished` last.
It serves one prompt at a time and counts what it computed in ``arithmetic``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from evaluation.reference.model import Arithmetic, KvCache, Weights, forward
from evaluation.reference.numerics import EXACT, Floats, Numerics
from evaluation.reference.tokenizer import EOS_ID

TOP_TOKENS = 5

FinishReason = Literal["length", "stop"]


class Emitted(NamedTuple):
    """One token of the answer. Logprobs are natural logarithms under the unpenalised softmax."""

    token_id: int
    logprob: float
    top5: tuple[tuple[int, float], ...]
    """(token id, logprob) of the five most probable tokens, best first."""


class Finished(NamedTuple):
    """The end of an answer: ``stop`` at EOS, which is not emitted, ``length`` at the limit."""

    reason: FinishReason


Step = Emitted | Finished

Sampler = Callable[[Floats, Sequence[int]], int]
"""From logits (V,) and the tokens emitted so far to the next token."""


class Engine(Protocol):
    """A way to generate."""

    arithmetic: Arithmetic

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """Answer ``prompt`` with at most ``max_tokens`` (at least 1) tokens."""
        ...


def greedy(logits: Floats, emitted: Sequence[int]) -> int:  # noqa: ARG001 - a Sampler's signature
    """The most probable token; the lowest id of equals."""
    return int(logits.argmax())


def log_softmax(logits: Floats) -> Floats:
    """Natural-log probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


class RecomputeEngine:
    """Baseline: the whole prefix again for every token."""

    def __init__(self, weights: Weights, sampler: Sampler = greedy) -> None:
        self.arithmetic = Arithmetic()
        self._weights = weights
        self._sampler = sampler

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`Engine`."""
        sequence = list(prompt)

        def advance(token: int | None) -> Floats:
            if token is not None:
                sequence.append(token)
            return _next_logits(self._weights, sequence, None, self.arithmetic)

        return _answer(advance, self._sampler, max_tokens)


class KvCacheEngine:
    """One prefill of the prompt, then one token at a time over cached keys and values."""

    def __init__(
        self, weights: Weights, sampler: Sampler = greedy, numerics: Numerics = EXACT
    ) -> None:
        self.arithmetic = Arithmetic()
        self._weights = weights
        self._sampler = sampler
        self._numerics = numerics

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`Engine`."""
        cache = KvCache.empty(self._weights.config, self._numerics)

        def advance(token: int | None) -> Floats:
            tokens = prompt if token is None else (token,)
            return _next_logits(self._weights, tokens, cache, self.arithmetic, self._numerics)

        return _answer(advance, self._sampler, max_tokens)


class PrefixCacheEngine:
    """As :class:`KvCacheEngine`, over the keys and values of what different prompts share.

    Only what at least two different prompts begin with is used again, so that a repeated prompt
    costs what a fresh one costs. The first prompt after a change of preamble is computed whole.
    """

    def __init__(self, weights: Weights, sampler: Sampler = greedy) -> None:
        self.arithmetic = Arithmetic()
        self._weights = weights
        self._sampler = sampler
        self._cache = KvCache.empty(weights.config)
        self._known: tuple[int, ...] = ()
        """The first prompt whole, until a different one cuts it to what they share."""
        self._shared = False
        """Whether ``_known`` is the common beginning of different prompts."""

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`Engine`."""

        def advance(token: int | None) -> Floats:
            if token is None:
                return self._prefill(tuple(prompt))
            return _next_logits(self._weights, (token,), self._cache, self.arithmetic)

        return _answer(advance, self._sampler, max_tokens)

    def _prefill(self, prompt: tuple[int, ...]) -> Floats:
        known, shared = self._after(prompt)
        # The last prompt token is always computed: its logits are what the answer starts from.
        reused = min(len(known), len(prompt) - 1) if shared else 0
        self._known, self._shared = (), False  # nothing is known if the forward below fails
        self._cache.truncate(reused)
        logits = _next_logits(self._weights, prompt[reused:], self._cache, self.arithmetic)
        self._known, self._shared = known, shared
        return logits

    def _after(self, prompt: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
        """What is known once ``prompt`` has been seen, and whether different prompts share it."""
        common = common_prefix(self._known, prompt)
        if 2 * common < len(self._known) or not common:
            return prompt, False
        if not self._shared and prompt == self._known:
            return prompt, False
        return prompt[:common], True


class PacedEngine:
    """As another engine, with at least ``token_us`` before each token, as a bigger model takes."""

    def __init__(self, inner: Engine, token_us: int) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._token_us = token_us

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`Engine`."""
        for step in self._inner.generate(prompt, max_tokens):
            if isinstance(step, Emitted):
                time.sleep(self._token_us / 1_000_000)
            yield step


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    limit = min(len(first), len(second))
    return next((place for place in range(limit) if first[place] != second[place]), limit)


def _next_logits(
    weights: Weights,
    tokens: Sequence[int],
    cache: KvCache | None,
    arithmetic: Arithmetic,
    numerics: Numerics = EXACT,
) -> Floats:
    rows = forward(weights, tokens, cache, last_only=True, arithmetic=arithmetic, numerics=numerics)
    return np.asarray(rows[-1])


def _answer(
    advance: Callable[[int | None], Floats], sampler: Sampler, max_tokens: int
) -> Iterator[Step]:
    """Ask ``advance`` for the logits after the prompt (None), then after each token emitted."""
    emitted: list[int] = []
    logits = advance(None)
    while True:
        token = sampler(logits, emitted)
        if token == EOS_ID:
            yield Finished("stop")
            return
        emitted.append(token)
        yield described(token, logits)
        if len(emitted) >= max_tokens:
            yield Finished("length")
            return
        logits = advance(token)


def described(token: int, logits: Floats) -> Emitted:
    """The token as it is told to the client, with what its logits (V,) say."""
    logprobs = log_softmax(logits)
    best = np.argsort(-logprobs, kind="stable")[:TOP_TOKENS]
    top = tuple((int(place), float(logprobs[place])) for place in best)
    return Emitted(token, float(logprobs[token]), top)
