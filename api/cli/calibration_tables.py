"""A calibration as tables: what it holds for, the noise that was seen, the gates it proposes."""

from __future__ import annotations

from typing import Any, Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Rows, Section

_WALLS: Final = (
    ("an answer's time a token, within a start", "wall_within_ppm"),
    ("an answer's time a token, between runs", "wall_between_ppm"),
    ("a block's time a token, within a start", "wall_block_within_ppm"),
    ("a block's time a token, between starts", "wall_block_between_ppm"),
)


def _facts(data: Any) -> Rows:
    found = data["calibration"]
    rows = [
        ("model", found["facts"]["model"] or "unknown"),
        ("GPU", found["facts"]["gpu"] or "unknown"),
        ("engine", found["facts"]["engine"] or "unknown"),
        ("the engine's version, as it says", found["engine_version"] or "unknown"),
        ("track", found["track"]),
        ("honest runs", f"{len(found['runs'])}, {found['prompts']} answers"),
        ("tokens", str(found["tokens"])),
        ("slack beyond the greatest figure", f"{found['slack_ppm']} ppm"),
    ]
    return [{"what": what, "value": value} for what, value in rows]


def _walls(data: Any) -> Rows:
    found = data["calibration"]
    return [
        {"what": what, **(found[name] or {"samples": 0, **dict.fromkeys(_ENDS)})}
        for what, name in _WALLS
    ]


_ENDS: Final = ("least", "median", "greatest")


def _figures(data: Any) -> Rows:
    found = data["calibration"]
    return [
        {"figure": name, **seen}
        | {f"drawn_{end}": found["resampled"][name][end] for end in ("least", "greatest")}
        for name, seen in sorted(found["figures"].items())
    ]


def _gates(data: Any) -> Rows:
    gates = data["calibration"]["gates"]
    return [{"gate": name, "limit": _spelled(limit)} for name, limit in sorted(gates.items())]


def _spelled(limit: Any) -> str:
    """As a policy's file would say it, more or less: words without brackets, ``true``, numbers."""
    if isinstance(limit, list | tuple):
        return ", ".join(map(str, limit)) or "nothing"
    return str(limit).lower() if isinstance(limit, bool) else str(limit)


CALIBRATION: Final[Layout] = (
    Section("A track's policy names it by", (Column("digest", "digest"),), lambda data: [data]),
    Section("Calibration", (Column("what", "what"), Column("value", "value", Kind.PROSE)), _facts),
    Section(
        "Noise of wall time (ppm)",
        (
            Column("of", "what"),
            Column("samples", "samples", Kind.NUMBER),
            Column("least", "least", Kind.NUMBER),
            Column("median", "median", Kind.NUMBER),
            Column("greatest", "greatest", Kind.NUMBER),
        ),
        _walls,
    ),
    Section(
        "Figures of the gates",
        (
            Column("figure", "figure"),
            Column("runs", "samples", Kind.NUMBER),
            Column("least", "least", Kind.NUMBER),
            Column("median", "median", Kind.NUMBER),
            Column("greatest", "greatest", Kind.NUMBER),
            Column("least of resamples", "drawn_least", Kind.NUMBER),
            Column("greatest of resamples", "drawn_greatest", Kind.NUMBER),
        ),
        _figures,
    ),
    Section("Gates it proposes", (Column("gate", "gate"), Column("limit", "limit")), _gates),
)
