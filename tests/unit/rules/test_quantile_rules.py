"""How far out the normal distribution and Student's t reach, against printed tables."""

from __future__ import annotations

from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.rules.quantiles import normal_ppm, student_ppm
from ledger.units import PPM


@pytest.mark.parametrize(
    ("freedom", "error_ppm", "expected_ppm"),
    [  # printed tables of Student's t, two-sided, rounded up
        (2, 50_000, 4_302_653),
        (10, 50_000, 2_228_139),
        (30, 10_000, 2_749_996),
        (30, 1_000, 3_645_959),
        (120, 50_000, 1_979_931),
    ],
)
def test_students_t_is_what_tables_say(freedom: int, error_ppm: int, expected_ppm: int) -> None:
    assert student_ppm(freedom, error_ppm) == expected_ppm


def test_an_odd_freedom_is_taken_as_the_even_one_below() -> None:
    assert student_ppm(31, 50_000) == student_ppm(30, 50_000)


def test_sharing_an_error_is_asking_for_its_part() -> None:
    assert student_ppm(34, 10_000, 5) == student_ppm(34, 2_000)


@given(st.integers(1_000, 500_000))
@settings(max_examples=50)
def test_the_normal_distribution_is_what_the_library_says(error_ppm: int) -> None:
    expected = NormalDist().inv_cdf(1 - error_ppm / (2 * PPM)) * PPM
    assert abs(normal_ppm(error_ppm) - expected) < 2


@given(st.integers(1, 300), st.integers(1_000, 500_000), st.integers(1, 256))
@settings(max_examples=50)
def test_t_lies_further_out_than_z_and_less_so_with_more_freedom(
    half: int, error_ppm: int, shares: int
) -> None:
    wide = student_ppm(2 * half, error_ppm, shares)
    assert wide > student_ppm(2 * half + 2, error_ppm, shares) > normal_ppm(error_ppm)


@pytest.mark.parametrize("freedom", [0, 1])
def test_no_spread_is_known_of_two_values(freedom: int) -> None:
    with pytest.raises(ValueError, match="at least 2 degrees of freedom"):
        student_ppm(freedom, 50_000)


@pytest.mark.parametrize(("error_ppm", "shares"), [(0, 1), (PPM, 1), (50_000, 0)])
def test_an_error_that_is_none_is_refused(error_ppm: int, shares: int) -> None:
    with pytest.raises(ValueError, match="is none"):
        student_ppm(10, error_ppm, shares)
