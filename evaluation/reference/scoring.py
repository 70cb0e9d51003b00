"""Teacher forcing: how probable the reference finds each token of a sequence it did not choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.reference.engines import log_softmax
from evaluation.reference.model import Weights, forward


class Scored(NamedTuple):
    """A token's natural-log probability and its place among all tokens, 1 being the best."""

    logprob: float
    rank: int


class Scores(NamedTuple):
    """What one forward pass over a sequence says about it."""

    tokens: list[dict[int, Scored] | None]
    """Entry ``i`` is about token ``i`` given those before it: the token itself and the best ones.

    The first is None: nothing comes before it.
    """
    next_token: int
    """The reference's choice after the sequence."""


def teacher_forced(weights: Weights, tokens: Sequence[int], top: int = 1) -> Scores:
    """Score ``tokens`` (EOS allowed) in one pass, with the ``top`` best tokens at every place.

    Equal logits rank by id. Raises :class:`~evaluation.reference.model.ModelError` as ``forward``.
    """
    logits = forward(weights, tokens)
    logprobs = log_softmax(logits)
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranks = np.argsort(order, axis=-1, kind="stable") + 1
    entries: list[dict[int, Scored] | None] = [None]
    for place, token in enumerate(tokens[1:]):
        wanted = [token, *(int(best) for best in order[place, :top])]
        entries.append(
            {one: Scored(float(logprobs[place, one]), int(ranks[place, one])) for one in wanted}
        )
    return Scores(entries, int(order[-1, 0]))
