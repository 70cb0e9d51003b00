"""`cheats_caught` and `honest_refused`: both need the client to read what servers claim."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from benchmarks.judging.rounds import (
    HEAD,
    SLACK_PPM,
    Gates,
    Judging,
    Row,
    calibrated,
    cheat_rows,
    honest_rows,
    line_of,
)
from benchmarks.judging.table import CHEATS, HONEST
from benchmarks.measuring import tell
from benchmarks.registry import Measurement, benchmark

CHEAT_SEEDS: Final = range(2_000, 2_020)
HONEST_SEEDS: Final = range(1_000, 1_000 + 2 * len(HONEST))
RESAMPLES: Final = 20


@functools.cache
def _gates() -> Gates:
    """Calibrated once a process, for both figures."""
    with Judging.held() as judging:
        return calibrated(judging)


def _table(rows: Sequence[Row]) -> str:
    """As a block of plain text in Markdown."""
    return "\n".join(f"    {line}" for line in [HEAD, *map(line_of, rows)])


@benchmark("share of cheats, 20 seeds each, that are disqualified with their own code", goal=1)
def cheats_caught() -> Measurement:
    """Every cheat as a live server over HTTP, one process for its seeds."""
    gates = _gates()
    tell(HEAD)
    with Judging.held() as judging:
        rows = cheat_rows(judging, gates, CHEAT_SEEDS, tell)
    runs, right = sum(row.runs for row in rows), sum(row.as_expected for row in rows)
    caught = sum(row.caught for row in rows)
    missed = [
        f"{row.name} {row.runs - row.as_expected}" for row in rows if row.as_expected < row.runs
    ]
    caught_wide = sum(row.caught_wide for row in rows)
    passed_wide = [
        f"{row.name} {row.runs - row.caught_wide}" for row in rows if row.caught_wide < row.runs
    ]
    return Measurement(
        right / runs,
        len(CHEAT_SEEDS),
        f"{len(CHEATS)} cheats under {len(CHEAT_SEEDS)} seeds each, live over HTTP: {right} of "
        f"{runs} runs with their own code, {caught} caught; not so: {', '.join(missed) or 'none'}; "
        f"the gates are those of `contest calibrate --slack {SLACK_PPM // 10_000}` on the honest "
        f"kinds; under its default slack {caught_wide} are caught, scored: "
        f"{', '.join(passed_wide) or 'none'}",
        _table(rows),
    )


@benchmark(
    "share of honest servers' runs, live and resampled, that a gate refuses",
    goal=0.01,
    better="lower",
)
def honest_refused() -> Measurement:
    """Every honest kind twice as a live process of its own, each run resampled 20 times."""
    gates = _gates()
    tell(HEAD)
    with Judging.held() as judging:
        live, drawn = honest_rows(judging, gates, HONEST_SEEDS, RESAMPLES, tell)
    refused_live, runs_live = sum(row.caught for row in live), sum(row.runs for row in live)
    refused_drawn, runs_drawn = sum(row.caught for row in drawn), sum(row.runs for row in drawn)
    by_default = sum(row.runs - row.by_default[""] for row in live)
    refusing = [line_of(row) for row in (*live, *drawn) if row.caught]
    for line in refusing:
        tell(f"refused: {line}")
    return Measurement(
        (refused_live + refused_drawn) / (runs_live + runs_drawn),
        runs_live + runs_drawn,
        f"{refused_live} of {runs_live} live runs of {len(HONEST)} kinds and {refused_drawn} of "
        f"{runs_drawn} resampled from their evidence were refused, under gates calibrated on the "
        f"very kinds that are judged, at other seeds; under the gates of the default policy, "
        f"calibrated on nothing, {by_default} of {runs_live} live runs were refused",
        _table(live),
    )
