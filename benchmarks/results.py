"""The results file, and the page generated from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.registry import REGISTRY, Result

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"

_HEAD: Final = """# Benchmarks

Generated from `benchmarks/results.json` by `make bench ARGS=--docs`; do not edit. Each value is a
ratio of two things measured side by side in one run, so that it can be compared between machines.
What real servers on GPUs measured, and what follows from it, is in
[calibration.md](calibration.md).

| benchmark | value | goal | reached | rounds | what it is |
|---|---|---|---|---|---|
"""

_REACHED: Final = {True: "yes", False: "**not yet**", None: "–"}


def read_results(path: Path = RESULTS) -> list[Result]:
    """All recorded results by name; none if nothing was recorded yet."""
    if not path.exists():
        return []
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def record_results(new: Iterable[Result], path: Path = RESULTS) -> None:
    """Put these results in the place of earlier ones of the same name."""
    kept = {result.name: result for result in read_results(path)}
    kept |= {result.name: result for result in new}
    text = msgspec.json.encode([kept[name] for name in sorted(kept)])
    path.write_bytes(msgspec.json.format(text, indent=2) + b"\n")


def page_of(results: Iterable[Result]) -> str:
    """The Markdown page of these results."""
    results = list(results)
    lines = [
        f"| `{one.name}` | {one.value:g} | {_goal(one)} | {_REACHED[one.reached]} | {one.rounds} | "
        f"{REGISTRY[one.name].promise} |\n"
        for one in results
    ]
    notes = [
        f"\n`{one.command}`: {one.note}.\n" + (f"\n{one.details}" if one.details else "")
        for one in results
    ]
    return _HEAD + "".join(lines) + "".join(notes)


def _goal(one: Result) -> str:
    if one.goal is None:
        return "as measured"
    return f"{'≥' if one.better == 'higher' else '≤'} {one.goal:g}"
