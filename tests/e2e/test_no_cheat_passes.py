"""The table of cheats and honest servers, live over HTTP, under two seeds each.

The gates are those that :func:`benchmarks.judging.rounds.calibrated` proposed for the reference
model; the benchmarks `cheats_caught` and `honest_refused` calibrate anew and ask more seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.judging.rounds import Gates, Judging, cheat_rows, honest_rows, line_of
from benchmarks.judging.table import CHEATS, HONEST, Cheat
from ledger.codes import DisqualificationCode
from ledger.gate_policy import GatePolicy

GATES = GatePolicy(
    min_top1_ppm=850_000,
    min_model_top1_ppm=200_000,
    max_mean_margin_milli=25,
    max_p99_margin_milli=800,
    max_logprob_delta_milli=98,
)
BOTH = Gates(GATES, GATES)
SEEDS = range(2)
TOLD_BY_TIMES = frozenset(
    {
        DisqualificationCode.FLUSHED,
        DisqualificationCode.REPLAYED,
        DisqualificationCode.SPECULATIVE,
    }
)
"""What only arrival times give away. A busy machine can hide it for a round and not for long; the
gates themselves are tested on written times."""
TRIES = 8
ROUNDS = 4


@pytest.fixture(scope="module")
def judging() -> Iterator[Judging]:
    with Judging.held() as held:
        yield held


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_every_cheat_has_its_own_code(judging: Judging, cheat: Cheat) -> None:
    if cheat.code in TOLD_BY_TIMES:
        for seed in range(TRIES):
            (row,) = cheat_rows(judging, BOTH, range(seed, seed + 1), lambda _: None, [cheat])
            if dict(row.codes) == {str(cheat.code): 1}:
                return
            assert set(row.codes) <= {"", *TOLD_BY_TIMES}, (line_of(row), row.detail)
        pytest.fail(f"{cheat.name} passed {TRIES} rounds")
    (row,) = cheat_rows(judging, BOTH, SEEDS, lambda _: None, [cheat])
    assert dict(row.codes) == {str(cheat.code): len(SEEDS)}, (line_of(row), row.detail)


def test_no_honest_server_is_refused_live_or_resampled(judging: Judging) -> None:
    for turn in range(ROUNDS):
        first = 100 + turn * len(HONEST)
        seeds = range(first, first + len(HONEST))
        live, drawn = honest_rows(judging, BOTH, seeds, 3, lambda _: None)
        assert sum(row.runs for row in live) == len(HONEST)
        assert sum(row.runs for row in drawn) == 3 * len(HONEST)
        refused = {line_of(row): (row.codes, row.detail) for row in (*live, *drawn) if row.caught}
        by_answers = [codes for codes, _ in refused.values() if set(codes) - {"", *TOLD_BY_TIMES}]
        assert by_answers == [], refused
        if not refused:
            return
    # A busy machine can make an honest one look so for a round and not for long.
    pytest.fail(f"honest ones were refused by their times in each of {ROUNDS} rounds: {refused}")


def test_the_table_holds_every_way_of_being_caught_by_what_was_answered() -> None:
    by_answers = {
        DisqualificationCode.TRUNCATED,
        DisqualificationCode.OVERLONG,
        DisqualificationCode.OTHER_WEIGHTS,
        DisqualificationCode.SAMPLER_CHANGED,
        DisqualificationCode.FLUSHED,
        DisqualificationCode.REPLAYED,
        DisqualificationCode.QUANTISED,
        DisqualificationCode.SPECULATIVE,
        DisqualificationCode.LOGPROBS_FORGED,
        DisqualificationCode.LOGPROBS_MISSING,
    }
    assert by_answers <= {cheat.code for cheat in CHEATS}
