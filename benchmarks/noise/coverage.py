"""``python -m benchmarks.noise.coverage``: how often intervals of several kinds miss that the gain
is none.

One challenger against a king that is the same server: the share of contests whose interval lies
above 0, against the half of the error that is allowed on that side. It compares kinds of intervals
in floating point, to choose one; the rule itself is :mod:`ledger.rules.interval`.
"""

from __future__ import annotations

import sys
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.noise.pools import Pool, drawn_pool, measured_pool
from benchmarks.noise.study import default_track
from ledger.rules.interval import widening_ppm
from ledger.rules.quantiles import student_ppm
from ledger.units import PPM

Floats = NDArray[np.float64]

CONTESTS: Final = 5_000
RESAMPLES: Final = 2_000
BLOCKS: Final = (16, 36)
CONFIDENCES_PPM: Final = (950_000, 990_000)
KINDS: Final = ("percentile", "widened percentile", "Student's t", "BCa")


def main() -> int:
    """Print the table."""
    track = default_track()
    pools = (
        measured_pool(max_drift_ppm=track.contest.max_drift_ppm),
        drawn_pool(shared_by_block=False),
    )
    write = sys.stdout.write
    write("| times | blocks | allowed | " + " | ".join(KINDS) + " |\n")
    write("|---|---|---|" + "---|" * len(KINDS) + "\n")
    for pool in pools:
        for blocks in BLOCKS:
            for confidence_ppm in CONFIDENCES_PPM:
                shares = missed(pool, blocks, track.contest.prompts_per_block, confidence_ppm)
                allowed = (PPM - confidence_ppm) / (2 * PPM)
                cells = " | ".join(f"{shares[kind]:.2%}" for kind in KINDS)
                write(f"| {pool.name} | {blocks} | {allowed:.2%} | {cells} |\n")
    return 0


def missed(pool: Pool, blocks: int, per_block: int, confidence_ppm: int) -> dict[str, float]:
    """By kind of interval the share of A/A contests in which it lies above 0."""
    chance = np.random.default_rng([blocks, confidence_ppm])
    above = dict.fromkeys(KINDS, 0)
    for _ in range(CONTESTS):
        times = pool.draw(chance, 2, blocks, per_block, restart=True)
        sums = np.log(times.reshape(2, blocks, per_block).sum(axis=2))
        for kind, lower in _lowers(sums[0] - sums[1], confidence_ppm, chance).items():
            above[kind] += lower > 0
    return {kind: count / CONTESTS for kind, count in above.items()}


def _lowers(gains: Floats, confidence_ppm: int, chance: np.random.Generator) -> dict[str, float]:
    """The lower ends of the intervals of the mean."""
    blocks, mean = len(gains), float(gains.mean())
    counts = chance.multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    means = np.sort(counts @ gains) / blocks
    error = (PPM - confidence_ppm) / (2 * PPM)
    lower = float(means[max(1, int(RESAMPLES * error)) - 1])
    wide = widening_ppm(blocks, confidence_ppm, 1) / PPM
    deviation = float(gains.std(ddof=1)) / blocks**0.5
    return {
        "percentile": lower,
        "widened percentile": mean - (mean - lower) * wide,
        "Student's t": mean - deviation * student_ppm(blocks - 1, PPM - confidence_ppm) / PPM,
        "BCa": float(means[_bca_rank(gains, means, mean, error)]),
    }


def _bca_rank(gains: Floats, means: Floats, mean: float, error: float) -> int:
    """Which resample is the lower end after Efron's correction for bias and acceleration."""
    normal = NormalDist()
    below = float((means < mean).mean())
    bias = normal.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    # leaving block i out moves the mean by (mean - gain_i) / (n - 1): its skewness is theirs
    left_out = gains - mean
    acceleration = float((left_out**3).sum()) / (6 * float((left_out**2).sum()) ** 1.5)
    at = bias + normal.inv_cdf(error)
    share = normal.cdf(bias + at / (1 - acceleration * at))
    return max(0, min(RESAMPLES - 1, int(share * RESAMPLES) - 1))


if __name__ == "__main__":
    sys.exit(main())
