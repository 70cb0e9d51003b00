"""Log ratios by block and the bootstrap over them (ARCHITECTURE, "Fair measuring")."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.rules.interval import (
    block_log_ratios_ppm,
    bootstrap_sums,
    fewest_blocks,
    log_one_plus_ppm,
    rounded_mean,
    saved_ppm,
    widened_sums,
    widening_ppm,
)
from ledger.units import PPM

times = st.lists(st.tuples(st.integers(1, 10**10), st.integers(1, 10**10)), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("baseline_us", "own_us", "per_block", "expected"),
    [
        # ln 2, ln 1, ln 1/2, ln 4
        ([4, 2, 2, 4], [2, 2, 4, 1], 1, [693_147, 0, -693_147, 1_386_294]),
        # ln 6/4 and, with the prompt left over in the last block, ln 10/6
        ([4, 2, 2, 4, 4], [2, 2, 1, 1, 4], 2, [405_465, 510_826]),
        # ln 22/14: all in one block, also when there are fewer prompts than a block holds
        ([4, 2, 2, 4, 10], [2, 2, 4, 1, 5], 5, [451_985]),
        ([4, 2, 2, 4, 10], [2, 2, 4, 1, 5], 9, [451_985]),
    ],
)
def test_a_block_is_the_log_of_the_ratio_of_its_sums(
    baseline_us: list[int], own_us: list[int], per_block: int, expected: list[int]
) -> None:
    assert block_log_ratios_ppm(baseline_us, own_us, per_block) == expected


@given(times, st.integers(1, 4))
def test_swapping_the_two_sides_only_changes_the_sign(
    pairs: list[tuple[int, int]], per_block: int
) -> None:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    there = block_log_ratios_ppm(one, other, per_block)
    assert [-ratio for ratio in there] == block_log_ratios_ppm(other, one, per_block)
    assert len(there) == max(1, len(pairs) // per_block)


def test_an_empty_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        block_log_ratios_ppm([1], [1], 0)


@pytest.mark.parametrize(
    ("share_ppm", "expected"), [(0, 0), (10_000, 9_951), (PPM, 693_148), (1, 1)]
)
def test_a_margins_log_is_rounded_up(share_ppm: int, expected: int) -> None:
    assert log_one_plus_ppm(share_ppm) == expected


@pytest.mark.parametrize(
    ("log_ratio_ppm", "expected"),
    [(0, 0), (693_147, 499_999), (693_148, 500_000), (-693_148, -1_000_002), (3 * 10**7, 999_999)],
)
def test_the_part_saved_is_floored(log_ratio_ppm: int, expected: int) -> None:
    assert saved_ppm(log_ratio_ppm) == expected


@given(st.integers(-(10**7), 10**7), st.integers(-(10**7), 10**7))
def test_the_part_saved_keeps_order(one: int, other: int) -> None:
    lower, higher = sorted((one, other))
    assert saved_ppm(lower) <= saved_ppm(higher) < PPM


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(5, 2, 3), (-5, 2, -2), (4, 2, 2), (1, 3, 0), (2, 3, 1)]
)
def test_a_mean_rounds_to_the_nearest(total: int, count: int, expected: int) -> None:
    assert rounded_mean(total, count) == expected


@pytest.mark.parametrize(
    ("confidence_ppm", "blocks"), [(500_000, 2), (900_000, 5), (950_000, 6), (999_000, 11)]
)
def test_confidence_needs_blocks(confidence_ppm: int, blocks: int) -> None:
    assert fewest_blocks(confidence_ppm) == blocks
    assert (
        2**blocks * (PPM - confidence_ppm) >= 2 * PPM > 2 ** (blocks - 1) * (PPM - confidence_ppm)
    )


def test_the_bootstrap_draws_what_its_text_says() -> None:
    # worked out from the documented stream by a separate script
    values = [101_003, -52_017, 30_029, 7_043, -11, 120_061, -200_083, 8_101, 55_117, 3_001, 77_777]
    assert bootstrap_sums(values, 950_000, 1_000, 14) == (-486_083, 632_417)


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=10),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=50)
def test_bounds_lie_within_the_values_and_widen_with_confidence(
    values: list[int], seed: int
) -> None:
    low, high = bootstrap_sums(values, 950_000, 200, seed)
    assert min(values) * len(values) <= low <= high <= max(values) * len(values)
    narrow_low, narrow_high = bootstrap_sums(values, 500_000, 200, seed)
    assert low <= narrow_low <= narrow_high <= high


@given(st.integers(-(10**6), 10**6), st.integers(2, 10), st.integers(0, 2**64 - 1))
@settings(max_examples=30)
def test_blocks_that_agree_leave_no_doubt(value: int, count: int, seed: int) -> None:
    assert bootstrap_sums([value] * count, 950_000, 100, seed) == (value * count, value * count)


def test_another_seed_draws_otherwise() -> None:
    values = [1, 10, 100, 1_000, 10_000, 100_000, 5, 7]
    assert bootstrap_sums(values, 500_000, 200, 1) != bootstrap_sums(values, 500_000, 200, 2)


@pytest.mark.parametrize(
    ("blocks", "comparisons", "expected"),
    # sqrt(n / (n - 1)) * t / z by tables: sqrt(11 / 10) * 3.16927 / 2.57583, and t = 3.38518 at an
    # error of 0.002 with 30 degrees of freedom
    [(11, 1, 1_290_440), (31, 5, 1_335_933)],
)
def test_few_blocks_and_many_comparisons_widen_an_interval(
    blocks: int, comparisons: int, expected: int
) -> None:
    assert abs(widening_ppm(blocks, 990_000, comparisons) - expected) < 100


def test_many_blocks_hardly_widen_it() -> None:
    assert PPM < widening_ppm(1_000, 950_000, 1) < PPM + 3_000


def test_two_blocks_cannot_be_widened() -> None:
    with pytest.raises(ValueError, match="cannot be widened"):
        widening_ppm(2, 950_000, 1)


@pytest.mark.parametrize(
    ("total", "ends", "factor_ppm", "expected"),
    [
        (100, (90, 111), 1_500_000, (85, 117)),  # 16.5 above goes outward to 17
        (-10, (-13, -7), 1_100_000, (-14, -6)),  # 3.3 goes outward to 4 on both sides
        (0, (2, 5), 2_000_000, (0, 10)),  # an end on the wrong side of the sum stays at it
    ],
)
def test_an_interval_is_widened_outward(
    total: int, ends: tuple[int, int], factor_ppm: int, expected: tuple[int, int]
) -> None:
    assert widened_sums(total, ends, factor_ppm) == expected


def test_a_shared_error_needs_more_blocks() -> None:
    assert [fewest_blocks(990_000, shared) for shared in (1, 5, 256)] == [8, 10, 16]
