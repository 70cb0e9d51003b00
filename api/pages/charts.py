"""The geometry of the page's two drawings. Numbers only; the templates draw them.

Coordinates are whole units of the SVG's view box: left to right by block, top to bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.policy import BlockRamp, EmissionPolicy, KingTakesAll
from ledger.queries.emissions import EpochLine
from ledger.rules.emission import pool_ppm
from ledger.units import PPM

WIDTH: Final = 1_000
HEIGHT: Final = 240
MAX_POINTS: Final = 400
"""Epochs drawn; of more, every n-th is, the newest always."""
MIN_REIGN_WIDTH: Final = 3


@dataclass(frozen=True, slots=True)
class Tick:
    """A block on the axis."""

    x: int
    block: int


@dataclass(frozen=True, slots=True)
class ReignBar:
    """One reign on the timeline, with the row it stands for."""

    x: int
    width: int
    reign: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All reigns of a track from its first block to the newest."""

    bars: tuple[ReignBar, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A pool at a block, where it is drawn."""

    x: int
    y: int
    block: int
    ppm: int


@dataclass(frozen=True, slots=True)
class RampChart:
    """The rule in force as a line, the epochs as points, and now.

    ``line`` is empty where the pool follows no block number; ``now`` is None without a king.
    """

    line: tuple[Point, ...]
    epochs: tuple[Point, ...]
    now: Point | None
    ticks: tuple[Tick, ...]


def timeline(reigns: Sequence[dict[str, Any]], now_block: int) -> Timeline | None:
    """The reigns of one track in order; None before the first."""
    if not reigns:
        return None
    axis = _Axis(min(reign["won_at_block"] for reign in reigns), now_block)
    bars = []
    for reign in reigns:
        ended = reign["ended_at_block"]
        left, right = axis.x(reign["won_at_block"]), axis.x(now_block if ended is None else ended)
        width = max(MIN_REIGN_WIDTH, right - left)
        bars.append(ReignBar(min(left, WIDTH - width), width, reign))
    return Timeline(tuple(bars), axis.ticks())


def ramp_chart(
    emission: EmissionPolicy,
    epochs: Sequence[EpochLine],
    *,
    opened_at: int,
    now_block: int,
    now_ppm: int | None,
) -> RampChart:
    """The pool over blocks: what the policy in force says, and what each epoch found."""
    first = min([opened_at, *(line.epoch_block for line in epochs)])
    last = now_block
    corners = [first, last]
    if isinstance(emission, BlockRamp) and emission.override_ppm is None:
        end = emission.start_block + emission.length_blocks
        first, last = min(first, emission.start_block), max(last, end)
        before = [emission.start_block - 1] if emission.start_block > first else []
        corners = [first, *before, emission.start_block, end, last]
    axis = _Axis(first, last)
    followed = isinstance(emission, BlockRamp | KingTakesAll)
    line = [_point(axis, block, pool_ppm(emission, block, None)) for block in corners if followed]
    every = -(-len(epochs) // MAX_POINTS) if epochs else 1
    shown = list(reversed(epochs[::-1][::every]))
    points = [
        _point(axis, epoch.epoch_block, epoch.pool_ppm)
        for epoch in shown
        if epoch.pool_ppm is not None
    ]
    now = None if now_ppm is None else _point(axis, now_block, now_ppm)
    return RampChart(tuple(line), tuple(points), now, axis.ticks())


@dataclass(frozen=True, slots=True)
class _Axis:
    first: int
    last: int

    def x(self, block: int) -> int:
        span = max(1, self.last - self.first)
        return (min(max(block, self.first), self.last) - self.first) * WIDTH // span

    def ticks(self) -> tuple[Tick, ...]:
        middle = (self.first + self.last) // 2
        # Of a span of one block or two, fewer than three.
        blocks = sorted({self.first, middle, self.last})
        return tuple(Tick(self.x(block), block) for block in blocks)


def _point(axis: _Axis, block: int, ppm: int) -> Point:
    return Point(axis.x(block), HEIGHT - HEIGHT * ppm // PPM, block, ppm)
