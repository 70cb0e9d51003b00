"""Every benchmark the event store was promised by is there, with the goal it was promised with."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks.measuring import CannotMeasureError
from benchmarks.registry import REGISTRY, Benchmark, Measurement, Result
from benchmarks.results import page_of, read_results, record_results

HIGHER = "higher"
LOWER = "lower"

PROMISED = {
    "append_bulk_sqlite": (0.75, HIGHER),
    "append_bulk_postgres": (0.75, HIGHER),
    "append_concurrent_sqlite": (10, HIGHER),
    "append_concurrent_postgres": (10, HIGHER),
    "replay_vs_raw": (0.8, HIGHER),
    "replay_vs_library": (5, HIGHER),
    "rebuild": (0.25, HIGHER),
    "growth_append": (1.5, LOWER),
    "growth_load": (1.5, LOWER),
    "growth_weights": (1.5, LOWER),
    "growth_payouts": (1.5, LOWER),
    "statement_year": (1.5, LOWER),
    "journal_vs_hledger": (1, HIGHER),
    "journal_vs_beancount": (1, HIGHER),
    "false_crowns": (0.01, LOWER),
    "smallest_gain_95": (None, LOWER),
}


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_benchmark_is_registered_with_its_goal(name: str) -> None:
    registered = REGISTRY[name]
    assert (registered.goal, registered.better) == PROMISED[name]


def test_a_benchmark_without_a_goal_is_told_and_shown_as_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure() -> Measurement:
        return Measurement(0.5, 3, "seen", "| a | table |\n|---|---|\n")

    bare = Benchmark("smallest_gain_95", "a promise", None, "lower", measure)
    result = bare.run()
    assert result.reached is None
    assert command.line_of(result).startswith("smallest_gain_95: 0.5; seen\n| a | table |")
    page = page_of([result])
    assert "| `smallest_gain_95` | 0.5 | as measured | – | 3 |" in page
    assert page.endswith("seen.\n\n| a | table |\n|---|---|\n")


@pytest.mark.parametrize(
    "words",
    [["--only", "rebuild", "unheard"], ["--only", "unheard", "--only", "rebuild"]],
    ids=["in one", "in two"],
)
def test_an_unknown_name_beside_a_known_one_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(command, "measured", measured.append)
    assert command.main(words) == 1
    assert measured == []
    said = capsys.readouterr().err
    assert said.startswith("there is no benchmark 'unheard'; there are: append_bulk_postgres, ")


def test_several_names_are_measured_in_their_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[str] = []

    def note(name: str) -> bool:
        measured.append(name)
        return True

    monkeypatch.setattr(command, "measured", note)
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    assert command.main(["--only", "rebuild", "--only", "growth_load", "false_crowns"]) == 0
    assert measured == ["rebuild", "growth_load", "false_crowns"]


def test_results_say_nothing_of_details_they_have_not(tmp_path: Path) -> None:
    plain = Result(name="n", value=1, goal=None, better="lower", rounds=1, command="c", note="seen")
    record_results([plain], tmp_path / "results.json")
    assert "details" not in (tmp_path / "results.json").read_text()
    assert read_results(tmp_path / "results.json") == [plain]


def test_what_cannot_be_measured_says_what_to_do_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking() -> None:
        msg = "hledger is not installed; install it"
        raise CannotMeasureError(msg)

    monkeypatch.setitem(
        REGISTRY, "lacking", Benchmark("lacking", "a promise", 1.0, "higher", lacking)
    )
    assert command.measured("lacking") is False
    assert (
        "lacking is not measured: hledger is not installed; install it" in capsys.readouterr().err
    )
