"""How two sides are measured against each other: interleaved rounds, and what a run may change."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"

ROOT: Final = Path(__file__).resolve().parents[1]


class CannotMeasureError(Exception):
    """Something a benchmark needs is not here; the message says in a sentence what to do."""


@dataclass(slots=True)
class Run:
    """What this run measures. ``events`` is the length of the long log (the short one is a
    hundredth), ``rounds`` the interleaved rounds; other than the defaults is only a quick look."""

    events: int = 1_000_000
    rounds: int = 5


RUN: Final = Run()
"""Set by the command line before anything is measured."""


def tell(text: str) -> None:
    """A line of progress on stderr: a long benchmark says what it is at."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(sides: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each side, round by round; who goes first changes, a first round only warms up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        places = range(len(sides))
        for place in reversed(places) if number % 2 else places:
            took = timed(sides[place])
            if number:
                seconds[place].append(took)
        if number:
            took_each = " against ".join(f"{side[-1]:.3g} s" for side in seconds)
            tell(f"round {number} of {rounds}: {took_each}")
    return seconds


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of a ratio over rounds, with the smallest and the largest one seen."""

    value: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float]) -> Ratio:
        """``above`` over ``below``, round by round."""
        ratios = [one / other for one, other in zip(above, below, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"ratios {self.lowest:.2f} to {self.highest:.2f}"


def peak_mb() -> float:
    """The most memory this process ever had resident, in megabytes (Linux: VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        msg = "peak memory is read from /proc/self/status; run this benchmark on Linux"
        raise CannotMeasureError(msg)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def in_child(module: str, *arguments: str) -> str:
    """What ``python -m module`` prints, run in a process of its own; it must succeed."""
    command = [sys.executable, "-m", module, *arguments]
    # As anybody runs it: compiled modules are kept, whatever this shell says of them.
    environment = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        msg = f"python -m {module} failed: {done.stderr.strip()[-2_000:]}"
        raise RuntimeError(msg)
    return done.stdout
