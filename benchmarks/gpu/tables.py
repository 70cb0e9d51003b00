"""Tables of plain text, as the steps print them and keep them beside their bundles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

Row = Sequence[object]


def table_of(title: str, heads: Sequence[str], rows: Sequence[Row]) -> str:
    """A table with a title; None is written as a dash."""
    cells = [[_cell(value) for value in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join((title, *(f"  {line}" for line in lines)))


def contest_table(title: str, names: Sequence[str], report: dict[str, Any]) -> str:
    """One contest: each entrant by the name of its arm, its verdict, score, interval and time.

    ``names`` are in the order of the report's entrants, of which a void one has none.
    """
    state = report["status"] + (f" ({report['void_cause']})" if report["void_cause"] else "")
    rows: list[Row] = [["baseline", "", *(None,) * 4, _ms(report["baseline_e2e_us"]), None]]
    for name, line in judged(names, report):
        rows.append(
            [
                *(name, line["status"], line["code"] or None),
                *(_percent(line[key]) for key in ("score_ppm", "lower_ppm", "upper_ppm")),
                *(_ms(line["median_e2e_us"]), line["gpu_minutes"]),
            ]
        )
    drift = _percent(report["drift_ppm"])
    heads = ("arm", "status", "code", "saves %", "from", "to", "median ms", "GPU min")
    return table_of(f"{title}: {state}, drift {_cell(drift)} %", heads, rows)


def judged(names: Sequence[str], report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each arm's name with its line of the report; none where the contest is void."""
    lines = report["entrants"]
    return list(zip(names, lines, strict=True)) if lines else []


def speed_order(names: Sequence[str], report: dict[str, Any]) -> str:
    """Who is how fast: ``>`` where the intervals lie apart, ``~`` (undecided) where they overlap.

    The baseline stands at nothing saved, without an interval of its own.
    """
    known = [("baseline", 0, 0)]
    for name, line in judged(names, report):
        if line["lower_ppm"] is not None and line["upper_ppm"] is not None:
            known.append((name, line["lower_ppm"], line["upper_ppm"]))
    known.sort(key=lambda one: -(one[1] + one[2]))
    told = known[0][0]
    for faster, slower in pairwise(known):
        told += f" {'>' if faster[1] > slower[2] else '~'} {slower[0]}"
    return f"order (~ is undecided): {told}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _percent(ppm: int | None) -> float | None:
    return None if ppm is None else ppm / 10_000


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1_000
