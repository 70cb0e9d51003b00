"""A port for an engine is one that nobody has and that the system gives to nobody by itself."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu.cheats import proxy
from evaluation.runners import free_port as free_port_module
from evaluation.runners.free_port import FIRST, LOOPBACK, free_port


def given_away(folder: Path, text: str) -> Path:
    told = folder / "range"
    told.write_text(text)
    return told


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("32768\t60999\n", 32_768),
        ("1024\t65535\n", 20_000),
        ("", 32_768),
        ("none of it", 32_768),
    ],
)
def test_it_lies_below_what_the_system_gives_away(tmp_path: Path, text: str, last: int) -> None:
    told = given_away(tmp_path, text)
    found = {free_port(told) for _ in range(300)}
    assert all(FIRST <= port < last for port in found)
    assert len(found) > 100
    assert all(FIRST <= free_port(tmp_path / "none") < 32_768 for _ in range(10))


def test_one_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def free_the_third_time(port: int) -> bool:
        asked.append(port)
        return len(asked) == 3

    monkeypatch.setattr(free_port_module, "_is_free", free_the_third_time)
    assert free_port() == asked[2]


def test_one_that_somebody_listens_at_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        assert not free_port_module._is_free(taken.getsockname()[1])
    assert free_port_module._is_free(free_port())


def test_where_all_that_are_tried_are_taken_it_is_one_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def taken(port: int) -> bool:
        asked.append(port)
        return False

    monkeypatch.setattr(free_port_module, "_is_free", taken)
    assert free_port(given_away(tmp_path, "32768 60999")) > 0
    assert len(asked) == 256


@pytest.mark.parametrize("text", ["32768\t60999\n", "1024\t65535\n", "", "none of it"])
@pytest.mark.parametrize("taken", [0, 3, 256])
def test_the_cheating_proxy_which_cannot_import_it_draws_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, taken: int
) -> None:
    told = given_away(tmp_path, text)

    def drawn(find: Callable[[Path], int], busy: int) -> tuple[list[tuple[int, int]], int]:
        """What was asked of chance, and what was found, where the first draws are a busy port."""
        asked: list[tuple[int, int]] = []
        chance = random.Random(7)

        class Drawn(random.Random):
            def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
                assert stop is not None
                asked.append((start, stop))
                return busy if len(asked) <= taken else chance.randrange(start, stop, step)

        monkeypatch.setattr(random, "SystemRandom", Drawn)
        return asked, find(told)

    with socket.create_server((LOOPBACK, 0)) as somebody:
        busy = somebody.getsockname()[1]
        ours, theirs = drawn(free_port, busy), drawn(proxy.free_port, busy)
    assert ours[0] == theirs[0]
    if taken < 256:
        assert ours[1] == theirs[1] != busy
    else:
        assert busy not in {ours[1], theirs[1]}  # one of the system's after all
