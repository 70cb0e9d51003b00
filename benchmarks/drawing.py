"""What all plots are drawn with: SVG by hand, since lines, ticks and words need no library."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

COLOURS: Final = (
    *("#1b5e9c", "#c0392b", "#2e8b57", "#8e44ad", "#b7791f", "#555555", "#0f8b8d"),
    *("#e67e22", "#c2b000", "#d81b60", "#6d4c41", "#3949ab", "#7cb342", "#00acc1", "#b39ddb"),
    *("#f48fb1", "#827717", "#ff7043", "#00e5a0", "#90a4ae", "#000000", "#d4a373", "#5e35b1"),
)
"""More than any plot has needed; beyond them they begin anew."""
WIDTH: Final = 820
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 34, 44
"""Pixels around what is drawn: room for the title, the axes' figures and their units."""
LEGEND_PX: Final = 15
_GRID: Final = "#dddddd"
LIMIT: Final = "#c0392b"
CURVES_HEIGHT: Final = 440
"""Of a plot of curves, without the legend below it."""
_ROUNDING: Final = 1e-9
_DASH: Final = ' stroke-dasharray="6 4"'


def curve(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool) -> list[str]:
    """A line through points of the drawing; nothing without points."""
    if not points:
        return []
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.6"'
        f"{_DASH if dashed else ''}/>"
    ]


def known_by(x: float, y: float, colour: str, name: str, *, dashed: bool = False) -> list[str]:
    """A line of a legend."""
    return [
        f'<path d="M{x:.0f} {y - 4:.0f}h24" stroke="{colour}" stroke-width="2"'
        f"{_DASH if dashed else ''}/>",
        f'<text x="{x + 30:.0f}" y="{y:.0f}">{escape(name)}</text>',
    ]


def along(y: float, share: float, *, marked: bool = False) -> list[str]:
    """A line across at a share, which is named in % on the axis; ``marked`` ones are red."""
    line = f'stroke="{LIMIT}" stroke-dasharray="2 3"' if marked else f'stroke="{_GRID}"'
    return [
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" {line}/>',
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * 100:g} %</text>',
    ]


def upright(x: float, top: int, low: int, name: str) -> list[str]:
    """A line down to the axis, with its name below."""
    return [
        f'<path d="M{x:.1f} {top}V{low}" stroke="{_GRID}"/>',
        f'<text x="{x:.1f}" y="{low + 16}" text-anchor="middle">{name}</text>',
    ]


def head(title: str, height: float) -> list[str]:
    """What a plot begins with."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]


def axis(x: float, y: float, unit: str) -> str:
    """What the figures of an axis are; ``x`` is the middle of the words."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(unit)}</text>'


def whole(parts: Sequence[str]) -> str:
    """A plot's text, from its head on."""
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Between four and ten round values within the axis."""
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = next(one * unit for one in (1, 2, 5, 10) if one * unit >= rough / 1.5)
    first, last = ceil(low / step - _ROUNDING), floor(high / step + _ROUNDING)
    return [round(step * at, 9) for at in range(first, last + 1)]
