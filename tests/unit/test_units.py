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
    AmountFormError,
    Rao,
    UnitError,
    UsdMicros,
    alpha_of,
    amount_of,
    decimal_text,
    signed,
    total,
    usd_micros_of,
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


@pytest.mark.parametrize(
    ("text", "micros"),
    [("1234.56", 1_234_560_000), ("0.000001", 1), ("0", 0), ("9999999999", 9_999_999_999 * 10**6)],
)
def test_dollars_are_read_exactly(text: str, micros: int) -> None:
    assert usd_micros_of(text) == UsdMicros(micros)


@pytest.mark.parametrize("text", ["", "1.", ".5", "-1", "+1", "1,000", "1e3", "0.0000001", " 1"])
def test_what_is_no_amount_of_dollars_is_refused(text: str) -> None:
    with pytest.raises(AmountFormError, match="is not an amount of dollars"):
        usd_micros_of(text)


def test_alpha_is_read_exactly_with_its_subnet() -> None:
    assert alpha_of("0.25", 14) == Alpha(250_000_000, 14)
    with pytest.raises(AmountFormError, match="at most 9 decimals"):
        alpha_of("0.0000000001", 14)


@pytest.mark.parametrize(
    ("text", "expected"), [("-1.5", (-1, "1.5")), ("+1.5", (1, "1.5")), ("1.5", (1, "1.5"))]
)
def test_a_sign_is_read_apart(text: str, expected: tuple[int, str]) -> None:
    assert signed(text) == expected
