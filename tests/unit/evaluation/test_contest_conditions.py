"""Blocks, orders, pairs, meters and conditions: the pure parts of a round."""

from __future__ import annotations

from collections import Counter

import pytest
from entrant_evidence import answer
from hypothesis import given
from hypothesis import strategies as st
from imagined_contest import plan, record

from evaluation.blocks import arm_order, blocks_of
from evaluation.conditions import Conditions, baseline_drift_ppm, conditions_of, unfit
from evaluation.live import LiveRatios
from evaluation.meter import Meter
from evaluation.pairing import combined
from ledger.codes import VoidCause
from ledger.contest_policy import ContestPolicy
from ledger.rules.interval import block_log_ratios_ppm

NS = 1_000_000_000


@given(prompts=st.integers(2, 60), size=st.integers(1, 70))
def test_blocks_are_those_that_the_interval_rule_resamples(prompts: int, size: int) -> None:
    blocks = blocks_of(ContestPolicy(prompts=prompts, prompts_per_block=size))
    assert [at for block in blocks for at in block] == list(range(prompts))
    # A baseline twice as slow in one block alone shows in that block's ratio and in no other.
    for number, block in enumerate(blocks):
        slow = [2 if at in block else 1 for at in range(prompts)]
        ratios = block_log_ratios_ppm(slow, [1] * prompts, size)
        assert [at for at, ratio in enumerate(ratios) if ratio] == [number]


def test_the_order_of_arms_is_drawn_from_the_seed_and_every_place_is_as_likely() -> None:
    assert arm_order(7, 0, 4) == arm_order(7, 0, 4)
    assert [arm_order(1, block, 3) for block in range(4)] == [
        (0, 2, 1),
        (1, 0, 2),
        (2, 1, 0),
        (2, 0, 1),
    ]
    first = Counter(arm_order(seed, block, 4)[0] for seed in range(20) for block in range(100))
    assert set(first) == {0, 1, 2, 3}
    assert all(400 < seen < 600 for seen in first.values())


def test_pairs_are_the_floor_of_the_mean_over_what_both_runs_wrote() -> None:
    one = answer(4, first_us=100, step_us=10, claims=(-5, -6, -7, -8))
    other = answer(3, first_us=101, step_us=13)
    (found,) = combined([one], [other])
    assert found.arrival_us == (100, 112, 123)
    assert found.tokens == one.tokens[:3]
    assert found.logprobs_milli == (-5, -6, -7)
    assert combined([one], []) == (one,)
    with pytest.raises(ValueError, match="1 prompts before and 2 after"):
        combined([one], [other, other])


def test_a_meter_counts_what_is_not_frozen_once_for_each_gpu() -> None:
    now = [0]
    alone, eight = Meter(0, clock_ns=lambda: now[0]), Meter(8, clock_ns=lambda: now[0])
    for meter in (alone, eight):
        meter.run()
    now[0] = 10 * NS
    for meter in (alone, eight):
        meter.hold()
        meter.hold()
    now[0] = 1_000 * NS
    for meter in (alone, eight):
        meter.run()
        meter.run()
    now[0] = 1_005 * NS
    assert (alone.gpu_ms, eight.gpu_ms) == (15_000, 120_000)
    assert (alone.left_s(1), eight.left_s(2)) == (45.0, 0.0)
    assert eight.left_s(3) == 7.5


def test_a_display_learns_of_a_pair_once_whoever_is_asked_first() -> None:
    told: list[tuple[str, int, int, int]] = []
    live = LiveRatios(lambda *pair: told.append(pair))
    live.note("a", 0, 5)
    live.note(None, 0, 10)
    live.note("b", 0, 6)
    live.note(None, 0, 99)  # the baseline's second run changes nothing shown
    live.note("a", 1, 7)
    assert told == [("a", 0, 10, 5), ("b", 0, 10, 6)]


def test_drift_is_between_the_halves_a_token_and_unknown_where_there_are_none() -> None:
    quick, slow = answer(20, first_us=50, step_us=50), answer(20, first_us=100, step_us=100)
    long_and_slow = answer(40, first_us=100, step_us=100)
    once = ContestPolicy(prompts=4)
    bracketed = ContestPolicy(prompts=4, order="bracketed")
    blocks = ContestPolicy(prompts=5, order="interleaved")
    assert baseline_drift_ppm(once, [quick] * 4, []) is None
    assert baseline_drift_ppm(bracketed, [quick] * 4, []) is None
    assert baseline_drift_ppm(bracketed, [quick] * 4, [slow] * 4) == 500_000
    assert baseline_drift_ppm(bracketed, [slow] * 4, [quick] * 4) == 500_000
    assert baseline_drift_ppm(bracketed, [slow] * 4, [long_and_slow] * 4) == 0
    # Of five blocks the middle one is in neither half.
    assert baseline_drift_ppm(blocks, [quick, quick, slow, quick, quick], []) == 0
    assert baseline_drift_ppm(blocks, [quick, quick, quick, slow, slow], []) == 500_000
    assert baseline_drift_ppm(blocks, [quick], []) is None


def test_conditions_void_a_round_only_beyond_the_policys_limits() -> None:
    policy = plan(max_drift_ppm=100, max_client_lag_us=500).policy.contest
    for found in (
        Conditions(),
        Conditions(drift_ppm=100, clock_drift_ppm=100, client_lag_p99_us=500),
    ):
        assert unfit(found, policy) is None
    for found, cause in (
        (Conditions(drift_ppm=101), VoidCause.DRIFTED),
        (Conditions(clock_drift_ppm=101), VoidCause.DRIFTED),
        (Conditions(client_lag_p99_us=501), VoidCause.CLIENT_SATURATED),
    ):
        reason = unfit(found, policy)
        assert reason is not None
        assert reason[0] is cause


def test_the_worst_block_of_any_arm_is_the_clients_lag() -> None:
    policy = plan().policy.contest
    arms = [record("king", 20), record("challenger", 30)]
    found = conditions_of(policy, [], [], [record("baseline", 10)], arms)
    assert found == Conditions(client_lag_p99_us=30)
    assert conditions_of(policy, [], [], [], []).client_lag_p99_us is None
