"""The schedule of a block follows from the seed, the same on every machine for ever."""

from __future__ import annotations

import itertools
import math
from decimal import ROUND_UP, Inexact, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.arrivals import MINUTE_US, arrivals_us
from ledger.contest_policy import ArrivalPolicy, Closed, Poisson, Steady

RATES = st.integers(min_value=1, max_value=1_000_000)
SEEDS = st.integers(min_value=0, max_value=2**64 - 1)
COUNTS = st.integers(min_value=0, max_value=200)
OPEN: st.SearchStrategy[ArrivalPolicy] = st.one_of(
    RATES.map(lambda rate: Steady(per_minute=rate)),
    RATES.map(lambda rate: Poisson(per_minute=rate)),
)
GOLDEN = (155717, 515410, 907976, 2369928, 2858663, 2883968, 4065011, 4132503)


def offsets(policy: ArrivalPolicy, count: int, seed: int = 1, label: str = "b") -> tuple[int, ...]:
    found = arrivals_us(policy, count, seed, label)
    assert found is not None
    return found


def test_the_schedule_of_a_seed_never_changes() -> None:
    found = offsets(Poisson(per_minute=120), 8, seed=14, label="block 0")
    assert found == GOLDEN
    assert offsets(Steady(per_minute=7), 4) == (0, 8_571_428, 17_142_857, 25_714_285)


def test_a_closed_loop_has_no_schedule() -> None:
    assert arrivals_us(Closed(), 5, 1, "b") is None


@given(OPEN, COUNTS, SEEDS)
def test_arrivals_are_integers_in_order(policy: ArrivalPolicy, count: int, seed: int) -> None:
    found = offsets(policy, count, seed)
    assert len(found) == count
    assert all(isinstance(at, int) and at >= 0 for at in found)
    assert list(found) == sorted(found)
    assert found == offsets(policy, count, seed)


@given(OPEN, COUNTS, COUNTS, SEEDS)
def test_fewer_prompts_arrive_when_the_first_of_more_do(
    policy: ArrivalPolicy, fewer: int, more: int, seed: int
) -> None:
    fewer, more = sorted((fewer, more))
    assert offsets(policy, more, seed)[:fewer] == offsets(policy, fewer, seed)


@given(RATES, COUNTS)
def test_steady_gaps_are_even_to_a_microsecond(rate: int, count: int) -> None:
    found = offsets(Steady(per_minute=rate), count)
    gaps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert gaps <= {MINUTE_US // rate, MINUTE_US // rate + 1}


@given(SEEDS)
def test_the_calling_programs_decimal_settings_change_nothing(seed: int) -> None:
    policy = Poisson(per_minute=60)
    with localcontext() as context:
        context.prec, context.rounding = 3, ROUND_UP
        context.traps[Inexact] = True
        strange = offsets(policy, 5, seed)
    assert strange == offsets(policy, 5, seed)


def test_blocks_and_seeds_have_schedules_of_their_own() -> None:
    policy = Poisson(per_minute=60)
    kinds = {offsets(policy, 3, seed, label) for seed in (1, 2) for label in ("a", "b")}
    assert len(kinds) == 4


@pytest.mark.parametrize("rate", [1, 120, 6_000])
def test_random_gaps_are_exponential_with_the_policys_mean(rate: int) -> None:
    count = 4_000
    found = offsets(Poisson(per_minute=rate), count, seed=5)
    gaps = [later - earlier for earlier, later in itertools.pairwise((0, *found))]
    mean = MINUTE_US / rate
    # Four standard errors of the mean, and of the share that a gap of the mean's length cuts off.
    assert abs(sum(gaps) / count / mean - 1) < 4 / math.sqrt(count)
    longer = sum(gap > mean for gap in gaps) / count
    expected = math.exp(-1)
    assert abs(longer - expected) < 4 * math.sqrt(expected * (1 - expected) / count)
