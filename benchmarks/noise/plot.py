"""Power against gain as an SVG, drawn by hand: lines, ticks and words need no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 720
HEIGHT: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 34, 44
_LEGEND_PX: Final = 15
COLOURS: Final = ("#1b5e9c", "#c0392b", "#2e8b57", "#8e44ad", "#b7791f", "#555555", "#0f8b8d")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: ``points`` are (gain, share found) as fractions, by rising gain."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def power_svg(title: str, curves: Sequence[Curve], most: float) -> str:
    """The curves from no gain to a gain of ``most``, with a line at the 95 % to be found."""
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def across(gain: float) -> float:
        return _LEFT + wide * gain / most

    def up(share: float) -> float:
        return _TOP + high * (1 - share)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="13">{escape(title)}</text>',
    ]
    for tenth in range(0, 11, 2):
        y = up(tenth / 10)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#dddddd"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>',
        ]
    ticks = 10
    for tick in range(ticks + 1):
        gain = most * tick / ticks
        parts.append(
            f'<text x="{across(gain):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
            f"{gain * 100:.3g} %</text>"
        )
    parts += [
        f'<text x="{_LEFT + wide / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        "true gain of the challenger (king's time over its own, less 1)</text>",
        f'<path d="M{_LEFT} {up(0.95):.1f}H{WIDTH - _RIGHT}" stroke="#999999" '
        'stroke-dasharray="2 3"/>',
        f'<text x="{WIDTH - _RIGHT}" y="{up(0.95) - 3:.1f}" text-anchor="end" fill="#777777">'
        "95 %</text>",
    ]
    legend_top = _TOP + high - _LEGEND_PX * len(curves) - 4
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
        drawn = " ".join(
            f"{across(gain):.1f},{up(share):.1f}" for gain, share in curve.points if gain <= most
        )
        y = legend_top + place * _LEGEND_PX
        x = _LEFT + wide * 0.44
        parts += [
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>',
            f'<path d="M{x:.1f} {y - 4}h24" stroke="{colour}" stroke-width="2"{dash}/>',
            f'<text x="{x + 30:.1f}" y="{y}">{escape(curve.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
