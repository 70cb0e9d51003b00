"""Rental first: fees pay for rental and old deficits before anything is left to buy back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.surplus import due_rao, proposed_buyback_rao, rental_first, reserve_rao
from ledger.units import PPM, RAO_PER_TAO

TAO = RAO_PER_TAO
RAO = st.integers(min_value=0, max_value=10**18)
SIGNED = st.integers(min_value=-(10**18), max_value=10**18)
PRICE = st.integers(min_value=1, max_value=10**12)
PERCENT = st.integers(min_value=0, max_value=PPM)


def test_what_the_rental_leaves_is_surplus() -> None:
    # 62 dollars at 310 a TAO are 0.2 TAO.
    due = due_rao(62_000_000, 310_000_000)
    assert due == TAO // 5
    assert rental_first(TAO, due, 0) == (TAO * 4 // 5, 0)


def test_a_deficit_is_carried_until_fees_have_paid_it() -> None:
    first = rental_first(TAO, 3 * TAO, 0)
    assert first == (0, 2 * TAO)
    second = rental_first(TAO, 0, first.deficit_rao)
    assert second == (0, TAO)
    assert rental_first(3 * TAO, 0, second.deficit_rao) == (2 * TAO, 0)


def test_a_rental_due_in_rao_is_rounded_up() -> None:
    assert due_rao(1, 3_000_000) == 334
    assert due_rao(0, 3) == 0
    assert due_rao(-1, 3_000_000) == -333


@given(SIGNED, PRICE)
def test_the_rounding_of_the_rental_is_less_than_a_rao_and_never_against_the_provider(
    usd_micros: int, price: int
) -> None:
    due = due_rao(usd_micros, price)
    assert 0 <= due * price - usd_micros * RAO_PER_TAO < price


@given(SIGNED, SIGNED, RAO)
def test_surplus_less_deficit_is_what_is_left_and_only_one_of_them_is_there(
    fees: int, due: int, carried: int
) -> None:
    found = rental_first(fees, due, carried)
    assert found.surplus_rao - found.deficit_rao == fees - due - carried
    assert min(found) == 0


@given(st.lists(st.tuples(SIGNED, SIGNED), max_size=20))
def test_no_rao_is_lost_over_any_row_of_periods(rows: list[tuple[int, int]]) -> None:
    carried = spent = 0
    for fees, due in rows:
        surplus, carried = rental_first(fees, due, carried)
        spent += surplus
    assert spent - carried == sum(fees - due for fees, due in rows)


@given(RAO, PERCENT)
def test_a_reserve_is_rounded_up_and_never_more_than_there_is(closing: int, share: int) -> None:
    kept = reserve_rao(closing, share)
    assert 0 <= kept * PPM - closing * share < PPM
    assert kept <= closing


@given(RAO, RAO, PERCENT, RAO, RAO, RAO)
def test_a_proposal_spends_neither_the_reserve_nor_what_is_others(
    surplus: int, closing: int, share: int, unclaimed: int, promised: int, planned: int
) -> None:
    kept = reserve_rao(closing, share)
    proposed = proposed_buyback_rao(surplus, closing, kept, unclaimed, promised, planned)
    assert 0 <= proposed <= surplus
    assert proposed == 0 or closing - proposed >= kept + unclaimed + promised + planned
    free = closing - kept - unclaimed - promised - planned
    assert proposed == max(0, min(surplus, free))


@pytest.mark.parametrize("price", [0, -1])
def test_a_price_that_values_nothing_is_refused(price: int) -> None:
    with pytest.raises(ValueError, match="values nothing"):
        due_rao(1, price)


def test_a_carried_credit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be carried"):
        rental_first(1, 1, -1)
