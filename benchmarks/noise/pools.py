"""Where the times of simulated servers come from: measured starts, or starts drawn from figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.noise.timings import BASELINE, MEASURED, REFERENCE, read_timings
from ledger.units import PPM

Times = NDArray[np.int64]

H100_BETWEEN: Final = 0.039
"""The same vLLM restarted on an H100 differed by 3.9 % in mean wall time; taken here as the
standard deviation of a start, though it was one difference of two."""
H100_WITHIN: Final = 0.07
"""Short runs of one start spread by 5 to 9 %; the middle of it."""
_DRAWN_STARTS: Final = 4_096
_DRAWN_PROMPTS: Final = 32
_DRAWN_NEIGHBOURS: Final = 8
_DRAWN_US: Final = 1_000_000


ROUNDS_OF_A_WINDOW: Final = 3
"""Arms of one block are neighbours in time: so many rounds of a measurement count as neighbours."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Starts of one and the same server: ``times_us[start, prompt]``, the same prompts in each.

    ``windows[window, member]`` are the starts that were neighbours in time; a start can be in
    several of them.
    """

    name: str
    origin: str
    times_us: Times
    windows: Times

    def draw(
        self, chance: np.random.Generator, arms: int, blocks: int, per_block: int, *, restart: bool
    ) -> Times:
        """``[arm, prompt]``: times of ``arms`` servers that are one and the same.

        For each block a window is drawn, and out of it another start for every arm; then a stretch
        of ``per_block`` consecutive prompts, the same ones for every arm. Without ``restart`` each
        arm keeps the one start it drew, as servers do that stay loaded.
        """
        prompts = self.times_us.shape[1]
        count = blocks if restart else 1
        windows = self.windows[chance.integers(len(self.windows), size=count)]
        order = chance.random(windows.shape).argsort(axis=1)[:, :arms]
        drawn = np.take_along_axis(windows, order, axis=1).T
        firsts = chance.integers(prompts - per_block + 1, size=blocks)
        places = firsts[:, None] + np.arange(per_block)
        times: Times = self.times_us[drawn[:, :, None], places[None, :, :]]
        return times.reshape(arms, blocks * per_block)


def measured_pool(path: Path = MEASURED, *, max_drift_ppm: int | None) -> Pool:
    """The starts of the reference server that were measured on a real machine.

    A round whose baseline took more than ``max_drift_ppm`` longer or shorter than the median of
    all rounds' is left out, as a contest under that policy would have been void; None keeps all.
    """
    timings = read_timings(path)
    baseline = {start.round: sum(start.e2e_us) for start in timings.starts[BASELINE]}
    middle = median(baseline.values())
    kept = [
        number
        for number, total in sorted(baseline.items())
        if max_drift_ppm is None or abs(total - middle) * PPM <= max_drift_ppm * middle
    ]
    starts = [start for start in timings.starts[REFERENCE] if start.round in kept]
    members = [
        [place for place, start in enumerate(starts) if start.round in neighbours]
        for neighbours in sliding(kept, ROUNDS_OF_A_WINDOW)
    ]
    if not members:
        msg = f"{path.name}: no {ROUNDS_OF_A_WINDOW} rounds are left without drift; measure again"
        raise ValueError(msg)
    which = "" if max_drift_ppm is None else f", the {len(kept)} without drift"
    return Pool(
        "measured A/A",
        f"resampled from {len(starts)} measured starts of `{REFERENCE}` in {len(baseline)} "
        f"rounds{which}",
        np.array([start.e2e_us for start in starts], dtype=np.int64),
        np.array(members, dtype=np.int64),
    )


def sliding(rounds: Sequence[int], length: int) -> list[set[int]]:
    """Every stretch of ``length`` neighbours."""
    return [
        set(rounds[first : first + length]) for first in range(max(0, len(rounds) - length + 1))
    ]


def drawn_pool(*, shared_by_block: bool) -> Pool:
    """Starts as an H100's figures suggest: **drawn from those figures, not measured here**.

    How the spread within a start averages out over longer runs was not seen. Either it is each
    prompt's own, and a block of many prompts hardly has it; or, ``shared_by_block``, all prompts of
    a start share it and no length helps.
    """
    chance = np.random.default_rng(100)
    start = chance.normal(0, H100_BETWEEN, size=(_DRAWN_STARTS, 1))
    within = chance.normal(
        0, H100_WITHIN, size=(_DRAWN_STARTS, 1 if shared_by_block else _DRAWN_PROMPTS)
    )
    logs = np.broadcast_to(start + within, (_DRAWN_STARTS, _DRAWN_PROMPTS))
    times = np.rint(_DRAWN_US * np.exp(logs)).astype(np.int64)
    whose = "shared by a whole block" if shared_by_block else "each prompt's own"
    return Pool(
        f"H100 figures, spread {whose}",
        f"drawn from figures seen on an H100, not measured here: {H100_BETWEEN:.1%} between "
        f"starts and {H100_WITHIN:.0%} within, {whose}",
        times,
        np.arange(_DRAWN_STARTS, dtype=np.int64).reshape(-1, _DRAWN_NEIGHBOURS),
    )
