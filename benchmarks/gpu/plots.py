"""The page's own plots: the tails of margins, and strips of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.drawing import (
    BOTTOM,
    COLOURS,
    CURVES_HEIGHT,
    LEFT,
    LEGEND_PX,
    LIMIT,
    RIGHT,
    TOP,
    WIDTH,
    along,
    axis,
    curve,
    head,
    known_by,
    ticks,
    upright,
    whole,
)

_ROW_PX: Final = 18
_NAMES_PX: Final = 200
_BAND: Final = "#f0f0f0"
_FEWEST_SHARE: Final = 1e-5
_FEWEST_TICKS: Final = 3
_MANY_DECADES: Final = 4
_LONG_LEGEND: Final = 8
_COLUMN_LETTERS: Final = 50
_LETTER_PX: Final = 6.4
"""A little more than a letter of this size takes."""
_STRIP_TOP: Final = 52


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


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading."""

    name: str
    rows: Sequence[Row]


def margins_svg(title: str, tails: Sequence[Tail], limit_milli: int) -> str:
    """How many tokens lie beyond each margin, both axes logarithmic; settings that were refused
    are dashed. The cross is the gate: 1 % beyond the limit of the 99th percentile. The legend has
    two columns where it is long and its names are not."""
    narrow = all(len(tail.name) <= _COLUMN_LETTERS for tail in tails)
    down = ceil(len(tails) / 2) if len(tails) > _LONG_LEGEND and narrow else len(tails)
    height = CURVES_HEIGHT + LEGEND_PX * (down + 1)
    wide, high = WIDTH - LEFT - RIGHT, CURVES_HEIGHT - TOP - BOTTOM
    decades_x, decades_y = 4.4, -log10(_FEWEST_SHARE)

    def across(milli: float) -> float:
        return LEFT + wide * min(1.0, log10(max(1.0, milli)) / decades_x)

    def up(share: float) -> float:
        return TOP + high * min(1.0, -log10(max(_FEWEST_SHARE, share)) / decades_y)

    parts = head(title, height)
    for decade in range(6):
        share = 10.0**-decade
        parts += along(up(share), share)
    for decade in range(5):
        parts += upright(across(10.0**decade), TOP, TOP + high, f"{10**decade:,}")
    parts.append(axis(LEFT + wide / 2, TOP + high + 34, "margin, thousandths of a nat"))
    x, y = across(limit_milli), up(0.01)
    parts += [
        f'<path d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14" stroke="{LIMIT}" '
        'stroke-width="2"/>',
        f'<text x="{x + 9:.1f}" y="{y - 6:.1f}" fill="{LIMIT}">'
        f"gate: p99 at most {limit_milli}</text>",
    ]
    for place, tail in enumerate(tails):
        colour = COLOURS[place % len(COLOURS)]
        drawn = [(across(milli), up(share)) for milli, share in tail.points if share > 0]
        parts += curve(drawn, colour, dashed=tail.refused)
        column, row = divmod(place, down)
        x, y = LEFT + column * wide / 2, CURVES_HEIGHT + LEGEND_PX * (row + 1)
        parts += known_by(x, y, colour, tail.name, dashed=tail.refused)
    return whole(parts)


def strip_svg(
    title: str,
    unit: str,
    groups: Sequence[Group],
    line: tuple[str, float],
    *,
    logarithmic: bool = False,
) -> str:
    """A row a name with a dot a value, over an axis that holds them all and the red ``line``, which
    is named above it. On a logarithmic axis every value has to be above 0."""
    rows = [row for group in groups for row in group.rows]
    height = _STRIP_TOP + _ROW_PX * (len(groups) + len(rows)) + BOTTOM
    ends = [end for row in rows for end in (*row.values, *(row.interval or ()))] + [line[1]]
    letters = max((len(row.name) for row in rows), default=0)
    left = max(_NAMES_PX, ceil(_LETTER_PX * letters) + RIGHT)
    wide = WIDTH - left - RIGHT

    def scaled(value: float) -> float:
        return log10(value) if logarithmic else value

    room = (scaled(max(ends)) - scaled(min(ends)) or 1.0) * 0.04
    low, high = scaled(min(ends)) - room, scaled(max(ends)) + room

    def across(value: float) -> float:
        return left + wide * (scaled(value) - low) / (high - low)

    parts = head(title, height)
    bottom = height - BOTTOM
    for value in _decades(10**low, 10**high) if logarithmic else ticks(low, high):
        parts += upright(across(value), _STRIP_TOP, bottom, f"{value:g}")
    x = across(line[1])
    parts += [
        axis(left + wide / 2, height - 8, unit),
        f'<path d="M{x:.1f} {_STRIP_TOP - 4}V{bottom}" stroke="{LIMIT}" stroke-width="1.5" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{x:.1f}" y="{_STRIP_TOP - 8}" text-anchor="middle" fill="{LIMIT}">'
        f"{escape(line[0])}</text>",
    ]
    y = float(_STRIP_TOP)
    for place, group in enumerate(groups):
        colour = COLOURS[place % len(COLOURS)]
        parts += [
            f'<rect x="{RIGHT}" y="{y:.0f}" width="{WIDTH - 2 * RIGHT}" height="{_ROW_PX}" '
            f'fill="{_BAND}"/>',
            f'<text x="{RIGHT + 6}" y="{y + 13:.0f}" font-weight="bold">'
            f"{escape(group.name)}</text>",
        ]
        for row in group.rows:
            y += _ROW_PX
            parts += _row(row, left - 8, y + _ROW_PX / 2, colour, across)
        y += _ROW_PX
    return whole(parts)


def _row(
    row: Row, left: float, y: float, colour: str, across: Callable[[float], float]
) -> list[str]:
    """Its name up to ``left``, its interval and its dots."""
    name = escape(row.name)
    parts = [f'<text x="{left:.0f}" y="{y + 4:.1f}" text-anchor="end">{name}</text>']
    if row.interval is not None:
        start, end = map(across, row.interval)
        parts.append(
            f'<path d="M{start:.1f} {y - 4:.1f}v8m0 -4H{end:.1f}m0 -4v8" fill="none" '
            f'stroke="{colour}" stroke-width="1.5"/>'
        )
    return parts + [
        f'<circle cx="{across(value):.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.6"/>'
        for value in row.values
    ]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade within the axis, or 1 alone where those would be too many; evenly
    spaced values where they would be too few."""
    decades = range(floor(log10(low)), ceil(log10(high)))
    parts = (1, 2, 5) if len(decades) <= _MANY_DECADES else (1,)
    each = [round(one * 10.0**decade, 9) for decade in decades for one in parts]
    found = [value for value in each if low <= value <= high]
    return found if len(found) >= _FEWEST_TICKS else ticks(low, high)
