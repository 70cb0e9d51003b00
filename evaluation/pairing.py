"""The one baseline that entrants are paired with, from one run of it or from two."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.client import Answer


def combined(before: Sequence[Answer], after: Sequence[Answer]) -> tuple[Answer, ...]:
    """The baseline's answers with the floor of the mean of both runs' times, prompt by prompt.

    The tokens, and the logprobs claimed with them, are those of the run before. Where the runs
    differ in length, only what both wrote has a time; an empty ``after`` leaves ``before`` as it
    is. Raises ``ValueError`` where the runs did not answer the same prompts.
    """
    if not after:
        return tuple(before)
    if len(before) != len(after):
        msg = f"the baseline answered {len(before)} prompts before and {len(after)} after"
        raise ValueError(msg)
    return tuple(_mean(one, other) for one, other in zip(before, after, strict=True))


def _mean(one: Answer, other: Answer) -> Answer:
    both = min(len(one.tokens), len(other.tokens))
    arrivals = zip(one.arrival_us[:both], other.arrival_us[:both], strict=True)
    return Answer(
        tokens=one.tokens[:both],
        arrival_us=tuple((first + second) // 2 for first, second in arrivals),
        end_us=(one.end_us + other.end_us) // 2,
        finish_reason=one.finish_reason if both == len(one.tokens) else other.finish_reason,
        ids_from_server=one.ids_from_server,
        sent_us=one.sent_us,
        logprobs_milli=one.logprobs_milli[:both],
        named_tokens=_fewest(one.named_tokens, other.named_tokens),
    )


def _fewest(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)
