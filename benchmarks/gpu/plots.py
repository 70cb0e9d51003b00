"""The page's plots as SVG, drawn by hand as :mod:`benchmarks.noise.plot` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.noise.plot import COLOURS as FIRST_COLOURS

COLOURS: Final = (
    *FIRST_COLOURS,
    *("#e67e22", "#c2b000", "#d81b60", "#6d4c41", "#3949ab", "#7cb342", "#00acc1", "#b39ddb"),
    *("#f48fb1", "#827717", "#ff7043", "#00e5a0", "#90a4ae", "#000000", "#d4a373", "#5e35b1"),
)
"""More than any plot has needed; beyond them they begin anew."""
WIDTH: Final = 820
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 34, 44
_ROW_PX: Final = 18
_LEGEND_PX: Final = 15
_NAMES_PX: Final = 200
_GRID: Final = "#dddddd"
_BAND: Final = "#f0f0f0"
_LIMIT: Final = "#c0392b"
_CURVES_HEIGHT: Final = 440
"""Of a plot of curves, without the legend below it."""
_FEWEST_SHARE: Final = 1e-5
_SURE: Final = 0.99
"""From a gain that is found so often there is nothing more to see of a curve."""
_TO_BE_FOUND: Final = 0.95
_FEWEST_TICKS: Final = 3
_MANY_DECADES: Final = 4
_LONG_LEGEND: Final = 8
_COLUMN_LETTERS: Final = 50
_LETTER_PX: Final = 6.4
"""A little more than a letter of this size takes."""
_STRIP_TOP: Final = 52
_ROUNDING: Final = 1e-9
_DASH: Final = ' stroke-dasharray="6 4"'


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


@dataclass(frozen=True, slots=True)
class Plan:
    """How often a plan finds a gain: points are (gain in %, share found), by rising gain; the
    second ones are those of a challenger among five."""

    name: str
    points: Sequence[tuple[float, float]]
    among_five: Sequence[tuple[float, float]]


def margins_svg(title: str, tails: Sequence[Tail], limit_milli: int) -> str:
    """How many tokens lie beyond each margin, both axes logarithmic; settings that were refused
    are dashed. The cross is the gate: 1 % beyond the limit of the 99th percentile. The legend has
    two columns where it is long and its names are not."""
    narrow = all(len(tail.name) <= _COLUMN_LETTERS for tail in tails)
    down = ceil(len(tails) / 2) if len(tails) > _LONG_LEGEND and narrow else len(tails)
    height = _CURVES_HEIGHT + _LEGEND_PX * (down + 1)
    wide, high = WIDTH - _LEFT - _RIGHT, _CURVES_HEIGHT - _TOP - _BOTTOM
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
            f'<text x="{x:.1f}" y="{_TOP + high + 16}" text-anchor="middle">{10**decade:,}</text>',
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
        drawn = [(across(milli), up(share)) for milli, share in tail.points if share > 0]
        parts += _curve(drawn, colour, dashed=tail.refused)
        column, row = divmod(place, down)
        x, y = _LEFT + column * wide / 2, _CURVES_HEIGHT + _LEGEND_PX * (row + 1)
        parts += _known_by(x, y, colour, tail.name, dashed=tail.refused)
    return _whole(parts)


def power_svg(title: str, servers: Sequence[tuple[str, Sequence[Plan]]]) -> str:
    """How often every plan of every kind of server finds a true gain; among five dashed. The axis
    ends where the last curve has come to :data:`_SURE`, or at the greatest gain that was tried."""
    plans = [plan for _, own in servers for plan in own]
    curves = [points for plan in plans for points in (plan.points, plan.among_five) if points]
    most = max(map(_needed, curves), default=0.0) or 1.0
    height = _CURVES_HEIGHT + _LEGEND_PX * (len(servers) + len(plans) + 1)
    wide, high = WIDTH - _LEFT - _RIGHT, _CURVES_HEIGHT - _TOP - _BOTTOM

    def across(gain: float) -> float:
        return _LEFT + wide * gain / most

    def up(share: float) -> float:
        return _TOP + high * (1 - share)

    parts = _head(title, height)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, _TO_BE_FOUND, 1.0):
        line = f'stroke="{_LIMIT}" stroke-dasharray="2 3"' if share == _TO_BE_FOUND else ""
        line = line or f'stroke="{_GRID}"'
        parts += [
            f'<path d="M{_LEFT} {up(share):.1f}H{WIDTH - _RIGHT}" {line}/>',
            f'<text x="{_LEFT - 6}" y="{up(share) + 4:.1f}" text-anchor="end">'
            f"{share * 100:g} %</text>",
        ]
    for gain in _ticks(0.0, most):
        x = across(gain)
        parts += [
            f'<path d="M{x:.1f} {_TOP}V{_TOP + high}" stroke="{_GRID}"/>',
            f'<text x="{x:.1f}" y="{_TOP + high + 16}" text-anchor="middle">{gain:g} %</text>',
        ]
    unit = "true gain of the challenger (king's time over its own, less 1)"
    parts.append(_axis(_LEFT + wide / 2, _TOP + high + 34, unit))
    y, place = float(_CURVES_HEIGHT), 0
    for server, own in servers:
        y += _LEGEND_PX
        parts.append(f'<text x="{_LEFT}" y="{y:.0f}" font-weight="bold">{escape(server)}</text>')
        for plan in own:
            colour = COLOURS[place % len(COLOURS)]
            place += 1
            for points, dashed in ((plan.points, False), (plan.among_five, True)):
                seen = [(across(gain), up(share)) for gain, share in points if gain <= most]
                parts += _curve(seen, colour, dashed=dashed)
            y += _LEGEND_PX
            parts += _known_by(_LEFT, y, colour, plan.name)
    return _whole(parts)


def _needed(points: Sequence[tuple[float, float]]) -> float:
    """The gain up to which a curve has to be seen."""
    return next((gain for gain, share in points if share >= _SURE), points[-1][0])


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
    height = _STRIP_TOP + _ROW_PX * (len(groups) + len(rows)) + _BOTTOM
    ends = [end for row in rows for end in (*row.values, *(row.interval or ()))] + [line[1]]
    letters = max((len(row.name) for row in rows), default=0)
    left = max(_NAMES_PX, ceil(_LETTER_PX * letters) + _RIGHT)
    wide = WIDTH - left - _RIGHT

    def scaled(value: float) -> float:
        return log10(value) if logarithmic else value

    room = (scaled(max(ends)) - scaled(min(ends)) or 1.0) * 0.04
    low, high = scaled(min(ends)) - room, scaled(max(ends)) + room

    def across(value: float) -> float:
        return left + wide * (scaled(value) - low) / (high - low)

    parts = _head(title, height)
    bottom = height - _BOTTOM
    for value in _decades(10**low, 10**high) if logarithmic else _ticks(low, high):
        parts += [
            f'<path d="M{across(value):.1f} {_STRIP_TOP}V{bottom}" stroke="{_GRID}"/>',
            f'<text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{value:g}</text>",
        ]
    x = across(line[1])
    parts += [
        _axis(left + wide / 2, height - 8, unit),
        f'<path d="M{x:.1f} {_STRIP_TOP - 4}V{bottom}" stroke="{_LIMIT}" stroke-width="1.5" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{x:.1f}" y="{_STRIP_TOP - 8}" text-anchor="middle" fill="{_LIMIT}">'
        f"{escape(line[0])}</text>",
    ]
    y = float(_STRIP_TOP)
    for place, group in enumerate(groups):
        colour = COLOURS[place % len(COLOURS)]
        parts += [
            f'<rect x="{_RIGHT}" y="{y:.0f}" width="{WIDTH - 2 * _RIGHT}" height="{_ROW_PX}" '
            f'fill="{_BAND}"/>',
            f'<text x="{_RIGHT + 6}" y="{y + 13:.0f}" font-weight="bold">'
            f"{escape(group.name)}</text>",
        ]
        for row in group.rows:
            y += _ROW_PX
            parts += _row(row, left - 8, y + _ROW_PX / 2, colour, across)
        y += _ROW_PX
    return _whole(parts)


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


def _ticks(low: float, high: float) -> list[float]:
    """Between four and ten round values within the axis."""
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = next(one * unit for one in (1, 2, 5, 10) if one * unit >= rough / 1.5)
    first, last = ceil(low / step - _ROUNDING), floor(high / step + _ROUNDING)
    return [round(step * at, 9) for at in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade within the axis, or 1 alone where those would be too many; evenly
    spaced values where they would be too few."""
    decades = range(floor(log10(low)), ceil(log10(high)))
    parts = (1, 2, 5) if len(decades) <= _MANY_DECADES else (1,)
    each = [round(one * 10.0**decade, 9) for decade in decades for one in parts]
    found = [value for value in each if low <= value <= high]
    return found if len(found) >= _FEWEST_TICKS else _ticks(low, high)


def _curve(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool) -> list[str]:
    """A line through points of the drawing; nothing without points."""
    if not points:
        return []
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.6"'
        f"{_DASH if dashed else ''}/>"
    ]


def _known_by(x: float, y: float, colour: str, name: str, *, dashed: bool = False) -> list[str]:
    """A line of a legend."""
    return [
        f'<path d="M{x:.0f} {y - 4:.0f}h24" stroke="{colour}" stroke-width="2"'
        f"{_DASH if dashed else ''}/>",
        f'<text x="{x + 30:.0f}" y="{y:.0f}">{escape(name)}</text>',
    ]


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
