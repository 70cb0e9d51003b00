"""Runs that could have been: the prompts of a measured run, drawn again with replacement.

The draws are a stream of SHA-256, so that the same evidence gives the same resamples everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from evaluation.draws import numbers_of
from evaluation.entrant import EntrantEvidence
from evaluation.figures import repeat_gain_ppm


def draws(label: str) -> Iterator[int]:
    """Endless 32-bit numbers: SHA-256 over ``cacheon-resample/1:<label>:<counter>``."""
    return numbers_of(f"cacheon-resample/1:{label}")


def resampled(
    evidence: EntrantEvidence, drawn: Iterator[int], *, max_repeat_gain_ppm: int
) -> EntrantEvidence:
    """The run with as many prompts drawn with replacement, each with all that belongs to it.

    Repeats are drawn together with the control that was asked right before them, in rounds as
    contests ask them: another round while they look faster than ``max_repeat_gain_ppm`` allows,
    as long as there are as many. Raises ``ValueError`` for a run that did not end whole: it holds
    nothing to draw from.
    """
    count = len(evidence.baseline)
    if not count or len(evidence.answers) != count or len(evidence.forced) != count:
        msg = f"the evidence on {evidence.entrant_id} is no whole run; it cannot be resampled"
        raise ValueError(msg)
    places = [next(drawn) % count for _ in range(count)]
    answers = tuple(evidence.answers[at] for at in places)
    held = min(len(evidence.repeats), len(evidence.controls))
    pairs: list[int] = []
    while len(pairs) < held:
        pairs += [next(drawn) % held for _ in range(min(held, max(1, len(evidence.repeated))))]
        fresh = (*answers, *(evidence.controls[at] for at in pairs))
        gain_ppm = repeat_gain_ppm(fresh, [evidence.repeats[at] for at in pairs])
        if gain_ppm is None or gain_ppm <= max_repeat_gain_ppm:
            break
    return msgspec.structs.replace(
        evidence,
        baseline=tuple(evidence.baseline[at] for at in places),
        answers=answers,
        forced=tuple(evidence.forced[at] for at in places),
        repeats=tuple(evidence.repeats[at] for at in pairs),
        controls=tuple(evidence.controls[at] for at in pairs),
    )
