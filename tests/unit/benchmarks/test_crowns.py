"""How often chance crowns, in simulated contests with fixed seeds: the same at every run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noise import study
from benchmarks.noise.pools import Pool, drawn_pool, measured_pool, sliding
from benchmarks.noise.rounds import Round, crowned_by_rule, crowned_fast, faster, log_ratios
from benchmarks.noise.study import ALONE, FIELDS, KING_AND_FIVE, Setup, played, setups, simulate
from benchmarks.noise.timings import MEASURED, Start, Timings, read_timings, write_timings
from ledger.policy import ScoreInterval
from ledger.rules.interval import block_log_ratios_ppm

OURS = setups()[0]
PERCENTILES = setups()[1]
STAY_LOADED = setups()[2]
HISTORIC = setups()[3]


def measured() -> Pool:
    return measured_pool(max_drift_ppm=OURS.track.contest.max_drift_ppm)


@pytest.fixture(scope="module", params=["measured", "by prompt", "by block"])
def pool(request: pytest.FixtureRequest) -> Pool:
    if request.param == "measured":
        return measured()
    return drawn_pool(shared_by_block=request.param == "by block")


def test_chance_crowns_nobody_more_than_once_in_a_hundred_rounds(pool: Pool) -> None:
    contests = 200
    outcome = simulate(OURS, pool, range(contests), check_every=contests)
    for one in FIELDS:
        assert outcome.false_share(one) <= 0.01, one


def test_without_sharing_or_restarts_chance_crowns_far_more_often(pool: Pool) -> None:
    # the same contests: what the plan and the widened interval are for
    vacant_for_five = FIELDS[3]
    ours = simulate(OURS, pool, range(100), fields=[vacant_for_five], check_every=100)
    plain = simulate(PERCENTILES, pool, range(100), fields=[vacant_for_five], check_every=100)
    historic = simulate(HISTORIC, pool, range(100), fields=[ALONE])
    assert plain.false_crowns[vacant_for_five] > 3 + ours.false_crowns[vacant_for_five]
    assert historic.false_share(ALONE) > 0.2


def test_servers_that_stay_loaded_make_a_start_count_as_gain() -> None:
    pool = drawn_pool(shared_by_block=False)
    assert simulate(STAY_LOADED, pool, range(50), fields=[ALONE]).false_share(ALONE) > 0.2


def small(setup: Setup, resamples: int) -> Setup:
    """The same rule over fewer resamples, so that the rule itself is quick enough to be asked."""
    scoring = setup.track.scoring
    assert isinstance(scoring, ScoreInterval)
    less = msgspec.structs.replace(scoring, resamples=resamples)
    return Setup(setup.name, msgspec.structs.replace(setup.track, scoring=less), setup.restart)


@pytest.mark.parametrize("setup", [OURS, PERCENTILES, STAY_LOADED], ids=lambda one: one.name)
def test_the_fast_path_crowns_whom_the_rule_crowns(setup: Setup, pool: Pool) -> None:
    quick = small(setup, 300)
    gains = (0, 30_000, 60_000, 120_000)
    outcome = simulate(
        *(quick, pool, range(4)),
        fields=FIELDS,
        power_fields=FIELDS,
        gains_ppm=gains,
        check_every=1,  # every contest is held against decide_round, one gain of each
    )
    assert outcome.contests == 4


def test_a_difference_between_fast_path_and_rule_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study, "crowned_by_rule", lambda *_: (3,))
    with pytest.raises(AssertionError, match=r"the fast path crowned \(\), the rule \(3,\)"):
        simulate(small(OURS, 100), drawn_pool(shared_by_block=False), range(1), check_every=1)


def test_the_full_rule_and_the_fast_path_agree_near_the_edge() -> None:
    chance = np.random.default_rng(7)
    pool = drawn_pool(shared_by_block=False)
    crowned = set()
    for number in range(4):
        times = pool.draw(chance, 7, OURS.blocks, OURS.per_block, restart=True)
        round_ = played(times, ALONE, 0, 60_000)
        by_rule = crowned_by_rule(round_, OURS.track, number)
        assert crowned_fast(round_, OURS.track, number) == by_rule
        crowned.add(by_rule)
    assert crowned == {(), (0,)}


def test_a_great_gain_is_found_and_none_is_not(pool: Pool) -> None:
    outcome = simulate(
        *(OURS, pool, range(20)),
        fields=[],
        power_fields=[ALONE, KING_AND_FIVE],
        gains_ppm=(0, 1_000_000),
        check_every=100,
    )
    for one in (ALONE, KING_AND_FIVE):
        assert outcome.power(one)[0][1] < 0.1
        assert outcome.power(one)[1] == (1.0, 1.0)
        assert outcome.smallest_gain(one) == 1.0


def test_a_gain_that_is_found_now_and_then_is_not_the_smallest() -> None:
    outcome = study.Outcome(contests=100, gains_ppm=(10_000, 20_000, 30_000))
    outcome.found[ALONE, 10_000] = 96
    outcome.found[ALONE, 20_000] = 94
    outcome.found[ALONE, 30_000] = 95
    assert outcome.smallest_gain(ALONE) == 0.03


def test_halving_finds_each_historic_contests_threshold() -> None:
    pool = drawn_pool(shared_by_block=False)
    found = study.thresholds(HISTORIC, pool, range(30), ALONE)
    gains = (10_000, 50_000, 100_000)
    plainly = simulate(HISTORIC, pool, range(30), fields=[], power_fields=[ALONE], gains_ppm=gains)
    # both draw the same contests, and alone the faster one is always in the first place
    assert [found.found[ALONE, gain] for gain in gains] == [
        plainly.found[ALONE, gain] for gain in gains
    ]


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)), min_size=6, max_size=6),
    st.sampled_from([1, 2, 3]),
)
@settings(max_examples=200)
def test_log_ratios_are_the_rules(pairs: list[tuple[int, int]], per_block: int) -> None:
    above, below = ([pair[side] for pair in pairs] for side in (0, 1))
    expected = block_log_ratios_ppm(above, below, per_block)
    assert log_ratios(np.array(above), np.array(below), per_block).tolist() == expected


def test_a_faster_server_is_so_in_whole_microseconds() -> None:
    assert faster(np.array([1_000_000, 105, 1]), 50_000).tolist() == [952_380, 100, 1]


def test_arms_of_a_block_are_other_starts_of_one_window_at_the_same_prompts() -> None:
    times = np.arange(12)[:, None] * 100 + np.arange(10)[None, :]  # start * 100 + prompt
    pool = Pool("p", "o", times, np.arange(12).reshape(2, 6))
    drawn = pool.draw(np.random.default_rng(1), 4, 50, 3, restart=True).reshape(4, 50, 3)
    starts, prompts = drawn // 100, drawn % 100
    for block in range(50):
        own = starts[:, block, 0]
        assert len(set(own.tolist())) == 4
        assert len({start // 6 for start in own.tolist()}) == 1
        assert (prompts[:, block] == prompts[0, block]).all()
        assert (np.diff(prompts[0, block]) == 1).all()
    assert len(set(starts[0, :, 0].tolist())) > 6  # another start in another block
    loaded = pool.draw(np.random.default_rng(1), 4, 50, 3, restart=False).reshape(4, 50, 3)
    assert all(len(set((loaded[arm] // 100).ravel().tolist())) == 1 for arm in range(4))


def test_neighbours_are_stretches_of_rounds() -> None:
    assert sliding([1, 2, 5, 6], 3) == [{1, 2, 5}, {2, 5, 6}]
    assert sliding([1, 2], 3) == []


def test_the_stored_timings_are_real_starts_of_both_servers() -> None:
    timings = read_timings()
    assert set(timings.starts) == {"kv_cache", "recompute"}
    assert all(len(starts) >= 12 for starts in timings.starts.values())
    assert "/" not in "".join(timings.host.values())  # facts of the host, no paths
    assert MEASURED.stat().st_size < 100_000
    kept, every = measured(), measured_pool(max_drift_ppm=None)
    assert len(kept.times_us) <= len(every.times_us) == len(timings.starts["kv_cache"])
    assert kept.windows.shape[1] >= 7  # as many starts as a round of five has arms


def test_rounds_that_drifted_are_left_out(tmp_path: Path) -> None:
    def starts(us: list[int]) -> tuple[Start, ...]:
        return tuple(
            Start(round=number, place=0, ready_ms=1, e2e_us=(one, one))
            for number, one in enumerate(us)
        )

    base = [100, 110, 100, 89, 90, 100]
    timings = Timings(
        what="w",
        host={"cpu": "c"},
        context_tokens=8,
        output_tokens=2,
        warmup_prompts=0,
        prompts_seed=1,
        starts={"kv_cache": starts([1, 2, 3, 4, 5, 6]), "recompute": starts(base)},
    )
    path = tmp_path / "aa.json"
    write_timings(timings, path)
    assert read_timings(path) == timings
    pool = measured_pool(path, max_drift_ppm=100_000)
    assert pool.times_us[:, 0].tolist() == [1, 2, 3, 5, 6]
    assert pool.windows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert "the 5 without drift" in pool.origin


@pytest.mark.parametrize(
    ("e2e_us", "message"), [([(1, 2), (1,)], "the same prompts"), ([(1, 0)], "below 1 us")]
)
def test_timings_that_cannot_be_are_refused(
    tmp_path: Path, e2e_us: list[tuple[int, ...]], message: str
) -> None:
    starts = tuple(
        Start(round=number, place=0, ready_ms=1, e2e_us=one) for number, one in enumerate(e2e_us)
    )
    path = tmp_path / "aa.json"
    write_timings(
        Timings(
            what="w",
            host={},
            context_tokens=8,
            output_tokens=2,
            warmup_prompts=0,
            prompts_seed=1,
            starts={"kv_cache": starts},
        ),
        path,
    )
    with pytest.raises(ValueError, match=message):
        read_timings(path)


def test_a_king_is_faster_than_the_baseline_and_a_vacant_throne_has_none() -> None:
    times = np.full((7, 4), 900)
    with_king, vacant = played(times, KING_AND_FIVE), played(times, FIELDS[2])
    assert isinstance(with_king, Round)
    assert with_king.baseline.tolist() == [1_000] * 4
    assert vacant.king is None
    assert vacant.baseline.tolist() == [900] * 4
    assert (len(with_king.challengers), len(vacant.challengers)) == (5, 1)
