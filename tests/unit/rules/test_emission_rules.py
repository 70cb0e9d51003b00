"""The pool and its split, phase by phase (DOMAIN 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.policy import BlockRamp, EmissionPolicy, KingTakesAll, ScorePool
from ledger.rules.emission import Split, pool_ppm, split
from ledger.units import PPM


@pytest.mark.parametrize(
    ("emission", "block", "score_ppm", "expected_ppm"),
    [
        (KingTakesAll(), 1, 0, PPM),
        (KingTakesAll(), 1, None, PPM),
        (ScorePool(), 1, 0, 0),
        (ScorePool(), 1, -5, 0),
        (ScorePool(), 1, 50_000, 500_000),
        (ScorePool(), 1, 99_999, 999_990),
        (ScorePool(), 1, 100_000, PPM),
        (ScorePool(), 1, 1_700_000, PPM),
        (ScorePool(full_pool_score_ppm=300_000), 1, 100_000, 333_333),
        (BlockRamp(), 0, None, 20_000),
        (BlockRamp(), 8_360_899, None, 20_000),
        (BlockRamp(), 8_360_900, None, 100_000),
        (BlockRamp(), 8_360_901, None, 100_000),
        (BlockRamp(), 8_360_902, None, 100_001),
        (BlockRamp(), 9_019_700, None, 550_000),
        (BlockRamp(), 9_678_499, None, 999_999),
        (BlockRamp(), 9_678_500, None, PPM),
        (BlockRamp(), 20_000_000, None, PPM),
        (BlockRamp(override_ppm=-1), 9_000_000, None, 0),
        (BlockRamp(override_ppm=250_000), 1, None, 250_000),
        (BlockRamp(override_ppm=PPM + 1), 1, None, PPM),
    ],
)
def test_pool_follows_its_phase(
    emission: EmissionPolicy, block: int, score_ppm: int | None, expected_ppm: int
) -> None:
    assert pool_ppm(emission, block, score_ppm) == expected_ppm


def test_an_unknown_score_is_not_read_as_zero() -> None:
    with pytest.raises(ValueError, match="follows the king's score"):
        pool_ppm(ScorePool(), 8_300_000, None)


@given(
    st.builds(
        BlockRamp,
        before_ppm=st.just(0),
        floor_ppm=st.integers(0, PPM),
        start_block=st.integers(0, 1_000),
        length_blocks=st.integers(1, 3_000),
    ),
    st.integers(0, 5_000),
    st.integers(0, 5_000),
)
def test_ramp_never_falls_and_stays_within_one(ramp: BlockRamp, one: int, other: int) -> None:
    earlier, later = sorted((one, other))
    assert 0 <= pool_ppm(ramp, earlier, None) <= pool_ppm(ramp, later, None) <= PPM
    assert pool_ppm(ramp, ramp.start_block + ramp.length_blocks, None) == PPM


@given(st.integers(0, 3 * PPM), st.integers(0, 3 * PPM))
def test_score_pool_never_falls_with_the_score(one: int, other: int) -> None:
    lower, higher = sorted((one, other))
    assert pool_ppm(ScorePool(), 0, lower) <= pool_ppm(ScorePool(), 0, higher) <= PPM


@pytest.mark.parametrize("emission", [ScorePool(), BlockRamp()])
def test_king_and_runner_up_split_eighty_to_twenty(emission: EmissionPolicy) -> None:
    assert split(emission, has_runner_up=True) == Split(800_000, 200_000)


@pytest.mark.parametrize("emission", [KingTakesAll(), ScorePool(), BlockRamp()])
def test_king_without_runner_up_takes_the_pool(emission: EmissionPolicy) -> None:
    assert split(emission, has_runner_up=False) == Split(PPM, 0)


def test_phase_one_pays_no_runner_up() -> None:
    assert split(KingTakesAll(), has_runner_up=True) == Split(PPM, 0)
