"""How much of a track's emission its winners share, and how they split it (DOMAIN 5).

Everything is integer ppm. The pool is floored to whole ppm; what is not in it goes to the burn UID.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.policy import EmissionPolicy, KingTakesAll, ScorePool
from ledger.units import PPM


@dataclass(frozen=True, slots=True)
class Split:
    """How the pool is divided: ppm of the pool, the two summing to 1,000,000."""

    king_ppm: int
    runner_up_ppm: int


def pool_ppm(emission: EmissionPolicy, block: int, king_score_ppm: int | None) -> int:
    """The part of a track's emission that its winners share at ``block``, 0 to 1,000,000 ppm.

    Phase 1: everything. Phase 2: ``min(1, score / full_pool_score)``. Phase 3: ``before_ppm`` until
    the ramp starts, then ``floor + (1 - floor) * (block - start) / length``, at most 1; an override
    replaces the ramp and is clamped to 0..1 (DOMAIN 5). A negative score counts as 0.

    Raises :class:`ValueError` if phase 2 is asked without a score: an unknown score is not 0.
    """
    if isinstance(emission, KingTakesAll):
        return PPM
    if isinstance(emission, ScorePool):
        if king_score_ppm is None:
            msg = f"the pool at block {block} follows the king's score, and none is recorded"
            raise ValueError(msg)
        return min(PPM, max(0, king_score_ppm) * PPM // emission.full_pool_score_ppm)
    if emission.override_ppm is not None:
        return max(0, min(PPM, emission.override_ppm))
    if block < emission.start_block:
        return emission.before_ppm
    grown_blocks = block - emission.start_block
    grown_ppm = (PPM - emission.floor_ppm) * grown_blocks // emission.length_blocks
    return min(PPM, emission.floor_ppm + grown_ppm)


def split(emission: EmissionPolicy, *, has_runner_up: bool) -> Split:
    """How king and runner-up share the pool; without a runner-up the king takes it (DOMAIN 5)."""
    if isinstance(emission, KingTakesAll) or not has_runner_up:
        return Split(king_ppm=PPM, runner_up_ppm=0)
    return Split(king_ppm=emission.king_share_ppm, runner_up_ppm=PPM - emission.king_share_ppm)
