"""Dishonest ways to generate, each the smallest form of an exploit that DOMAIN 4 lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluation.reference.engines import Emitted, Engine, Finished, Sampler, Step
from evaluation.reference.model import Arithmetic, Floats
from ledger.units import PPM


class TruncatingEngine:
    """Stops after ``kept_ppm`` of ``max_tokens`` and claims that the sequence ended there."""

    def __init__(self, inner: Engine, kept_ppm: int) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._kept_ppm = kept_ppm

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        kept = max(1, max_tokens * self._kept_ppm // PPM)
        for step in self._inner.generate(prompt, kept):
            yield step if isinstance(step, Emitted) else Finished("stop")


class ReplayingEngine:
    """Answers a prompt it has answered before from memory, the oldest answer forgotten first."""

    def __init__(self, inner: Engine, stored_answers: int) -> None:
        self.arithmetic: Arithmetic = inner.arithmetic
        self._inner = inner
        self._stored_answers = stored_answers
        self._answers: dict[tuple[tuple[int, ...], int], tuple[Step, ...]] = {}

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        key = (tuple(prompt), max_tokens)
        stored = self._answers.get(key)
        if stored is not None:
            yield from stored
            return
        steps: list[Step] = []
        for step in self._inner.generate(prompt, max_tokens):
            steps.append(step)
            yield step
        if len(self._answers) >= self._stored_answers:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = tuple(steps)


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
