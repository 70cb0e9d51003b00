"""How much a block's duration varies within a start of a server and between starts; pure.

With several streams at once an answer's own time says how long it waited for others. What a server
can do in a time is the duration of a whole block for each of its tokens, and that is compared with
the same block of the same contest under other servers of the same image: blocks hold different
prompts, and one may be slower than another without any noise. The baseline is one of those servers
where an entrant has its image and both were asked in turn: one that ran before and after all others
is known by the mean of both runs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from evaluation.client import Answer
from evaluation.entrant import EntrantEvidence
from evaluation.records import BlockRecord
from ledger.units import PPM


class BlockNoise(NamedTuple):
    """In ppm of the mean over all runs: one sample a start that answered two blocks or more, and
    one a start."""

    within_ppm: tuple[int, ...]
    between_ppm: tuple[int, ...]


class _Start(NamedTuple):
    run: int
    number: int


_BASELINE: Final = -1
"""Its number among the runs; those of entrants count from 0."""

_Times = dict[int, tuple[_Start, int]]
"""By block: which start answered it, and its nanoseconds a token."""


def block_noise(evidence: Sequence[EntrantEvidence]) -> BlockNoise:
    """The noise of these runs. A contest in which an image ran once says nothing of it."""
    alike: dict[tuple[str, str], list[tuple[int, EntrantEvidence]]] = {}
    for number, one in enumerate(evidence):
        alike.setdefault((one.contest_id, one.image_digest), []).append((number, one))
    within: list[int] = []
    between: list[int] = []
    for entrants in alike.values():
        runs = [_times(number, one, one.answers) for number, one in entrants]
        runs.append(_of_the_baseline([one for _, one in entrants]))
        for own in _relative_ppm(runs).values():
            mean = sum(own) // len(own)
            between.append(abs(mean - PPM))
            if len(own) > 1:
                within.append(sum(abs(one - mean) for one in own) // len(own))
    return BlockNoise(tuple(within), tuple(between))


def _relative_ppm(runs: Sequence[_Times]) -> dict[_Start, list[int]]:
    """By start: its blocks' times as a part of the mean over all runs that have that block."""
    found: dict[_Start, list[int]] = {}
    for block in sorted({block for times in runs for block in times}):
        seen = [times[block] for times in runs if block in times]
        total_ns = sum(time_ns for _, time_ns in seen)
        if len(seen) > 1 and total_ns:
            for start, time_ns in seen:
                found.setdefault(start, []).append(time_ns * len(seen) * PPM // total_ns)
    return found


def _of_the_baseline(entrants: Sequence[EntrantEvidence]) -> _Times:
    """The baseline's blocks beside entrants of one contest and image, if that image is its own.

    It answered the same blocks as they, and where servers start anew in each, so did it. Of
    entrants that tell of different blocks the one that tells of most is taken.
    """
    own = [one for one in entrants if one.image_digest == one.baseline_image]
    # Only where arms are asked in turn does one of them have another place than the first.
    if not any(block.place for one in own if one.record for block in _scored(one.record.blocks)):
        return {}
    return max((_times(_BASELINE, one, one.baseline) for one in own), key=len)


def _times(run: int, evidence: EntrantEvidence, given: Sequence[Answer]) -> _Times:
    found: _Times = {}
    if evidence.record is None:
        return found
    first = 0
    for block in _scored(evidence.record.blocks):
        answers = given[first : first + block.prompts]
        first += block.prompts
        tokens = sum(len(answer.tokens) for answer in answers)
        # Evidence from before it was recorded says of every answer that it was sent at once.
        dated = len(answers) < 2 or any(answer.sent_us for answer in answers)
        if tokens and dated:
            lasted_us = max(answer.sent_us + answer.wall_us for answer in answers)
            start = _Start(run, evidence.record.start_of(block.block))
            found[block.block] = start, lasted_us * 1_000 // tokens
    return found


def _scored(blocks: Iterable[BlockRecord]) -> list[BlockRecord]:
    return [block for block in blocks if block.phase == "prompts" and not block.set_aside]
