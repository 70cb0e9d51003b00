"""The meter of a rented machine: begun steps, whole coins, and what each contest bears."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.rental_cost import Metered, PriceFrom, Used, metered, shares


@pytest.mark.parametrize(
    ("seconds", "step_s", "coin", "expected"),
    [
        (0, 1, 1, Metered(0, 0, 0)),
        (1, 1, 1, Metered(1, 1, 6_945)),  # 25 dollars an hour are 6,944.4 millionths a second
        (61, 60, 1, Metered(61, 120, 833_334)),
        (61, 60, 10_000, Metered(61, 120, 840_000)),
        (3_600, 3_600, 10_000, Metered(3_600, 3_600, 25_000_000)),
        (3_601, 3_600, 10_000, Metered(3_601, 7_200, 50_000_000)),
    ],
)
def test_begun_steps_are_billed_and_the_sum_is_rounded_up(
    seconds: int, step_s: int, coin: int, expected: Metered
) -> None:
    prices = [PriceFrom(1_000, 25_000_000)]
    assert metered(prices, 1_000 + seconds, step_s=step_s, step_usd_micros=coin) == expected


def test_a_price_that_changes_is_charged_from_its_second_on() -> None:
    prices = [PriceFrom(0, 3_600), PriceFrom(10, 7_200), PriceFrom(20, 0)]
    assert metered(prices, 25).cost_usd_micros == 10 * 1 + 10 * 2


@pytest.mark.parametrize(
    ("prices", "end", "step"),
    [
        ([], 5, 1),
        ([PriceFrom(9, 1)], 5, 1),
        ([PriceFrom(1, 1)], 5, 0),
        ([PriceFrom(3, 1), PriceFrom(2, 1)], 5, 1),
    ],
)
def test_a_meter_that_cannot_be_is_refused(prices: list[PriceFrom], end: int, step: int) -> None:
    with pytest.raises(ValueError, match=r"meter"):
        metered(prices, end, step_s=step)


def test_a_contest_bears_its_seconds_and_idle_time_is_nobodys() -> None:
    used = [Used("a", 0, 30), Used("b", 40, 50), Used("a", 50, 60)]
    assert shares(1_001, 100, used) == {"a": 400, "b": 100}


def test_more_seconds_than_there_were_are_refused() -> None:
    with pytest.raises(ValueError, match=r"70 seconds were used of a machine that ran 60"):
        shares(1, 60, [Used("a", 0, 70)])


@given(
    cuts=st.lists(st.integers(0, 10_000), min_size=2, max_size=12),
    cost=st.integers(0, 10**12),
    step_s=st.integers(1, 4_000),
    coin=st.integers(1, 20_000),
)
def test_parts_never_exceed_the_whole_and_the_bill_is_never_below_the_meter(
    cuts: list[int], cost: int, step_s: int, coin: int
) -> None:
    cuts = sorted(cuts)
    seconds = cuts[-1] - cuts[0]
    used = [Used(n % 3, a, b) for n, (a, b) in enumerate(pairwise(cuts))]
    parts = shares(cost, seconds, used)
    assert 0 <= cost - sum(parts.values()) <= len(parts) or not seconds
    exact = metered([PriceFrom(cuts[0], 3_600)], cuts[-1])
    rounded = metered([PriceFrom(cuts[0], 3_600)], cuts[-1], step_s=step_s, step_usd_micros=coin)
    assert exact.cost_usd_micros == seconds
    assert rounded.cost_usd_micros >= exact.cost_usd_micros
    assert rounded.cost_usd_micros % coin == 0
    assert rounded.cost_usd_micros < seconds + step_s + coin
