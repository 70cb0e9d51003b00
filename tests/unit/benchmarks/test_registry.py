"""Every benchmark the event store was promised by is there, with the goal it was promised with."""

from __future__ import annotations

import pytest

import benchmarks.__main__ as command
from benchmarks.measuring import CannotMeasureError
from benchmarks.registry import REGISTRY, Benchmark

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
    "journal_vs_hledger": (1, HIGHER),
    "journal_vs_beancount": (1, HIGHER),
}


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_benchmark_is_registered_with_its_goal(name: str) -> None:
    registered = REGISTRY[name]
    assert (registered.goal, registered.better) == PROMISED[name]


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
