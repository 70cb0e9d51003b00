"""Noise, costs and a pool from A/A runs: what was put in comes out, what servers share does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from gpu_summaries import READY_MS, WARMUP_MS, drawn, summary

from benchmarks import crowns
from benchmarks.gpu.pool import (
    ARMS_OF_A_ROUND,
    Floor,
    PoolError,
    alike,
    costs_of,
    floor_of,
    noise_of,
    pool_of,
    spread_of,
    times_of,
)
from benchmarks.gpu.power import gpu_pools, lacking, powers_of, read_powers, write_powers
from benchmarks.gpu.summary import write_summary
from benchmarks.noise.pools import Pool
from benchmarks.noise.study import ALONE, Outcome, Setup
from evaluation.gpu_budget import Costs, Noise

RESTARTED = {"start": 0.03, "prompt": 0.05}


def test_a_block_under_its_own_start_spreads_by_start_and_prompts() -> None:
    floor = floor_of([summary("a", drawn(6, 60, 16, start=0.03, prompt=0.05))])
    assert (floor.starts, floor.blocks) == (360, 360)
    assert floor.block_ppm is floor.start_ppm is None
    assert floor.prompt_ppm == pytest.approx(50_000, rel=0.05)
    # 16 prompts of unlike lengths average their own spread a little less than sixteenfold
    assert floor.fresh_ppm == pytest.approx(33_000, rel=0.1)
    noise = noise_of(floor, 16)
    assert noise.within_ppm == floor.prompt_ppm
    assert noise.between_ppm == pytest.approx(30_000, rel=0.1)


def test_servers_that_stay_loaded_tell_starts_from_blocks() -> None:
    runs = [
        summary(
            f"r{seed}",
            drawn(6, 12, 8, start=0.04, block=0.02, restart=False, seed=seed),
            restart=False,
        )
        for seed in range(5_000, 5_060)
    ]
    floor = floor_of(runs)
    assert floor.fresh_ppm is None
    assert floor.start_ppm == pytest.approx(40_000, rel=0.15)
    assert floor.block_ppm == pytest.approx(20_000, rel=0.1)
    assert noise_of(floor, 8).between_ppm == pytest.approx(44_700, rel=0.15)


def test_what_a_block_does_to_all_servers_is_no_noise() -> None:
    same = np.repeat(drawn(1, 8, 4), 5, axis=0)
    floor = floor_of([summary("a", same)])
    assert (floor.prompt_ppm, floor.fresh_ppm) == (0, 0)


def test_prompts_that_spread_more_than_their_block_leave_no_start() -> None:
    floor = Floor(
        starts=9, blocks=9, prompt_ppm=80_000, block_ppm=None, start_ppm=None, fresh_ppm=10_000
    )
    assert noise_of(floor, 16) == Noise(between_ppm=0, within_ppm=80_000)
    with pytest.raises(PoolError, match="restart_each_block"):
        noise_of(replace(floor, fresh_ppm=None), 16)


def test_costs_are_the_middle_of_all_starts_and_count_gpus_once() -> None:
    for gpus in (0, 1, 2):
        flat = np.full((3, 4, 16), 20_000_000)
        run = summary("a", flat, gpus=gpus or 1)
        if gpus == 0:
            plan = msgspec.structs.replace(run.plan, gpus=0)
            run = msgspec.structs.replace(run, plan=plan)
        assert costs_of([run]) == Costs(
            gpus=gpus, startup_ms=READY_MS, warmup_ms=WARMUP_MS, prompt_ms=1_250
        )


def test_costs_without_a_ready_start_are_unknown() -> None:
    run = summary("a", drawn(3, 2, 4))
    arms = tuple(msgspec.structs.replace(arm, ready_ms=(None, None)) for arm in run.arms)
    with pytest.raises(PoolError, match="no start that became ready"):
        costs_of([msgspec.structs.replace(run, arms=arms)])


def test_a_pool_has_a_row_a_block_and_windows_of_a_whole_round() -> None:
    run = summary("a", drawn(4, 6, 16, **RESTARTED))
    pool = pool_of([run])
    assert pool.times_us.shape == (24, 16)
    assert pool.windows.tolist() == [list(range(at * 4, at * 4 + 8)) for at in range(5)]
    assert pool.name == "measured A/A, H100, m, 16 a block of 64 + 8 tokens, e"
    drawn_times = pool.draw(np.random.default_rng(1), ARMS_OF_A_ROUND, 20, 16, restart=True)
    assert drawn_times.shape == (ARMS_OF_A_ROUND, 320)
    # what differs between rows is what differs between servers, none of what differs by block
    sums = np.log(pool.times_us.sum(axis=1))
    assert float(sums.std(ddof=1)) * 1e6 == pytest.approx(floor_of([run]).fresh_ppm or 0, rel=0.15)
    assert float(np.log(times_of(run).log_us.std())) > float(np.log(sums.std()))


def test_rows_of_servers_that_stay_loaded_are_neighbours_of_other_runs_only() -> None:
    runs = [
        summary(f"r{seed}", drawn(4, 3, 8, start=0.04, restart=False, seed=seed), restart=False)
        for seed in range(3)
    ]
    pool = pool_of(runs)
    starts = np.arange(36) // 12 * 4 + np.arange(36) % 4  # run and arm of a row
    for window in pool.windows:
        assert len(window) == 8
        assert len({int(starts[row]) for row in window}) == 8
    with pytest.raises(PoolError, match="too few starts"):
        pool_of(runs[:1])


def test_starts_that_are_new_are_preferred_to_servers_that_stayed() -> None:
    fresh = summary("a", drawn(4, 6, 8, **RESTARTED))
    stayed = summary("b", drawn(4, 6, 8, restart=False), restart=False)
    assert len(pool_of([fresh, stayed]).times_us) == 24


def test_only_whole_runs_of_one_kind_are_pooled() -> None:
    whole = summary("whole", drawn(3, 4, 8))
    other: dict[str, Any] = {
        "void": {"status": "void"},
        "honest": {"what": "honest"},
        "cut": {"arms": (*whole.arms[:2], _cut(whole))},
        "one": {"arms": whole.arms[:1]},
        "model": {"model": "n"},
        "engine": {"engine": "f"},
    }
    runs = [
        whole,
        *(msgspec.structs.replace(whole, name=name, **own) for name, own in other.items()),
    ]
    groups = [[one.name for one in group] for group in alike([*runs, summary("b", drawn(3, 4, 8))])]
    assert groups == [["whole", "b"], ["model"], ["engine"]]


def test_two_servers_a_block_tell_as_much_of_noise_as_they_are() -> None:
    run = summary("two", drawn(2, 120, 16, start=0.03, prompt=0.05))
    assert alike([run]) == [[run]]
    floor = floor_of([run])
    assert floor.fresh_ppm == pytest.approx(33_000, rel=0.15)
    logs = np.log(pool_of([run]).times_us)
    # Each row spreads as one server does; the two of a block are one distance, turned round.
    assert logs.mean(axis=1).std() == pytest.approx(0.033, rel=0.2)
    assert np.allclose(logs[0] - logs.mean(), logs.mean() - logs[1], atol=1e-3)


@pytest.mark.parametrize("arms", [2, 3, 6])
def test_servers_are_drawn_no_nearer_to_each_other_than_they_were(arms: int) -> None:
    run = summary("aa", drawn(arms, 360 // arms, 16, start=0.03, prompt=0.05))
    fresh_ppm = floor_of([run]).fresh_ppm or 0
    pool = pool_of([run])
    # By a factor of sqrt(n / (n - 1)) too far where both are of one block, and right elsewhere.
    assert fresh_ppm <= spread_of(pool) <= 1.2 * fresh_ppm
    assert f"spread by {spread_of(pool) / 10_000:.1f} % a block, where" in pool.origin


def test_every_run_of_a_pool_counts_alike_however_many_windows_it_has() -> None:
    quiet = summary("quiet", drawn(3, 3, 16, start=0.001, prompt=0.0, seed=1))
    loud = summary("loud", drawn(2, 30, 16, start=0.1, prompt=0.0, seed=2))
    pool = pool_of([quiet, loud])
    rows = Counter(int(row) for window in pool.windows for row in window)
    of_quiet = [rows[row] for row in range(9)]
    assert sum(of_quiet) * 2 == sum(rows.values())
    assert len(set(of_quiet)) == 1  # none of its nine blocks is left out more often


def _cut(whole: Any) -> Any:
    return msgspec.structs.replace(whole.arms[2], blocks=whole.arms[2].blocks[:-1])


def test_what_an_hour_proves_follows_and_is_kept(tmp_path: Any) -> None:
    run = summary("a", drawn(6, 8, 16, start=0.01, prompt=0.02))
    (found,) = powers_of([run], contests=2)
    write_powers([found], tmp_path)
    assert read_powers(tmp_path) == [found]
    alone, together = found.budgeted
    assert (alone.starts, together.starts) == ("one after another", "6 together")
    assert alone.gain_ppm is not None
    assert together.gain_ppm is not None
    assert 10_000 < together.gain_ppm < alone.gain_ppm < 60_000
    names = [(one.plan, one.prompts_per_block) for one in found.simulated]
    assert names == [("the shipped plan", 16), ("one GPU hour", 16)]
    assert found.simulated[0].false[0].field == ALONE.name
    assert found.simulated[0].found[-1][1] == 2  # a fifth faster is always seen


def test_where_answers_are_too_short_the_longest_blocks_are_taken() -> None:
    short = drawn(6, 4, 100, start=0.01, prompt=0.02) // 3
    (found,) = powers_of([summary("a", short)], contests=1)
    assert found.prompt_ms * 1_000 < 16 * 10_000  # all prompts of a policy are no 16 such blocks
    one = found.budgeted[0]
    assert (one.prompts_per_block, one.blocks) == (62, 16)
    assert "that a policy may ask" in one.why_none
    assert one.gain_ppm is not None
    assert [(own.blocks, own.prompts_per_block) for own in found.simulated] == [
        *((20, 16), (16, 62), (16, 100)),  # the last of longer answers
    ]


def test_runs_that_tell_too_little_say_so_and_are_left_out(tmp_path: Any) -> None:
    few = summary("few", drawn(3, 2, 16))
    (power,) = powers_of([few])
    assert (power.simulated, power.origin) == ((), "")
    assert power.budgeted[0].gain_ppm is not None  # the formula needs no pool
    arms = tuple(msgspec.structs.replace(arm, ready_ms=(None, None)) for arm in few.arms)
    assert powers_of([msgspec.structs.replace(few, arms=arms)]) == []
    assert lacking([few]) == [
        "few: the A/A runs have too few starts beside each other for 7 servers of a round; "
        "run more blocks that start anew"
    ]
    write_summary(few, tmp_path)
    assert gpu_pools(tmp_path) == []
    write_summary(summary("enough", drawn(4, 4, 16)), tmp_path)
    assert [pool.times_us.shape for pool in gpu_pools(tmp_path)] == [(22, 16)]


def test_a_machine_without_gpus_is_no_gpu_pool(tmp_path: Any) -> None:
    run = summary("cpu", drawn(4, 4, 16))
    write_summary(msgspec.structs.replace(run, gpus=()), tmp_path)
    assert gpu_pools(tmp_path) == []
    write_summary(run, tmp_path)
    assert len(gpu_pools(tmp_path)) == 1


def test_crowns_by_chance_are_counted_under_every_gpus_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = pool_of([summary("a", drawn(4, 4, 16))])
    short = pool_of([summary("b", drawn(4, 4, 8))])

    def counted(setup: Setup, pool: Pool, contests: int) -> crowns.Row:
        false = Counter({ALONE: 40 if pool is long else 10})
        outcome = Outcome(contests=contests, false_crowns=false)
        return crowns.Row(setup, pool, outcome, None, ())

    monkeypatch.setattr(crowns, "gpu_pools", lambda: [long, short])
    monkeypatch.setattr(crowns, "_row", counted)
    crowns._rows.cache_clear()
    try:
        found = crowns.false_crowns()
    finally:
        crowns._rows.cache_clear()
    assert found.value == pytest.approx(40 / found.rounds)
    assert f"; {long.name}: {40 / found.rounds:.1%}, 0.0%, 0.0%, 0.0%" in found.note
    assert f"| {long.name} | interval, error of the round |" in found.details
    assert found.details.count(f"- {long.name}: resampled from 16 measured blocks") == 1
