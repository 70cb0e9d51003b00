"""The display of a contest: a running ratio, and plain lines that do not flood a log."""

from __future__ import annotations

import pytest

from api.cli.contest_progress import Ratios, contest_progress


def test_the_ratio_is_the_geometric_mean_over_prompts() -> None:
    ratios = Ratios()
    assert ratios.of("entrant-1") is None
    assert ratios.text("entrant-1") == ""
    ratios.note("entrant-1", 0, 4_000, 1_000)
    ratios.note("entrant-1", 1, 1_000, 1_000)
    ratios.note("other", 0, 1_000, 2_000)
    assert ratios.of("entrant-1") == pytest.approx(2.0)
    assert (ratios.text("entrant-1"), ratios.text("other")) == ("2.00x", "0.50x")


def test_a_time_of_nothing_is_no_ratio() -> None:
    ratios = Ratios()
    ratios.note("entrant-1", 0, 0, 1_000)
    ratios.note("entrant-1", 1, 1_000, 0)
    assert ratios.of("entrant-1") is None


def test_a_log_gets_the_beginning_and_the_end_of_each_phase(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with contest_progress() as watcher:
        watcher.phase("launch", None, 0, 1)
        watcher.block(0, 2, "entrant-1")
        for done in range(101):
            watcher.phase("prompts", "entrant-1", done, 100)
            watcher.measured("entrant-1", done, 3_000, 2_000)
        watcher.phase("reference", None, 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "launch of the baseline: 0 of 1",
        "prompts of entrant-1, block 1 of 2: 0 of 100",
        "prompts of entrant-1, block 1 of 2: 100 of 100, 1.50x as fast as the baseline",
        "reference of the reference: 1 of 1",
    ]
