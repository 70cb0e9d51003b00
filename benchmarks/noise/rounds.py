"""One simulated round, judged by the rules themselves and by a fast path that must agree with them.

The fast path takes the same draws, the same sums and the same ranks; it only does them in numpy
and keeps the draws of a seed, which hang on nothing measured. Its integers are the rule's integers:
sums stay far below 2**53, and a logarithm too close to half a ppm is left to the rule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from benchmarks.noise.pools import Times
from ledger.policy import ScoreInterval, TrackPolicy
from ledger.rules.interval import (
    block_log_ratios_ppm,
    fewest_blocks,
    log_one_plus_ppm,
    widened_sums,
    widening_ppm,
)
from ledger.rules.scoring import Measured, margin_ppm
from ledger.rules.throne import Candidate, Crowned, KingState, decide_round
from ledger.units import PPM

BLOCK: Final = 1_000
_TOO_CLOSE: Final = 1e-6
"""In ppm. Two logarithms of double precision are off by less than 1e-8 of it."""


@dataclass(frozen=True, slots=True)
class Round:
    """The times of one round in us, a row of all scored prompts for each; ``king`` None: vacant."""

    baseline: Times
    king: Times | None
    challengers: tuple[Times, ...]


def faster(times: Times, gain_ppm: int) -> Times:
    """The same server if it were faster by this: its times over 1 + gain, in whole us."""
    scaled: Times = np.maximum(1, times * PPM // (PPM + gain_ppm))
    return scaled


def crowned_by_rule(played: Round, track: TrackPolicy, seed: int) -> tuple[int, ...]:
    """The places of the challengers that were crowned, in order, as the ledger decides it."""
    king = None
    if played.king is not None:
        king = KingState("king", UUID(int=0), BLOCK, _measured(played.baseline, played.king), False)
    challengers = [
        Candidate(
            UUID(int=place + 1),
            f"challenger {place}",
            (BLOCK, place),
            _measured(played.baseline, own),
            False,
        )
        for place, own in enumerate(played.challengers)
    ]
    decision = decide_round(king, challengers, None, track=track, block=BLOCK, seed=seed)
    return tuple(step.submission_id.int - 1 for step in decision.steps if isinstance(step, Crowned))


def _measured(baseline: Times, own: Times) -> Measured:
    own_us, baseline_us = tuple(own.tolist()), tuple(baseline.tolist())
    ones = (1,) * len(own_us)
    return Measured(ones, baseline_us, ones, ones, own_us, ones)


def crowned_fast(played: Round, track: TrackPolicy, seed: int) -> tuple[int, ...]:
    """The same as :func:`crowned_by_rule` under an interval policy, in a fraction of the time."""
    scoring = _interval(track)
    per_block, sharers = track.contest.prompts_per_block, 1
    if scoring.error_of == "round":
        sharers = len(played.challengers)
    holder = None if played.king is None else log_ratios(played.baseline, played.king, per_block)
    crowned = []
    for place, times in enumerate(played.challengers):
        own = log_ratios(played.baseline, times, per_block)
        gains = own if holder is None else own - holder
        asked_ppm = 0 if holder is None else margin_ppm(track.margin, 0)
        if _clears(tuple(gains.tolist()), scoring, asked_ppm, sharers, seed):
            crowned.append(place)
            holder = own
    return tuple(crowned)


def _interval(track: TrackPolicy) -> ScoreInterval:
    if not isinstance(track.scoring, ScoreInterval):
        msg = "the fast path knows the interval rule alone"
        raise TypeError(msg)
    return track.scoring


@lru_cache(maxsize=64)
def _clears(
    gains: tuple[int, ...], scoring: ScoreInterval, asked_ppm: int, sharers: int, seed: int
) -> bool:
    blocks = len(gains)
    if blocks < fewest_blocks(scoring.confidence_ppm, sharers):
        return False
    sums = _draws(seed, scoring.resamples, blocks) @ np.array(gains, dtype=np.float64)
    rank = max(1, scoring.resamples * (PPM - scoring.confidence_ppm) // (2 * PPM))
    lower = int(np.partition(sums, rank - 1)[rank - 1])
    if scoring.error_of == "round":
        total = sum(gains)
        factor = widening_ppm(blocks, scoring.confidence_ppm, sharers)
        lower, _ = widened_sums(total, (lower, total), factor)
    return lower // blocks >= _log_margin_ppm(asked_ppm) + 1


_log_margin_ppm = lru_cache(maxsize=8)(log_one_plus_ppm)


def log_ratios(baseline: Times, own: Times, per_block: int) -> Times:
    """:func:`~ledger.rules.interval.block_log_ratios_ppm` of whole blocks."""
    above = baseline.reshape(-1, per_block).sum(axis=1)
    below = own.reshape(-1, per_block).sum(axis=1)
    exact = (np.log(above) - np.log(below)) * PPM
    if np.any(np.abs(exact - np.floor(exact) - 0.5) < _TOO_CLOSE):
        return np.array(block_log_ratios_ppm(baseline.tolist(), own.tolist(), per_block))
    rounded: Times = np.rint(exact).astype(np.int64)
    return rounded


@lru_cache(maxsize=4)
def _draws(seed: int, resamples: int, blocks: int) -> NDArray[np.float64]:
    """``[resample, block]``: how often each resample of the rule draws each block."""
    stream = b"".join(
        hashlib.shake_256(f"cacheon-bootstrap/1 {seed} {resample}".encode()).digest(4 * blocks)
        for resample in range(resamples)
    )
    words = np.frombuffer(stream, dtype=">u4").astype(np.uint64).reshape(resamples, blocks)
    places = (words * np.uint64(blocks) >> np.uint64(32)).astype(np.int64)
    flat = places + blocks * np.arange(resamples)[:, None]
    counts: NDArray[np.intp] = np.bincount(flat.ravel(), minlength=resamples * blocks)
    return counts.reshape(resamples, blocks).astype(np.float64)
