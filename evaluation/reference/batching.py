"""Several answers at once: continuous batching, a decode step for all of them in one product.

The sums of a batch run in another order than those of a single sequence, which is the noise that
real servers show when their load changes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from evaluation.reference.engines import Finished, Step, described, greedy
from evaluation.reference.model import (
    Arithmetic,
    KvCache,
    Weights,
    attend,
    feed_forward,
    forward,
    logits_of,
    norm,
    split_heads,
)
from evaluation.reference.numerics import EXACT, Floats
from evaluation.reference.tokenizer import EOS_ID

_WAITING: Final = 256


def decode_step(
    weights: Weights, tokens: Sequence[int], caches: Sequence[KvCache], rows: int
) -> Floats:
    """Logits (B, V) after one more token of each of B sequences, their caches grown by it.

    Every product is computed for ``rows`` (at least B) rows, the rest of them empty, as servers do
    that have captured their kernels for fixed sizes.
    """
    config, count = weights.config, len(tokens)
    places = [cache.length for cache in caches]
    x = np.zeros((rows, config.width), dtype=np.float32)
    x[:count] = weights.tokens[list(tokens)] + weights.positions[places]
    for index, layer in enumerate(weights.layers):
        fused = norm(x) @ layer.query_key_value
        attended = np.zeros((rows, config.width), dtype=np.float32)
        for row, cache in enumerate(caches):
            query, key, value = split_heads(fused[row : row + 1], config.heads)
            end = cache.length + 1
            cache.keys[index, :, end - 1 : end] = key
            cache.values[index, :, end - 1 : end] = value
            keys, values = cache.keys[index, :, :end], cache.values[index, :, :end]
            attended[row] = attend(query, keys, values, end - 1)[0]
        x += attended @ layer.project
        x += feed_forward(layer, x, EXACT)
    for cache in caches:
        cache.length += 1
    return logits_of(weights, x, EXACT)[:count]


class _Request:
    """One answer on its way: its sequence so far, and where its steps go."""

    def __init__(self, weights: Weights, prompt: Sequence[int], max_tokens: int) -> None:
        self.prompt = list(prompt)
        self.max_tokens = max_tokens
        self.emitted: list[int] = []
        self.cache = KvCache.empty(weights.config)
        self.steps: queue.SimpleQueue[Step | Exception] = queue.SimpleQueue()
        self.abandoned = False

    def take(self, logits: Floats) -> bool:
        """Emit the next token; whether there will be another one."""
        token = greedy(logits, self.emitted)
        if token == EOS_ID:
            self.steps.put(Finished("stop"))
            return False
        self.emitted.append(token)
        self.steps.put(described(token, logits))
        if len(self.emitted) >= self.max_tokens:
            self.steps.put(Finished("length"))
            return False
        return True


class BatchingEngine:
    """Serves up to ``slots`` prompts at once; further ones wait. Any thread may ask it."""

    def __init__(self, weights: Weights, slots: int) -> None:
        self.arithmetic = Arithmetic()
        self._weights = weights
        self._slots = slots
        self._waiting: queue.Queue[_Request] = queue.Queue(_WAITING)
        threading.Thread(target=self._work, name="batching", daemon=True).start()

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        request = _Request(self._weights, prompt, max_tokens)
        self._waiting.put(request)
        try:
            while True:
                step = request.steps.get()
                if isinstance(step, Exception):
                    raise step
                yield step
                if isinstance(step, Finished):
                    return
        finally:
            request.abandoned = True

    def _work(self) -> None:
        running: list[_Request] = []
        while True:
            while len(running) < self._slots and (not running or not self._waiting.empty()):
                request = self._waiting.get()
                if self._prefilled(request):
                    running.append(request)
            running = [one for one in running if not one.abandoned]
            if running:
                running = self._stepped(running)

    def _prefilled(self, request: _Request) -> bool:
        """Whether the request has a first token and goes on."""
        try:
            rows = forward(
                self._weights,
                request.prompt,
                request.cache,
                last_only=True,
                arithmetic=self.arithmetic,
            )
        except Exception as error:  # noqa: BLE001 - raised in the thread that asked
            request.steps.put(error)
            return False
        return request.take(rows[-1])

    def _stepped(self, running: list[_Request]) -> list[_Request]:
        tokens = [request.emitted[-1] for request in running]
        caches = [request.cache for request in running]
        try:
            rows = decode_step(self._weights, tokens, caches, self._slots)
        except Exception as error:  # noqa: BLE001 - raised in the threads that asked
            for request in running:
                request.steps.put(error)
            return []
        self.arithmetic.token_forwards += len(running)
        return [one for one, row in zip(running, rows, strict=True) if one.take(row)]
