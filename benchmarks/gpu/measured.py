"""All that lies in ``benchmarks/data/gpu``, read once for the page and its plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.beside import Price, References, read_prices, read_references
from benchmarks.gpu.calibrations import read_calibrations
from benchmarks.gpu.power import Power, read_powers
from benchmarks.gpu.summary import DATA, Summary, read_summaries
from evaluation.calibration import Calibration
from ledger.units import PPM

DASH = "–"


@dataclass(frozen=True, slots=True)
class Measured:
    """Summaries by name, calibrations by digest, and what was simulated and measured beside."""

    summaries: Sequence[Summary]
    calibrations: Mapping[str, Calibration]
    powers: Sequence[Power]
    prices: Sequence[Price]
    references: Sequence[References]

    def of(self, *whats: str) -> list[Summary]:
        """The summaries that were made for one of these reasons."""
        return [one for one in self.summaries if one.what in whats]


def read_measured(folder: Path = DATA) -> Measured:
    """Everything that is kept; empty where nothing was measured."""
    return Measured(
        read_summaries(folder),
        read_calibrations(folder),
        read_powers(folder),
        read_prices(folder),
        read_references(folder),
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with an empty line after it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines) + "\n"


def percent(ppm: int | None, digits: int = 2) -> str:
    """Parts per million as percent, or a dash."""
    return DASH if ppm is None else f"{ppm * 100 / PPM:.{digits}f}"


def number(value: int | None) -> str:
    """A whole number, or a dash."""
    return DASH if value is None else f"{value:,}"


def thousandths(value: float | None, digits: int = 3) -> str:
    """A figure in thousandths with decimals, or a dash."""
    return DASH if value is None else f"{value:,.{digits}f}"


def seconds(ms: float | None) -> str:
    """Milliseconds as seconds, or a dash."""
    return DASH if ms is None else f"{ms / 1_000:.1f}"


def short(digest: str) -> str:
    """The start of a digest, enough to find the bundle by."""
    return f"`{digest.removeprefix('sha256:')[:12]}`"
