"""The benchmarks there are, by name, and what each one measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``benchmarks/results.json``.

    ``value`` and ``goal`` are ratios without a unit; ``rounds`` is how many were measured (the
    value is their median, or exact where 1), ``command`` repeats it, ``note`` says what was seen.
    """

    name: str
    value: float
    goal: float
    better: Literal["higher", "lower"]
    rounds: int
    command: str
    note: str

    @property
    def reached(self) -> bool:
        """Whether the value is at least (``lower``: at most) the goal."""
        if self.better == "higher":
            return self.value >= self.goal
        return self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a benchmark's function gives: the ratio, over how many rounds, and what was seen."""

    value: float
    rounds: int
    note: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A registered benchmark; ``promise`` is one line on what the ratio is."""

    name: str
    promise: str
    goal: float
    better: Literal["higher", "lower"]
    measure: Callable[[], Measurement]

    def run(self) -> Result:
        """Measure now."""
        measured = self.measure()
        return Result(
            name=self.name,
            value=round(measured.value, 3),
            goal=self.goal,
            better=self.better,
            rounds=measured.rounds,
            command=f"make bench ONLY={self.name}",
            note=measured.note,
        )


REGISTRY: Final[dict[str, Benchmark]] = {}
"""Every benchmark by name; modules fill it by being imported."""


def benchmark(
    promise: str, *, goal: float, better: Literal["higher", "lower"] = "higher"
) -> Callable[[Callable[[], Measurement]], Callable[[], Measurement]]:
    """Register a function under its own name."""

    def register(measure: Callable[[], Measurement]) -> Callable[[], Measurement]:
        name = measure.__name__
        if name in REGISTRY:
            msg = f"two benchmarks are named '{name}'"
            raise ValueError(msg)
        REGISTRY[name] = Benchmark(name, promise, goal, better, measure)
        return measure

    return register
