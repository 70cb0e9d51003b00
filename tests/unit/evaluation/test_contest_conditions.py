"""Blocks, orders, pairs, meters and conditions: the pure parts of a round."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from entrant_evidence import answer
from hypothesis import given, settings
from hypothesis import strategies as st
from imagined_contest import plan, record

from evaluation.blocks import arm_order, blocks_of
from evaluation.conditions import (
    Conditions,
    baseline_drift_ppm,
    client_lag_us,
    conditions_of,
    flooded,
    hopeless,
    unfit,
)
from evaluation.lag import LagMeter, pooled_us
from evaluation.live import LiveRatios
from evaluation.meter import Meter
from evaluation.pairing import combined
from evaluation.records import ArmRecord, BlockRecord
from ledger.codes import VoidCause
from ledger.contest_policy import ContestPolicy
from ledger.rules.interval import block_log_ratios_ppm

NS = 1_000_000_000


def asked(**fields: Any) -> BlockRecord:
    return BlockRecord(phase="prompts", block=0, place=0, since_start_ms=0, prompts=1, **fields)


@settings(deadline=None)
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
    assert alone.left_s(1, share_ppm=500_000) == 15.0
    alone.forgive(5_000)  # spent for nothing of its own: not charged, and yet used
    assert (alone.left_s(1), alone.gpu_ms) == (50.0, 15_000)


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


def test_the_clients_lag_is_that_under_the_baseline_over_all_its_blocks() -> None:
    policy = plan().policy.contest
    arms = [record("king", 200), record("challenger", 300)]
    found = conditions_of(policy, [], [], [record("baseline", 100)], arms)
    assert found == Conditions(client_lag_p99_us=100, entrants_lag_p99_us=300)
    assert conditions_of(policy, [], [], [], []) == Conditions()


def test_late_sends_and_timers_of_all_blocks_count_together_and_the_worse_of_both() -> None:
    early, late = ((0, 300),), ((1_200, 1),)  # 1,200 steps of 50 us
    quiet = [asked(late_beats=early, late_sends=((0, 15),)) for _ in range(20)]
    # One send in sixteen was late, or a few in 320: chance, though each was its block's worst.
    some = [asked(late_beats=early, late_sends=((0, 15), (1_200, 1))) for _ in range(3)]
    assert client_lag_us([some[0]]) == 50
    assert client_lag_us([*quiet, *some]) == 50
    assert client_lag_us([some[0], some[1], some[2]]) == 60_050
    assert client_lag_us([*quiet, asked(late_beats=((0, 100), (400, 60)))]) == 50
    assert client_lag_us([*quiet, asked(late_beats=((0, 100), (400, 62)))]) == 20_050
    assert client_lag_us([asked(late_sends=late)]) is None
    assert client_lag_us([]) is None


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 10_000), max_size=60), min_size=1, max_size=5),
)
def test_pooled_lateness_is_that_of_one_meter_that_saw_everything(runs: list[list[int]]) -> None:
    meters = [LagMeter() for _ in runs]
    whole = LagMeter()
    for meter, run in zip(meters, runs, strict=True):
        for late_us in run:
            meter.note(late_us)
            whole.note(late_us)
    pooled = pooled_us(meter.counts() for meter in meters)
    assert pooled == pooled_us([whole.counts()])
    seen = sorted(late_us for run in runs for late_us in run)
    beyond = max(2, len(seen) // 100)
    if len(seen) <= beyond:
        assert pooled is None
    else:
        worst = seen[-beyond - 1]
        assert pooled is not None
        assert worst < pooled <= worst + 50


def test_a_baseline_is_given_up_only_when_no_quiet_rest_could_save_the_round() -> None:
    policy = plan(max_client_lag_us=1_000).policy.contest
    late = asked(late_beats=((0, 96), (100, 4)))
    assert hopeless([late], 1, policy) is not None
    assert hopeless([late], 3, policy) is not None
    assert hopeless([late], 4, policy) is None
    assert hopeless([late, late], 4, policy) is not None


def test_a_server_floods_that_sends_many_times_the_baselines_bytes_around_a_token() -> None:
    def arm(wire: int | None, payload: int, tokens: int) -> ArmRecord:
        block = asked(wire_bytes=wire, payload_bytes=payload, tokens=tokens)
        return ArmRecord(arm="king", image=None, gpu_ms=1, starts=(), blocks=(block,))

    usual = [arm(51_000, 50_000, 100)]  # 510 bytes a token, 10 of them around its text
    assert flooded(arm(58_000, 50_000, 100), usual) is None
    assert flooded(arm(60_400, 50_000, 100), usual) is None  # 104 = 4 x 10 + 64
    why = flooded(arm(60_500, 50_000, 100), usual)
    assert why is not None
    assert "105 bytes of framing a token where the baseline needs 10" in why
    assert flooded(arm(210_400, 200_000, 100), usual) is None  # 4 x 510 + 64 and no more framing
    why = flooded(arm(210_600, 200_200, 100), usual)
    assert why is not None
    assert "2106 bytes a token" in why
    # Unknown is never zero: nobody counted, or nothing was answered.
    for own, baseline in (
        (arm(None, 0, 100), usual),
        (arm(0, 50_000, 100), usual),
        (arm(90_000, 50_000, 0), usual),
        (arm(90_000, 50_000, 100), [arm(None, 0, 100)]),
        (arm(90_000, 50_000, 100), []),
    ):
        assert flooded(own, baseline) is None
