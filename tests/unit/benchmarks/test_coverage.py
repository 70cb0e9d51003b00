"""The kinds of intervals that are compared on measured noise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.noise import coverage
from benchmarks.noise.pools import drawn_pool


def test_over_many_symmetric_blocks_all_kinds_agree() -> None:
    half = np.random.default_rng(3).normal(0, 1, size=200)
    gains = np.concatenate([half, -half]) + 5
    lowers = coverage._lowers(gains, 950_000, np.random.default_rng(4))
    deviation = gains.std(ddof=1) / 20
    assert set(lowers) == set(coverage.KINDS)
    for lower in lowers.values():
        assert abs((5 - lower) / deviation - 1.96) < 0.15


def test_bca_follows_the_skew() -> None:
    chance = np.random.default_rng(5)
    gains = chance.exponential(1, size=30)
    lowers = coverage._lowers(gains, 950_000, np.random.default_rng(6))
    mirrored = coverage._lowers(-gains, 950_000, np.random.default_rng(6))
    # a long tail above says that the mean may well be higher: the lower end moves up with it
    assert lowers["BCa"] > lowers["percentile"]
    assert mirrored["BCa"] < mirrored["percentile"]


def test_what_is_missed_is_counted_per_contest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "CONTESTS", 300)
    monkeypatch.setattr(coverage, "RESAMPLES", 400)
    missed = coverage.missed(drawn_pool(shared_by_block=True), 6, 16, 500_000)
    assert 0.2 < missed["percentile"] < 0.4  # a quarter is allowed, and six blocks are few
    assert missed["widened percentile"] < missed["percentile"]
