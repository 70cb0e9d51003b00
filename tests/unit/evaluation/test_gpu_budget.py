"""Which plan a budget of GPU minutes allows one challenger, and what it can prove."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.contest import BASELINE_BUDGET_PPM
from evaluation.gpu_budget import (
    MAX_PROMPTS,
    SHORTEST_BLOCK_MS,
    BudgetError,
    Costs,
    Noise,
    best_plan,
    blocks_within,
    machine_ms,
    provable_gain_ppm,
)
from ledger.policies import load
from ledger.policy import MarginPolicy, ScoreInterval, parse_policy_toml
from ledger.units import PPM

SEEN = Costs(gpus=1, startup_ms=60_000, warmup_ms=10_000, prompt_ms=1_250)
"""About what a 7B model under vLLM takes on one H100: 16 prompts at once in 20 s."""
NOISE = Noise(between_ppm=39_000, within_ppm=70_000)
OURS = ScoreInterval(confidence_ppm=990_000, error_of="round")
MARGIN = MarginPolicy()


@pytest.mark.parametrize(
    ("minutes", "gpus", "expected_ms"),
    [(60, 0, 3_600_000), (60, 1, 3_600_000), (60, 8, 450_000), (1, 7, 8_571)],
)
def test_the_more_gpus_the_sooner_the_budget_is_spent(
    minutes: int, gpus: int, expected_ms: int
) -> None:
    assert machine_ms(minutes, gpus) == expected_ms


@pytest.mark.parametrize(
    ("costs", "per_block", "blocks"),
    [
        (SEEN, 16, 40),  # 3,600 s over 60 + 10 + 20
        (replace(SEEN, once_ms=360_000), 16, 36),
        (replace(SEEN, once_ms=360_001), 16, 35),
        (replace(SEEN, startup_ms=131_000), 16, 22),  # nothing cached between starts
        (replace(SEEN, gpus=8), 16, 5),
        (replace(SEEN, startup_ms=0, warmup_ms=0, prompt_ms=1), 16, MAX_PROMPTS // 16),
        (replace(SEEN, once_ms=3_600_001), 16, 0),
    ],
)
def test_blocks_are_what_is_left_over_what_each_costs(
    costs: Costs, per_block: int, blocks: int
) -> None:
    assert blocks_within(60, costs, per_block) == blocks


def test_the_example_policy_fits_its_budget() -> None:
    (track,) = parse_policy_toml(load("interval")).tracks.values()
    contest = track.contest
    blocks = contest.prompts // contest.prompts_per_block
    assert contest.prompts % contest.prompts_per_block == 0
    # Every start is cold, a fresh container's, and a tenth is left over: the baseline's share ends
    # there, and whoever is as fast as it has room for its repeated prompts.
    costs = replace(SEEN, gpus=contest.limits.gpus, startup_ms=131_000, once_ms=360_000)
    assert contest.budget_gpu_minutes == 60
    assert 3_600_000 - costs.once_ms == 3_600_000 * BASELINE_BUDGET_PPM // PPM
    assert blocks == blocks_within(contest.budget_gpu_minutes, costs, contest.prompts_per_block)
    assert isinstance(track.scoring, ScoreInterval)
    best = best_plan(60, costs, NOISE, track.scoring, track.margin)
    own = provable_gain_ppm(blocks, contest.prompts_per_block, NOISE, track.scoring, track.margin)
    # a block of 16 fills the streams; it may cost a little against the very best plan
    assert best.gain_ppm <= own < best.gain_ppm * 105 // 100


def test_a_gain_is_the_margin_and_the_interval_and_luck() -> None:
    # by hand: ln 1.01 = 0.00995, deviation = 0.08 * sqrt(2 / 36) = 0.018856, and z = 2.5758 for
    # 99 % and 1.6449 for luck: 0.00995 + 0.018856 * 4.2207 = 0.089538, whose exp is 1.093669
    plain = ScoreInterval(confidence_ppm=990_000)
    gain = provable_gain_ppm(36, 16, Noise(80_000, 0), plain, MARGIN)
    assert abs(gain - 93_669) < 30


@given(
    st.integers(16, 200),
    st.integers(1, 20),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
)
@settings(max_examples=60)
def test_more_blocks_prove_less_and_more_challengers_or_noise_ask_more(
    blocks: int, per_block: int, between_ppm: int, within_ppm: int
) -> None:
    noise = Noise(between_ppm, within_ppm)

    def gain(more_blocks: int = 0, challengers: int = 1, louder: int = 0) -> int:
        loud = Noise(noise.between_ppm + louder, noise.within_ppm)
        return provable_gain_ppm(
            blocks + more_blocks, per_block, loud, OURS, MARGIN, challengers=challengers
        )

    assert MARGIN.start_ppm <= gain(more_blocks=50) <= gain() <= gain(challengers=5)
    assert gain() <= gain(louder=1_000)


@given(st.integers(1, 5_000), st.integers(0, 200_000), st.integers(1, 12_000), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_the_best_plan_fits_and_no_other_length_proves_less(
    minutes: int, startup_ms: int, prompt_ms: int, gpus: int
) -> None:
    costs = Costs(gpus=gpus, startup_ms=startup_ms, warmup_ms=10_000, prompt_ms=prompt_ms)
    try:
        plan = best_plan(minutes, costs, NOISE, OURS, MARGIN, challengers=5)
    except BudgetError as refused:
        capped = prompt_ms * MAX_PROMPTS < 16 * SHORTEST_BLOCK_MS
        said = "the 1000 that a policy may ask" if capped else f"{minutes} GPU minutes"
        assert said in str(refused)
        return
    assert plan.used_ms <= machine_ms(minutes, gpus)
    assert plan.prompts <= MAX_PROMPTS
    assert plan.restarts == plan.blocks >= 16
    assert plan.prompts_per_block * prompt_ms >= SHORTEST_BLOCK_MS
    for other in (plan.prompts_per_block - 1, plan.prompts_per_block + 1):
        blocks = blocks_within(minutes, costs, other) if other else 0
        if blocks >= 16 and other * prompt_ms >= SHORTEST_BLOCK_MS:
            gain = provable_gain_ppm(blocks, other, NOISE, OURS, MARGIN, challengers=5)
            assert plan.gain_ppm <= gain


def test_a_budget_that_decides_nothing_is_refused_with_what_it_takes() -> None:
    with pytest.raises(BudgetError, match="take about 171 GPU minutes") as refused:
        best_plan(60, replace(SEEN, gpus=8), NOISE, OURS, MARGIN)
    assert "no 16 blocks" in str(refused.value)
    assert best_plan(171, replace(SEEN, gpus=8), NOISE, OURS, MARGIN).blocks >= 16


def test_answers_too_short_for_long_blocks_are_said_to_be_so() -> None:
    short = replace(SEEN, prompt_ms=100)  # 100 prompts make a block, and 1,000 make no 16
    with pytest.raises(BudgetError, match="10000 ms takes 100 prompts, so that 16 blocks") as said:
        best_plan(600, short, NOISE, OURS, MARGIN)
    assert "ask for longer answers" in str(said.value)
    assert best_plan(600, replace(SEEN, prompt_ms=162), NOISE, OURS, MARGIN).blocks >= 16


def test_too_few_blocks_prove_nothing() -> None:
    with pytest.raises(BudgetError, match="9 blocks cannot decide among 5"):
        provable_gain_ppm(9, 16, NOISE, OURS, MARGIN, challengers=5)


@pytest.mark.parametrize("field", ["gpus", "startup_ms", "warmup_ms", "once_ms", "prompt_ms"])
def test_costs_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="a server cannot cost"):
        replace(SEEN, **{field: -1})
