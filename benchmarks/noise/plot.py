"""Power against gain: how often rules and plans find a true gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from benchmarks.drawing import (
    BOTTOM,
    COLOURS,
    CURVES_HEIGHT,
    LEFT,
    LEGEND_PX,
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

_SURE: Final = 0.99
"""From a gain that is found so often there is nothing more to see of a curve."""
_TO_BE_FOUND: Final = 0.95


@dataclass(frozen=True, slots=True)
class Plan:
    """How often a rule with its plan finds a gain: points are (gain in %, share found), by rising
    gain; the second ones, where there are any, are those of a challenger among five."""

    name: str
    points: Sequence[tuple[float, float]]
    among_five: Sequence[tuple[float, float]] = ()


def power_svg(title: str, noises: Sequence[tuple[str, Sequence[Plan]]]) -> str:
    """How often every plan finds a true gain, by the noise it meets; among five dashed. The axis
    ends where the last curve has come to :data:`_SURE`, or at the greatest gain that was tried."""
    plans = [plan for _, own in noises for plan in own]
    curves = [points for plan in plans for points in (plan.points, plan.among_five) if points]
    most = max(map(_needed, curves), default=0.0) or 1.0
    height = CURVES_HEIGHT + LEGEND_PX * (len(noises) + len(plans) + 1)
    wide, high = WIDTH - LEFT - RIGHT, CURVES_HEIGHT - TOP - BOTTOM

    def across(gain: float) -> float:
        return LEFT + wide * gain / most

    def up(share: float) -> float:
        return TOP + high * (1 - share)

    parts = head(title, height)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, _TO_BE_FOUND, 1.0):
        parts += along(up(share), share, marked=share == _TO_BE_FOUND)
    for gain in ticks(0.0, most):
        parts += upright(across(gain), TOP, TOP + high, f"{gain:g} %")
    unit = "true gain of the challenger (king's time over its own, less 1)"
    parts.append(axis(LEFT + wide / 2, TOP + high + 34, unit))
    y, place = float(CURVES_HEIGHT), 0
    for noise, own in noises:
        y += LEGEND_PX
        parts.append(f'<text x="{LEFT}" y="{y:.0f}" font-weight="bold">{escape(noise)}</text>')
        for plan in own:
            colour = COLOURS[place % len(COLOURS)]
            place += 1
            for points, dashed in ((plan.points, False), (plan.among_five, True)):
                seen = [(across(gain), up(share)) for gain, share in points if gain <= most]
                parts += curve(seen, colour, dashed=dashed)
            y += LEGEND_PX
            parts += known_by(LEFT, y, colour, plan.name)
    return whole(parts)


def _needed(points: Sequence[tuple[float, float]]) -> float:
    """The gain up to which a curve has to be seen."""
    return next((gain for gain, share in points if share >= _SURE), points[-1][0])
