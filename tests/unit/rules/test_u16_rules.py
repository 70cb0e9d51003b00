"""Scaling to u16 as the runtime does it (DOMAIN 5)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.u16 import max_upscale_to_u16
from ledger.units import PPM, U16_MAX

shares = st.lists(st.integers(0, PPM), min_size=1, max_size=40).filter(any)


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ([], ()),
        ([0, 0], (0, 0)),
        ([1], (65_535,)),
        ([1_000_000], (65_535,)),
        ([900_000, 100_000], (65_535, 7_282)),
        # 1/2 of 65,535 is 32,767.5: divided last it is exact and rounds away from zero ...
        ([1, 2], (32_768, 65_535)),
        ([16_384, 32_768], (32_768, 65_535)),
        # ... divided first, the ratio 65,535/65,536 has an exact binary fraction and still does
        ([32_768, 65_536], (32_768, 65_535)),
        # but 65,535/1,000,000 is cut after 32 bits, and half of it falls just short
        ([500_000, 1_000_000], (32_767, 65_535)),
        ([65_535, 1, 0, 40_000], (65_535, 1, 0, 40_000)),
    ],
)
def test_scaling_rounds_as_the_fixed_point_of_the_pallet(
    given_values: list[int], expected: tuple[int, ...]
) -> None:
    assert max_upscale_to_u16(given_values) == expected


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        max_upscale_to_u16([5, -1])


@given(shares)
def test_the_largest_becomes_65535_and_nothing_exceeds_it(values: list[int]) -> None:
    scaled = max_upscale_to_u16(values)
    assert max(scaled) == U16_MAX
    assert scaled[values.index(max(values))] == U16_MAX
    assert min(scaled) >= 0


@given(shares)
def test_order_is_kept(values: list[int]) -> None:
    pairs = sorted(zip(values, max_upscale_to_u16(values), strict=True))
    assert [after for _, after in pairs] == sorted(after for _, after in pairs)


@given(shares)
def test_each_value_is_within_one_of_the_exact_proportion(values: list[int]) -> None:
    for before, after in zip(values, max_upscale_to_u16(values), strict=True):
        assert abs(Fraction(before * U16_MAX, max(values)) - after) <= Fraction(1, 2) + Fraction(
            1, 1_000
        )


@given(st.lists(st.integers(0, U16_MAX), max_size=40))
def test_a_vector_with_a_full_entry_passes_the_runtime_unchanged(rest: list[int]) -> None:
    values = [*rest, U16_MAX]
    assert max_upscale_to_u16(values) == tuple(values)


@given(shares)
def test_scaling_twice_changes_nothing(values: list[int]) -> None:
    once = max_upscale_to_u16(values)
    assert max_upscale_to_u16(once) == once
