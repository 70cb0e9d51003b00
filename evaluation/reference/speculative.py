"""Speculative decoding: a cheap draft proposes tokens, the model verifies them in one pass.

Greedy and exact: a proposal is emitted only where it is what the model itself chooses, so that the
text is the model's. Tokens come in bursts, as many at once as were accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from evaluation.reference.engines import Finished, Step, common_prefix, described, greedy
from evaluation.reference.model import Arithmetic, KvCache, Weights, forward
from evaluation.reference.tokenizer import EOS_ID

_MATCHED_TOKENS: Final = 2


class Draft(Protocol):
    """Something that guesses how a sequence goes on."""

    def propose(self, sequence: Sequence[int], count: int) -> list[int]:
        """At most ``count`` tokens that may follow ``sequence``."""
        ...


class NgramDraft:
    """Prompt lookup: what followed the last two tokens when they stood there before."""

    def propose(self, sequence: Sequence[int], count: int) -> list[int]:
        """See :class:`Draft`."""
        last = tuple(sequence[-_MATCHED_TOKENS:])
        for start in range(len(sequence) - _MATCHED_TOKENS - 1, -1, -1):
            if tuple(sequence[start : start + _MATCHED_TOKENS]) == last:
                after = start + _MATCHED_TOKENS
                return list(sequence[after : after + count])
        return []


class ModelDraft:
    """Another, cheaper model's greedy continuation."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._cache = KvCache.empty(weights.config)
        self._cached: list[int] = []

    def propose(self, sequence: Sequence[int], count: int) -> list[int]:
        """See :class:`Draft`."""
        kept = min(common_prefix(self._cached, sequence), len(sequence) - 1)
        self._cache.truncate(kept)
        proposed: list[int] = []
        tokens = list(sequence[kept:])
        self._cached = list(sequence)
        for _ in range(count):
            rows = forward(self._weights, tokens, self._cache, last_only=True)
            token = greedy(rows[-1], ())
            if token == EOS_ID:
                break
            proposed.append(token)
            tokens = [token]
        self._cached += proposed[: self._cache.length - len(sequence)]
        return proposed


class SpeculativeEngine:
    """Proposes ``draft_tokens`` at a time and keeps those that the model chooses itself."""

    def __init__(self, weights: Weights, draft: Draft, draft_tokens: int) -> None:
        self.arithmetic = Arithmetic()
        self._weights = weights
        self._draft = draft
        self._draft_tokens = draft_tokens

    def generate(self, prompt: Sequence[int], max_tokens: int) -> Iterator[Step]:
        """See :class:`~evaluation.reference.engines.Engine`."""
        cache = KvCache.empty(self._weights.config)
        sequence = list(prompt)
        proposals: list[int] = []
        tokens = list(prompt)
        emitted = 0
        while True:
            # After the prompt only its last row chooses; afterwards every proposal's row does.
            first = len(tokens) - 1 - len(proposals)
            rows = forward(self._weights, tokens, cache, arithmetic=self.arithmetic)[first:]
            for place, row in enumerate(rows):
                token = greedy(row, ())
                if token == EOS_ID:
                    yield Finished("stop")
                    return
                sequence.append(token)
                emitted += 1
                yield described(token, row)
                if emitted >= max_tokens:
                    yield Finished("length")
                    return
                if place < len(proposals) and proposals[place] != token:
                    break
            # What was written after a refused proposal is forgotten; the last token is not in yet.
            cache.truncate(len(sequence) - 1)
            room = self._weights.config.positions - len(sequence)
            proposals = self._draft.propose(sequence, max(0, min(self._draft_tokens, room)))
            tokens = [sequence[-1], *proposals]
