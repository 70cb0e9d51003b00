"""Units do not mix, amounts are whole, and people read them in decimals."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.units import (
    PPM,
    Alpha,
    Rao,
    UnitError,
    UsdMicros,
    amount_of,
    decimal_text,
    total,
)

KINDS: tuple[Any, ...] = (Rao, UsdMicros, lambda value: Alpha(value, 14), lambda v: Alpha(v, 15))


@pytest.mark.parametrize("operate", [operator.add, operator.sub, operator.lt, operator.ge])
@pytest.mark.parametrize(("left", "right"), [(a, b) for a in range(4) for b in range(4) if a != b])
def test_two_units_never_meet_in_a_sum_or_comparison(operate: Any, left: int, right: int) -> None:
    with pytest.raises(UnitError, match="cannot mix"):
        operate(KINDS[left](5), KINDS[right](5))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_number_is_no_amount(kind: Any) -> None:
    with pytest.raises(UnitError):
        kind(5) + 5
    assert kind(5) != 5


@pytest.mark.parametrize("value", [1.0, "1", None, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_amount_is_a_whole_number(kind: Any, value: Any) -> None:
    with pytest.raises(UnitError, match="takes a whole number"):
        kind(value)


@given(st.integers(), st.integers())
def test_amounts_of_one_unit_add_up_as_integers(left: int, right: int) -> None:
    for kind in KINDS:
        assert kind(left) + kind(right) == kind(left + right)
        assert kind(left) - kind(right) == kind(left) + -kind(right)
        assert (kind(left) <= kind(right)) == (left <= right)
        assert bool(kind(left)) == (left != 0)


@given(st.integers(min_value=0, max_value=10**18), st.integers(min_value=0, max_value=PPM))
def test_a_share_is_floored_and_the_rest_makes_it_whole_within_a_unit(
    value: int, share: int
) -> None:
    part, rest = Rao(value).times_ppm(share), Rao(value).times_ppm(PPM - share)
    assert value - 1 <= (part + rest).value <= value
    assert Alpha(value, 14).times_ppm(share) == Alpha(part.value, 14)


def test_equal_numbers_of_two_subnets_alpha_differ() -> None:
    assert Alpha(1, 14) != Alpha(1, 15)
    assert len({Alpha(1, 14), Alpha(1, 15), Rao(1), UsdMicros(1), Rao(1)}) == 4


def test_amounts_read_as_decimals() -> None:
    assert str(Rao(1_234_500_000_000)) == "1,234.500000000 TAO"
    assert str(UsdMicros(-1)) == "-0.000001 USD"
    assert str(Alpha(-1_500_000_000, 14)) == "-1.500000000 alpha(14)"
    assert decimal_text(100_000_000, "TAO") == "0.100000000"
    assert decimal_text(-29_750_667, "USD") == "-29.750667"
    assert decimal_text(0, "ALPHA:14") == "0.000000000"


@pytest.mark.parametrize("asset", ["TAO", "USD", "ALPHA:14"])
def test_an_amount_keeps_the_name_of_its_asset(asset: str) -> None:
    assert amount_of(asset, 5).asset == asset


@pytest.mark.parametrize("asset", ["", "tao", "ALPHA", "ALPHA:", "ALPHA:x", "EUR"])
def test_an_unknown_asset_is_no_amount(asset: str) -> None:
    with pytest.raises(UnitError):
        amount_of(asset, 5)


def test_a_total_over_two_units_is_refused() -> None:
    assert total([Rao(1), Rao(2)], Rao(0)) == Rao(3)
    with pytest.raises(UnitError):
        total([Rao(1), UsdMicros(2)], Rao(0))
