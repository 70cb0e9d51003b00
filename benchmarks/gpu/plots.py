"""The page's plots as SVG, drawn by hand as :mod:`benchmarks.noise.plot` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.noise.plot import COLOURS as FIRST_COLOURS

COLOURS: Final = (
    *FIRST_COLOURS,
    *("#e67e22", "#16a085", "#d81b60", "#6d4c41", "#3949ab", "#7cb342", "#00acc1", "#8d6e63"),
)
WIDTH: Final = 820
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 34, 44
_ROW_PX: Final = 18
_LEGEND_PX: Final = 14
_NAMES_PX: Final = 290
_GRID: Final = "#dddddd"
_LIMIT: Final = "#c0392b"
_MARGINS_HEIGHT: Final = 440
_FEWEST_SHARE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Tail:
    """One setting's margins: ``points`` are (milli, share of tokens beyond), by rising margin."""

    name: str
    points: Sequence[tuple[int, float]]
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a strip: values in the plot's unit, and an interval where there is one."""

    name: str
    values: Sequence[float]
    interval: tuple[float, float] | None = None
    colour: int = 0


def margins_svg(title: str, tails: Sequence[Tail], limit_milli: int) -> str:
    """How many tokens lie beyond each margin, both axes logarithmic; settings that were refused
    are dashed. The cross is the gate: 1 % beyond the limit of the 99th percentile."""
    height = _MARGINS_HEIGHT + _LEGEND_PX * (len(tails) + 1)
    wide, high = WIDTH - _LEFT - _RIGHT, _MARGINS_HEIGHT - _TOP - _BOTTOM
    decades_x, decades_y = 4.4, -log10(_FEWEST_SHARE)

    def across(milli: float) -> float:
        return _LEFT + wide * min(1.0, log10(max(1.0, milli)) / decades_x)

    def up(share: float) -> float:
        return _TOP + high * min(1.0, -log10(max(_FEWEST_SHARE, share)) / decades_y)

    parts = _head(title, height)
    for decade in range(6):
        share = 10.0**-decade
        parts += [
            f'<path d="M{_LEFT} {up(share):.1f}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>',
            f'<text x="{_LEFT - 6}" y="{up(share) + 4:.1f}" text-anchor="end">'
            f"{share * 100:g} %</text>",
        ]
    for decade in range(5):
        x = across(10.0**decade)
        parts += [
            f'<path d="M{x:.1f} {_TOP}V{_TOP + high}" stroke="{_GRID}"/>',
            f'<text x="{x:.1f}" y="{_TOP + high + 16}" text-anchor="middle">{10**decade}</text>',
        ]
    parts.append(_axis(_LEFT + wide / 2, _TOP + high + 34, "margin, thousandths of a nat"))
    x, y = across(limit_milli), up(0.01)
    parts += [
        f'<path d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14" stroke="{_LIMIT}" '
        'stroke-width="2"/>',
        f'<text x="{x + 9:.1f}" y="{y - 6:.1f}" fill="{_LIMIT}">'
        f"gate: p99 at most {limit_milli}</text>",
    ]
    for place, tail in enumerate(tails):
        colour = COLOURS[place % len(COLOURS)]
        dash = ' stroke-dasharray="6 4"' if tail.refused else ""
        drawn = " ".join(
            f"{across(milli):.1f},{up(share):.1f}" for milli, share in tail.points if share > 0
        )
        if drawn:
            parts.append(
                f'<polyline points="{drawn}" fill="none" stroke="{colour}" '
                f'stroke-width="1.6"{dash}/>'
            )
        y = _MARGINS_HEIGHT + _LEGEND_PX * (place + 1)
        parts += [
            f'<path d="M{_LEFT} {y - 4}h24" stroke="{colour}" stroke-width="2"{dash}/>',
            f'<text x="{_LEFT + 30}" y="{y}">{escape(tail.name)}</text>',
        ]
    return _whole(parts)


def strip_svg(title: str, unit: str, rows: Sequence[Row], *, limit: float | None = None) -> str:
    """A line a name with a dot a value, over a linear axis that holds them all; a limit is red."""
    height = _TOP + _ROW_PX * len(rows) + _BOTTOM
    ends = [end for row in rows for end in (*row.values, *(row.interval or ()))]
    ends += [] if limit is None else [limit]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = (high - low or 1.0) * 0.04
    low, high = low - room, high + room
    wide = WIDTH - _NAMES_PX - _RIGHT

    def across(value: float) -> float:
        return _NAMES_PX + wide * (value - low) / (high - low)

    parts = _head(title, height)
    bottom = height - _BOTTOM
    for value in _ticks(low, high):
        parts += [
            f'<path d="M{across(value):.1f} {_TOP - 6}V{bottom}" stroke="{_GRID}"/>',
            f'<text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{value:g}</text>",
        ]
    parts.append(_axis(_NAMES_PX + wide / 2, height - 8, unit))
    for place, row in enumerate(rows):
        y = _TOP + _ROW_PX * place + _ROW_PX / 2
        colour = COLOURS[row.colour % len(COLOURS)]
        parts.append(
            f'<text x="{_NAMES_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>'
        )
        if row.interval is not None:
            start, end = map(across, row.interval)
            parts.append(
                f'<path d="M{start:.1f} {y:.1f}H{end:.1f}" stroke="{colour}" stroke-width="2"/>'
            )
        parts += [
            f'<circle cx="{across(value):.1f}" cy="{y:.1f}" r="3" fill="{colour}" '
            'fill-opacity="0.6"/>'
            for value in row.values
        ]
    if limit is not None:
        parts.append(
            f'<path d="M{across(limit):.1f} {_TOP - 6}V{bottom}" stroke="{_LIMIT}" '
            'stroke-width="1.5" stroke-dasharray="4 3"/>'
        )
    return _whole(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Between four and ten round values within the axis."""
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = next(one * unit for one in (1, 2, 5, 10) if one * unit >= rough / 1.5)
    return [round(step * at, 9) for at in range(ceil(low / step), floor(high / step) + 1)]


def _head(title: str, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]


def _axis(x: float, y: float, unit: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(unit)}</text>'


def _whole(parts: Sequence[str]) -> str:
    return "\n".join([*parts, "</svg>"]) + "\n"
