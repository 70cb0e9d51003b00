"""Scores by formula, the margin's decay, and what a challenger must show (DOMAIN 4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.policy import MarginPolicy, ScoreInterval, ScoreV1, ScoreV2, ScoringPolicy
from ledger.rules.scoring import Decision, Measured, Score, beats, margin_ppm, score
from ledger.units import PPM

INTERVAL = ScoreInterval(resamples=200)
NO_MARGIN = MarginPolicy(start_ppm=0)


def timed(
    e2e_us: Sequence[int], baseline_us: int | Sequence[int] = 1_000_000, ttft_us: int = 1
) -> Measured:
    """An entrant with these end-to-end times; every other column is the baseline's."""
    count = len(e2e_us)
    baseline = [baseline_us] * count if isinstance(baseline_us, int) else baseline_us
    return Measured(
        baseline_ttft_us=(1,) * count,
        baseline_e2e_us=tuple(baseline),
        baseline_tokens=(100,) * count,
        ttft_us=(ttft_us,) * count,
        e2e_us=tuple(e2e_us),
        tokens=(100,) * count,
    )


def contest(
    challenger: Measured,
    king: Measured | None,
    scoring: ScoringPolicy,
    margin: MarginPolicy = NO_MARGIN,
    age_blocks: int = 0,
) -> Decision:
    return beats(
        challenger,
        king,
        scoring,
        margin,
        reign_age_blocks=age_blocks,
        prompts_per_block=1,
        seed=7,
    )


def test_v1_is_half_the_gain_in_first_token_and_half_that_in_speed() -> None:
    measured = Measured(
        baseline_ttft_us=(200, 400, 300),
        baseline_e2e_us=(1_200, 1_400, 1_300),
        baseline_tokens=(100, 100, 100),
        ttft_us=(240, 150, 90),
        e2e_us=(1_040, 950, 890),
        tokens=(110, 100, 100),
    )
    # first token: 300 -> 150, gain 1/2; decode: 1,000 us -> 800 us for 100 tokens, gain 1/4
    assert score(measured, ScoreV1(), 1, 0) == Score(score_ppm=375_000)


def test_v1_counts_speed_over_the_common_tokens() -> None:
    measured = Measured((1,), (1_001,), (100,), (1,), (1_001,), (90,))
    assert score(measured, ScoreV1(), 1, 0).score_ppm == 0


def test_v1_a_loss_in_one_part_takes_nothing_from_the_other() -> None:
    measured = Measured((100,), (1_100,), (10,), (400,), (900,), (10,))
    assert score(measured, ScoreV1(), 1, 0).score_ppm == 500_000


def test_v1_can_exceed_one() -> None:
    measured = Measured((100,), (1_100,), (10,), (100,), (110,), (10,))
    assert score(measured, ScoreV1(), 1, 0).score_ppm == 49_500_000


@pytest.mark.parametrize(
    ("e2e_us", "expected_ppm"),
    [
        ([900_000, 800_000, 100_000], 200_000),
        ([900_000, 700_000], 200_000),
        ([2_000_000, 900_000], 50_000),
        ([1_000_000], 0),
        ([5_000_000], 0),
        ([666_667], 333_333),
    ],
)
def test_v2_is_the_median_gain_in_end_to_end_time(e2e_us: list[int], expected_ppm: int) -> None:
    assert score(timed(e2e_us), ScoreV2(), 1, 0) == Score(score_ppm=expected_ppm)


def test_v2_floors_to_whole_ppm() -> None:
    assert score(timed([2], baseline_us=3), ScoreV2(), 1, 0).score_ppm == 333_333
    assert score(timed([1], baseline_us=3), ScoreV2(), 1, 0).score_ppm == 666_666


def test_interval_scores_the_part_of_the_time_saved() -> None:
    reached = score(timed([900_000] * 10), INTERVAL, 1, 7)
    # ln(1 / 0.9) = 0.1053605..., and 1 - exp(-that) is the tenth again, floored
    assert reached == Score(
        score_ppm=100_000, lower_ppm=100_000, upper_ppm=100_000, log_ratio_ppm=105_361
    )


def test_interval_of_a_slower_server_is_zero_with_negative_bounds() -> None:
    reached = score(timed([1_100_000, 1_200_000] * 5), INTERVAL, 1, 7)
    assert reached.score_ppm == 0
    assert reached.lower_ppm is not None
    assert reached.upper_ppm is not None
    assert reached.lower_ppm < reached.upper_ppm < 0


def test_interval_with_too_few_blocks_has_no_bounds() -> None:
    reached = score(timed([900_000] * 5), INTERVAL, 1, 7)
    assert (reached.score_ppm, reached.lower_ppm, reached.upper_ppm) == (100_000, None, None)


@given(
    st.lists(st.integers(1, 10**8), min_size=6, max_size=12),
    st.sampled_from([1, 2]),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=40)
def test_interval_is_the_same_at_every_computation(
    e2e_us: list[int], per_block: int, seed: int
) -> None:
    first = score(timed(e2e_us), INTERVAL, per_block, seed)
    assert first == score(timed(e2e_us), INTERVAL, per_block, seed)
    if first.lower_ppm is not None and first.upper_ppm is not None:
        assert first.lower_ppm <= first.upper_ppm


@pytest.mark.parametrize(
    ("age_blocks", "expected_ppm"),
    [(0, 10_000), (1, 9_999), (25_200, 5_000), (50_399, 0), (50_400, 0), (900_000, 0)],
)
def test_margin_decays_linearly_over_the_reign(age_blocks: int, expected_ppm: int) -> None:
    assert margin_ppm(MarginPolicy(decay_blocks=50_400), age_blocks) == expected_ppm


def test_margin_without_decay_stays() -> None:
    assert margin_ppm(MarginPolicy(), 900_000) == 10_000


def test_a_reign_that_has_not_begun_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be -1 blocks old"):
        margin_ppm(MarginPolicy(), -1)


@pytest.mark.parametrize(
    ("age_blocks", "challenger_us", "wins"),
    [
        # the king scores 200,000 ppm: 202,000 is asked and must be exceeded
        (0, 798_000, False),
        (0, 797_999, True),
        (25_200, 799_000, False),
        (25_200, 798_999, True),
        (50_400, 800_000, False),
        (50_400, 799_999, True),
    ],
)
def test_a_challenger_must_exceed_the_kings_score_and_margin(
    age_blocks: int, challenger_us: int, wins: bool
) -> None:
    king = timed([800_000] * 3)
    margin = MarginPolicy(start_ppm=10_000, decay_blocks=50_400)
    decision = contest(timed([challenger_us] * 3), king, ScoreV2(), margin, age_blocks)
    assert decision.wins is wins
    assert decision.reached_ppm == PPM - challenger_us
    assert decision.needed_ppm == {0: 202_001, 25_200: 201_001, 50_400: 200_001}[age_blocks]


@pytest.mark.parametrize(("e2e_us", "wins"), [(999_999, True), (1_000_000, False)])
def test_a_vacant_throne_takes_any_gain_over_the_baseline(e2e_us: int, wins: bool) -> None:
    decision = contest(timed([e2e_us]), None, ScoreV2(), MarginPolicy(start_ppm=500_000))
    assert decision.wins is wins
    assert decision.needed_ppm == 1


@given(
    st.lists(st.integers(1, 10**7), min_size=6, max_size=10),
    st.sampled_from([ScoreV1(), ScoreV2(), INTERVAL]),
    st.integers(0, PPM),
)
@settings(max_examples=60)
def test_nobody_beats_itself(e2e_us: list[int], scoring: ScoringPolicy, start_ppm: int) -> None:
    measured = timed(e2e_us)
    assert not contest(measured, measured, scoring, MarginPolicy(start_ppm=start_ppm)).wins


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)), min_size=6, max_size=10),
    st.sampled_from([ScoreV1(), ScoreV2(), INTERVAL]),
)
@settings(max_examples=60)
def test_two_servers_never_beat_each_other(
    times_us: list[tuple[int, int]], scoring: ScoringPolicy
) -> None:
    one, other = timed([a for a, _ in times_us]), timed([b for _, b in times_us])
    assert not (contest(one, other, scoring).wins and contest(other, one, scoring).wins)


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)), min_size=6, max_size=10),
    st.sampled_from([ScoreV1(), ScoreV2(), INTERVAL]),
    st.integers(0, PPM),
)
@settings(max_examples=60)
def test_winning_is_reaching_what_was_needed(
    times_us: list[tuple[int, int]], scoring: ScoringPolicy, start_ppm: int
) -> None:
    one, other = timed([a for a, _ in times_us]), timed([b for _, b in times_us])
    decision = contest(one, other, scoring, MarginPolicy(start_ppm=start_ppm))
    assert decision.reached_ppm is not None
    assert decision.wins is (decision.reached_ppm >= decision.needed_ppm)
    assert not (decision.wins and decision.undecided)


def test_interval_crowns_a_gain_that_every_block_shows() -> None:
    king = timed([800_000, 820_000] * 5)
    faster = timed([760_000, 779_000] * 5)
    decision = contest(faster, king, INTERVAL, MarginPolicy(start_ppm=10_000))
    assert decision.wins
    # ln(1.01) = 0.00995033...: the margin is rounded up and must be exceeded
    assert decision.needed_ppm == 9_952
    assert decision.reached_ppm is not None
    assert 51_000 <= decision.reached_ppm <= 51_293


def test_interval_pairs_block_by_block_so_that_shared_noise_cancels() -> None:
    noise = [700_000, 1_400_000, 900_000, 2_100_000, 800_000, 1_000_000]
    king, faster = timed(noise), timed([us * 97 // 100 for us in noise])
    assert contest(faster, king, INTERVAL, MarginPolicy(start_ppm=10_000)).wins


def test_interval_leaves_a_gain_within_the_noise_undecided() -> None:
    king = timed([800_000] * 10)
    noisy = timed([600_000, 980_000] * 5)
    decision = contest(noisy, king, INTERVAL)
    assert not decision.wins
    assert decision.undecided
    assert decision.why.startswith("undecided")


def test_interval_says_no_where_the_gain_is_certainly_too_small() -> None:
    king = timed([800_000] * 10)
    decision = contest(timed([799_000] * 10), king, INTERVAL, MarginPolicy(start_ppm=10_000))
    assert not decision.wins
    assert not decision.undecided


def test_interval_with_too_few_blocks_is_undecided_and_reaches_nothing() -> None:
    decision = contest(timed([100_000] * 5), timed([900_000] * 5), INTERVAL)
    assert (decision.wins, decision.undecided, decision.reached_ppm) == (False, True, None)


@pytest.mark.parametrize(("e2e_us", "wins"), [(900_000, True), (1_000_000, False)])
def test_interval_takes_a_vacant_throne_by_a_gain_over_the_baseline(
    e2e_us: int, wins: bool
) -> None:
    decision = contest(timed([e2e_us] * 6), None, INTERVAL, MarginPolicy(start_ppm=500_000))
    assert decision.wins is wins
    assert decision.needed_ppm == 1


def test_interval_charges_each_entrant_for_its_own_length() -> None:
    # the king wrote fewer tokens: it was timed to an earlier one, and so was the baseline for it
    king = timed([450_000] * 6, baseline_us=500_000)
    same_speed = timed([900_000] * 6, baseline_us=1_000_000)
    decision = contest(same_speed, king, INTERVAL)
    assert (decision.wins, decision.reached_ppm) == (False, 0)


def test_only_one_rounds_measurements_are_compared() -> None:
    with pytest.raises(ValueError, match="only within one round"):
        contest(timed([1] * 6), timed([1] * 7), ScoreV2())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (((), (), (), (), (), ()), "same prompts in every column"),
        (((1,), (2, 2), (1,), (1,), (2,), (1,)), "same prompts in every column"),
        (((1,), (2,), (1,), (1,), (2,), (0,)), "below 1"),
        (((0,), (2,), (1,), (1,), (2,), (1,)), "below 1"),
        (((1,), (2,), (1,), (3,), (2,), (1,)), "after the last one"),
        (((3,), (2,), (1,), (1,), (2,), (1,)), "after the last one"),
    ],
)
def test_an_impossible_measurement_is_refused(
    columns: tuple[tuple[int, ...], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Measured(*columns)


SHARED = ScoreInterval(resamples=200, error_of="round")
NOISY = [800_000 + 4_000 * (place % 5) for place in range(20)]


def among(comparisons: int, scoring: ScoringPolicy) -> Decision:
    king = timed([830_000] * len(NOISY))
    return beats(
        timed(NOISY),
        king,
        scoring,
        NO_MARGIN,
        reign_age_blocks=0,
        prompts_per_block=1,
        seed=7,
        comparisons=comparisons,
    )


def test_a_rounds_error_asks_more_of_each_challenger_the_more_there_are() -> None:
    reached = [among(comparisons, SHARED).reached_ppm for comparisons in (1, 2, 5, 50)]
    assert None not in reached
    assert reached == sorted(reached, key=lambda ppm: -(ppm or 0))
    assert len(set(reached)) == len(reached)
    assert "for all 5 comparisons of the round" in among(5, SHARED).why


def test_an_error_of_each_comparison_does_not_look_at_the_others() -> None:
    alone = among(1, INTERVAL)
    assert alone == among(50, INTERVAL)
    own = among(1, SHARED)
    assert own.reached_ppm is not None
    assert alone.reached_ppm is not None
    assert own.reached_ppm < alone.reached_ppm  # few blocks widen it even where nobody shares


def test_a_shared_error_over_too_few_blocks_decides_nothing() -> None:
    king, faster = timed([900_000] * 7), timed([100_000] * 7)
    for comparisons, undecided in ((1, False), (5, True)):
        decision = beats(
            faster,
            king,
            SHARED,
            NO_MARGIN,
            reign_age_blocks=0,
            prompts_per_block=1,
            seed=7,
            comparisons=comparisons,
        )
        assert (decision.undecided, decision.wins) == (undecided, not undecided)


def test_a_rounds_error_widens_the_interval_of_the_score() -> None:
    plain, widened = (score(timed(NOISY), one, 1, 7) for one in (INTERVAL, SHARED))
    assert plain.score_ppm == widened.score_ppm
    assert plain.lower_ppm is not None
    assert plain.upper_ppm is not None
    assert widened.lower_ppm is not None
    assert widened.upper_ppm is not None
    assert widened.lower_ppm < plain.lower_ppm < plain.upper_ppm < widened.upper_ppm


def test_two_blocks_have_no_interval_where_the_error_is_the_rounds() -> None:
    bare = ScoreInterval(confidence_ppm=500_000, resamples=100, error_of="round")
    assert score(timed([900_000] * 2), bare, 1, 7).lower_ppm is None
