"""The benchmarks there are, by name, and what each one measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of ``benchmarks/results.json``.

    ``value`` and ``goal`` are ratios without a unit, the goal None where the value is wanted as it
    is; ``rounds`` is how many were measured (the value is their median, or exact where 1),
    ``command`` repeats it, ``note`` says what was seen, and ``details`` is Markdown below it, e.g.
    a table.
    """

    name: str
    value: float
    goal: float | None
    better: Literal["higher", "lower"]
    rounds: int
    command: str
    note: str
    details: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the value is at least (``lower``: at most) the goal; None without a goal."""
        if self.goal is None:
            return None
        if self.better == "higher":
            return self.value >= self.goal
        return self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a benchmark's function gives: the ratio, over how many rounds, and what was seen."""

    value: float
    rounds: int
    note: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A registered benchmark; ``promise`` is one line on what the ratio is."""

    name: str
    promise: str
    goal: float | None
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
            details=measured.details,
        )


REGISTRY: Final[dict[str, Benchmark]] = {}
"""Every benchmark by name; modules fill it by being imported."""


def benchmark(
    promise: str, *, goal: float | None, better: Literal["higher", "lower"] = "higher"
) -> Callable[[Callable[[], Measurement]], Callable[[], Measurement]]:
    """Register a function under its own name; ``goal`` None wants the value as it is measured."""

    def register(measure: Callable[[], Measurement]) -> Callable[[], Measurement]:
        name = measure.__name__
        if name in REGISTRY:
            msg = f"two benchmarks are named '{name}'"
            raise ValueError(msg)
        REGISTRY[name] = Benchmark(name, promise, goal, better, measure)
        return measure

    return register
