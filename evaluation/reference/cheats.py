"""Dishonest ways to generate, each the smallest form of an exploit that DOMAIN 4 lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import numpy as np

from evaluation.reference.engines import (
    TOP_TOKENS,
    Emitted,
    Engine,
    Finished,
    FinishReason,
    Sampler,
    Step,
    log_softmax,
)
from evaluation.reference.model import Arithmetic
from evaluation.reference.numerics import Floats
from ledger.units import PPM

_PRINTABLE: Final = range(33, 127)
_SPACE: Final = 32
_OVERLONG_PPM: Final = 1_500_000
_GARBAGE_LOGPROBS: Final = (-0.4, -1.9, -2.6, -3.1, -3.4)
_RANDOM_CLAIM: Final = 3.0
_LEAST_SLEEP_S: Final = 0.002


class TruncatingEngine:
    """Stops after ``kept_ppm`` of ``max_tokens`` and says that ``reason`` ended the answer."""

    def __init__(self, inner: Engine, kept_ppm: int, reason: FinishReason = "stop") -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._kept_ppm = kept_ppm
        self._reason: FinishReason = reason

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        kept = max(1, max_tokens * self._kept_ppm // PPM)
        for step in self._inner.generate(prompt, kept):
            yield step if isinstance(step, Emitted) else Finished(self._reason)


class ReplayingEngine:
    """Answers a prompt it has answered before from memory, the oldest answer forgotten first.

    It takes ``delay_ppm`` to ``delay_ppm + jitter_ppm`` of the time that the answer took at first,
    slept in a few pieces: a sleep of less than a step would last longer than it was meant to.
    """

    def __init__(
        self, inner: Engine, stored_answers: int, delay_ppm: int = 0, jitter_ppm: int = 0
    ) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._stored_answers = stored_answers
        self._delay_ppm = delay_ppm
        self._jitter_ppm = jitter_ppm
        self._draw = np.random.default_rng(0)
        self._answers: dict[tuple[tuple[int, ...], int], tuple[tuple[Step, float], ...]] = {}

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        key = (tuple(prompt), max_tokens)
        stored = self._answers.get(key)
        if stored is not None:
            share = (self._delay_ppm + self._draw.random() * self._jitter_ppm) / PPM
            owed_s = 0.0
            for step, took_s in stored:
                owed_s += took_s * share
                if owed_s >= _LEAST_SLEEP_S:
                    time.sleep(owed_s)
                    owed_s = 0.0
                yield step
            return
        steps: list[tuple[Step, float]] = []
        since_s = time.perf_counter()
        for step in self._inner.generate(prompt, max_tokens):
            now_s = time.perf_counter()
            steps.append((step, now_s - since_s))
            since_s = now_s
            yield step
        if len(self._answers) >= self._stored_answers:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = tuple(steps)


class GarbageEngine:
    """Printable characters at random, one every ``token_us``, with logprobs that look real."""

    def __init__(self, token_us: int) -> None:
        self.arithmetic = Arithmetic()
        self._token_us = token_us
        self._draw = np.random.default_rng(0)

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:  # noqa: ARG002
        """See :class:`~evaluation.reference.engines.Engine`."""
        for _ in range(max_tokens):
            time.sleep(self._token_us / 1_000_000)
            yield made_up(int(self._draw.integers(_PRINTABLE.start, _PRINTABLE.stop)))
        yield Finished("length")


def made_up(token: int) -> Emitted:
    """A token with logprobs that nobody computed."""
    others = [one for one in _PRINTABLE if one != token][: TOP_TOKENS - 1]
    top = tuple(zip((token, *others), _GARBAGE_LOGPROBS, strict=True))
    return Emitted(token, _GARBAGE_LOGPROBS[0], top)


class SpammingEngine:
    """The model's tokens with spam after each, or with more of them than were asked for."""

    def __init__(self, inner: Engine, spam: Literal["junk", "whitespace", "overlong"]) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._spam = spam
        self._draw = np.random.default_rng(0)

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        if self._spam == "overlong":
            yield from self._inner.generate(prompt, max_tokens * _OVERLONG_PPM // PPM)
            return
        # Half of the tokens are the model's, so that the answer is as long as it should be.
        for step in self._inner.generate(prompt, -(-max_tokens // 2)):
            yield step
            if isinstance(step, Emitted):
                junk = (
                    _SPACE
                    if self._spam == "whitespace"
                    else int(self._draw.integers(_PRINTABLE.start, _PRINTABLE.stop))
                )
                yield made_up(junk)


class ForgingEngine:
    """The right tokens; the logprobs beside them are made up."""

    def __init__(self, inner: Engine, claim: Literal["certain", "random"]) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._claim = claim
        self._draw = np.random.default_rng(0)

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        for step in self._inner.generate(prompt, max_tokens):
            if not isinstance(step, Emitted):
                yield step
                continue
            own = 0.0 if self._claim == "certain" else -_RANDOM_CLAIM * self._draw.random()
            top = tuple(
                (token, own if token == step.token_id else own - place)
                for place, (token, _) in enumerate(step.top5)
            )
            yield Emitted(step.token_id, own, top)


class TurningEngine:
    """One engine for the prompts that ``is_watched`` names, another one for all others."""

    def __init__(
        self, honest: Engine, cheating: Engine, is_watched: Callable[[Sequence[int]], bool]
    ) -> None:
        self.arithmetic: Arithmetic = honest.arithmetic
        self._honest = honest
        self._cheating = cheating
        self._is_watched = is_watched

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        engine = self._honest if self._is_watched(prompt) else self._cheating
        return engine.generate(prompt, max_tokens)


def first_answers(count: int) -> Callable[[Sequence[int]], bool]:
    """Whether a prompt is among the first ``count`` that were asked."""
    asked = 0

    def is_watched(prompt: Sequence[int]) -> bool:  # noqa: ARG001 - counts, does not look
        nonlocal asked
        asked += 1
        return asked <= count

    return is_watched


def without(marks: Sequence[int]) -> Callable[[Sequence[int]], bool]:
    """Whether a prompt does not hold ``marks``, the beginning that gives contests away."""
    wanted = bytes(marks)

    def is_watched(prompt: Sequence[int]) -> bool:
        return wanted not in bytes(prompt)

    return is_watched


def drawn_at(temperature_milli: int, seed: int) -> Sampler:
    """A sampler that draws from the softmax at a temperature, in thousandths."""
    draw = np.random.default_rng(seed)

    def sample(logits: Floats, emitted: Sequence[int]) -> int:  # noqa: ARG001 - a Sampler's
        logprobs = log_softmax(logits / np.float32(temperature_milli / 1_000))
        # The best of logprobs with Gumbel noise is a draw from their softmax.
        return int((logprobs + draw.gumbel(size=len(logprobs))).argmax())

    return sample


def repeat_penalised(penalty_ppm: int) -> Sampler:
    """A greedy sampler over logits that are pushed down for every token emitted before.

    As the repeat penalty of common servers: a positive logit is divided by the penalty, a negative
    one multiplied with it.
    """
    penalty = penalty_ppm / PPM

    def sample(logits: Floats, emitted: Sequence[int]) -> int:
        penalised = logits.copy()
        for token in set(emitted):
            logit = penalised[token]
            penalised[token] = logit / penalty if logit > 0 else logit * penalty
        return int(penalised.argmax())

    return sample
