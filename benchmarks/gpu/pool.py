"""What A/A runs on a GPU say of noise: figures of it, a pool of starts to simulate with, and costs.

The interval rule sees nothing but the sum of a block's times, as the logarithm of one server's over
another's (:mod:`ledger.rules.interval`). So noise is taken here of the logarithm of that sum,
between servers that are one and the same and answered the same prompts in the same block: what the
prompts of a block, or the minute it ran in, do to all of its servers alike cancels there, and is
taken out here.

Two kinds of runs tell two things. Where every block starts the servers anew, servers of one block
differ by their starts and by what a start's blocks differ by. Where servers stay loaded, what a
server's blocks share is its start's, and the rest differs within it.

To feed it: put bundles of A/A runs (``what = "aa"``) of one plan into a folder and run
``python -m benchmarks.gpu.report FOLDER``. At least 2 servers a block are needed, 2 blocks, and 7
starts in all, since a simulated round has that many servers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, lcm, sqrt
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.summary import Summary
from benchmarks.noise.pools import Pool, sliding
from benchmarks.noise.study import MANY
from evaluation.gpu_budget import Costs, Noise
from ledger.units import PPM

Floats = NDArray[np.float64]

ARMS_OF_A_ROUND: Final = 2 + MANY
"""Baseline, king and the challengers of the fullest round that is simulated."""
FEWEST_ARMS: Final = 2
"""One server alone has nothing beside it that its block did the same to."""
FEWEST_BLOCKS: Final = 2


class PoolError(ValueError):
    """Runs that tell too little about noise; one sentence with what is missing."""


@dataclass(frozen=True, slots=True)
class Times:
    """One A/A run: ``log_us[arm, block, prompt]``, the natural logarithm of microseconds."""

    name: str
    restart: bool
    log_us: Floats

    @property
    def sums(self) -> Floats:
        """``[arm, block]``: the logarithm of a block's time as the rule sums it."""
        found: Floats = np.log(np.exp(self.log_us).sum(axis=2))
        return found


@dataclass(frozen=True, slots=True)
class Floor:
    """Standard deviations of a logarithm, in ppm; None where no run tells it.

    ``prompt_ppm`` is one prompt in one block of one start, beyond what prompt and block do to all
    servers. ``block_ppm`` is a whole block within a start, ``start_ppm`` a start's own share over
    all of its blocks, and ``fresh_ppm`` a block under a start of its own, which has both.
    """

    starts: int
    blocks: int
    prompt_ppm: int
    block_ppm: int | None
    start_ppm: int | None
    fresh_ppm: int | None


def alike(summaries: Iterable[Summary]) -> list[list[Summary]]:
    """A/A runs that may be pooled: the same model, engine, GPUs, lengths and load.

    The groups with the most starts come first; runs that are void or did not answer every block
    are left out.
    """
    groups: dict[tuple[object, ...], list[Summary]] = defaultdict(list)
    for one in summaries:
        if one.what == "aa" and one.status == "completed" and _is_whole(one):
            plan = one.plan
            groups[
                *(one.model, one.engine, one.gpu, plan.streams, plan.prompts_per_block),
                *(plan.context_tokens, plan.output_tokens),
            ].append(one)
    return sorted(groups.values(), key=_starts, reverse=True)


def _is_whole(one: Summary) -> bool:
    blocks = max(1, one.plan.prompts // one.plan.prompts_per_block)
    return (
        one.plan.order == "interleaved"
        and blocks >= FEWEST_BLOCKS
        and len(one.arms) >= FEWEST_ARMS
        and all(len(arm.blocks) == blocks for arm in one.arms)
        and all(min(block.e2e_us, default=0) > 0 for arm in one.arms for block in arm.blocks)
    )


def _starts(runs: Sequence[Summary]) -> int:
    return sum(len(arm.ready_ms) for one in runs for arm in one.arms)


def times_of(run: Summary) -> Times:
    """The run's times; prompts that are left over at the end of its last block are left out."""
    per_block = run.plan.prompts_per_block
    taken = [[block.e2e_us[:per_block] for block in arm.blocks] for arm in run.arms]
    return Times(run.name, run.plan.restart_each_block, np.log(np.array(taken, dtype=np.float64)))


def floor_of(runs: Sequence[Summary]) -> Floor:
    """How much the same server differs from itself, over runs of :func:`alike`."""
    held = [times_of(run) for run in runs]
    prompts, fresh, within, between = _Sum(), _Sum(), _Sum(), _Sum()
    for one in held:
        arms, blocks, per_block = one.log_us.shape
        left = _left(one.log_us, (0, 2))
        prompts.add(left, blocks * (arms - 1) * (per_block - 1))
        sums = one.sums - one.sums.mean(axis=0)
        if one.restart:
            fresh.add(sums, blocks * (arms - 1))
        else:
            starts = sums.mean(axis=1)
            within.add(sums - starts[:, None], (blocks - 1) * (arms - 1))
            between.add(starts, arms - 1, blocks)
    block = within.variance
    start = None
    if block is not None and between.variance is not None:
        start = max(0.0, between.variance - block / between.each)
    return Floor(
        starts=_starts(runs),
        blocks=sum(one.log_us.shape[0] * one.log_us.shape[1] for one in held),
        prompt_ppm=_ppm(prompts.variance) or 0,
        block_ppm=_ppm(block),
        start_ppm=_ppm(start),
        fresh_ppm=_ppm(fresh.variance),
    )


def _left(values: Floats, axes: tuple[int, int]) -> Floats:
    """What is left of values when the means along both axes are taken out."""
    one, other = axes
    left: Floats = (
        values
        - values.mean(axis=one, keepdims=True)
        - values.mean(axis=other, keepdims=True)
        + values.mean(axis=axes, keepdims=True)
    )
    return left


class _Sum:
    """A variance from squares and degrees of freedom that come in parts."""

    def __init__(self) -> None:
        self._squares = 0.0
        self._freedom = 0
        self._each = 0.0

    def add(self, values: Floats, freedom: int, each: int = 1) -> None:
        self._squares += float((values**2).sum())
        self._freedom += freedom
        self._each += freedom * each

    @property
    def variance(self) -> float | None:
        return self._squares / self._freedom if self._freedom else None

    @property
    def each(self) -> float:
        return self._each / self._freedom


def _ppm(variance: float | None) -> int | None:
    return None if variance is None else round(sqrt(variance) * PPM)


def noise_of(floor: Floor, per_block: int) -> Noise:
    """The same in the words of :mod:`evaluation.gpu_budget`.

    A block under a start of its own spreads by ``fresh_ppm``, whatever parts it has. How much of it
    more prompts would average is what prompts spread by themselves, and no more: prompts that are
    answered together share most of what disturbs them. Raises :class:`PoolError` for a floor that
    no start tells of.
    """
    fresh = floor.fresh_ppm
    if fresh is None and floor.start_ppm is not None and floor.block_ppm is not None:
        fresh = round(sqrt(floor.start_ppm**2 + floor.block_ppm**2))
    if fresh is None:
        msg = "no A/A run tells how starts differ; run one with restart_each_block"
        raise PoolError(msg)
    shared = max(0, fresh**2 - floor.prompt_ppm**2 // per_block)
    return Noise(between_ppm=round(sqrt(shared)), within_ppm=floor.prompt_ppm)


def costs_of(runs: Sequence[Summary]) -> Costs:
    """What one server takes of the machine in these runs, in the middle of all its starts.

    What its machine time holds beyond starting and answering is taken for warm-up, with the
    waiting that freezing and other servers cost. Starts are as slow as they were measured: of
    servers that started together, slower than one alone. The baseline is asked no repeats.
    """
    arms = [arm for run in runs for arm in run.arms]
    ready = [ms for arm in arms for ms in arm.ready_ms if ms is not None]
    walls = [block.wall_us // 1_000 for arm in arms for block in arm.blocks]
    if not ready or not walls:
        msg = "the A/A runs hold no start that became ready; costs cannot be told"
        raise PoolError(msg)
    plan = runs[0].plan
    spare = [
        (
            arm.gpu_ms // max(1, plan.gpus)
            - sum(ms or 0 for ms in arm.ready_ms)
            - sum(block.wall_us for block in arm.blocks) // 1_000
            - arm.repeats_ms
        )
        // max(1, len(arm.ready_ms))
        for arm in arms
    ]
    return Costs(
        gpus=plan.gpus,
        startup_ms=round(median(ready)),
        warmup_ms=max(0, round(median(spare))),
        prompt_ms=max(1, round(median(walls) / plan.prompts_per_block)),
        once_ms=round(median(arm.repeats_ms for arm in arms)),
    )


def pool_of(runs: Sequence[Summary]) -> Pool:
    """The measured blocks as starts of one and the same server, for :mod:`benchmarks.noise.study`.

    Every block of every server is a row. What a prompt and a block do to all servers alike is taken
    out, and what is left is widened by sqrt(n / (n - 1)), since the mean of n servers follows each
    of them. Two rows of one block then lie further apart than two servers do, by that same factor
    (two servers give one distance, turned round): power is told too small rather than too large.
    Rows are neighbours that ran under other starts: blocks that followed each other where
    each started anew, the same block of several runs where servers stayed loaded.

    Raises :class:`PoolError` for fewer rows than a simulated round has servers.
    """
    held = [times_of(run) for run in runs]
    fresh = [one for one in held if one.restart]
    taken = fresh or held
    level = float(np.mean([one.log_us.mean() for one in taken]))
    rows: list[Floats] = []
    rounds: list[list[list[int]]] = []
    for one in taken:
        arms, blocks, _ = one.log_us.shape
        centred = (one.log_us - one.log_us.mean(axis=0)) * sqrt(arms / (arms - 1))
        first = len(rows)
        rows += [centred[arm, block] for block in range(blocks) for arm in range(arms)]
        rounds.append(
            [[first + block * arms + arm for arm in range(arms)] for block in range(blocks)]
        )
    windows = _windows(rounds if fresh else _across(rounds))
    if not windows:
        msg = (
            f"the A/A runs have too few starts beside each other for {ARMS_OF_A_ROUND} servers of "
            "a round; run more blocks that start anew"
        )
        raise PoolError(msg)
    times = np.rint(np.exp(level + np.array(rows))).astype(np.int64)
    run = runs[0]
    pool = Pool(
        f"measured A/A, {run.gpu or 'no GPU'}, {run.model}, {run.plan.prompts_per_block} a block "
        f"of {run.plan.context_tokens} + {run.plan.output_tokens} tokens, {run.engine}",
        f"resampled from {len(rows)} measured blocks of {run.engine} under "
        f"{len(rows) if fresh else _starts(runs)} starts in {len(taken)} runs, "
        f"{run.plan.streams} prompts at once",
        times,
        np.array(windows, dtype=np.int64),
    )
    return replace(pool, origin=f"{pool.origin}; {_apart(pool, floor_of(runs))}")


def _apart(pool: Pool, floor: Floor) -> str:
    drawn = f"servers drawn together spread by {spread_of(pool) / 10_000:.1f} % a block"
    if floor.fresh_ppm is None:
        return drawn
    return f"{drawn}, where {floor.fresh_ppm / 10_000:.1f} % was measured"


def _across(rounds: Sequence[Sequence[list[int]]]) -> list[list[list[int]]]:
    """For every block the runs' rows of it: rows of one run's other blocks share their starts."""
    blocks = min(len(one) for one in rounds)
    return [[one[block] for one in rounds] for block in range(blocks)]


def _windows(rounds: Sequence[Sequence[list[int]]]) -> list[list[int]]:
    """Stretches of neighbouring blocks with rows for a round's servers, all of one size.

    Of a stretch with more rows each is left out as often as the others, and every run has as many
    windows as the others, so that no run's noise counts for more. Within a run its first and last
    blocks are in fewer stretches than the others.
    """
    stretches: list[list[list[int]]] = []
    for run in rounds:
        length = ceil(ARMS_OF_A_ROUND / min(len(block) for block in run))
        stretches.append(
            [
                [row for place in sorted(places) for row in run[place]]
                for places in sliding(range(len(run)), length)
            ]
        )
    stretches = [own for own in stretches if own]
    size = min((len(window) for own in stretches for window in own), default=0)
    cut = [[part for window in own for part in _turned(window, size)] for own in stretches]
    most = lcm(*(len(own) for own in cut))
    return [window for own in cut for window in own * (most // len(own))]


def _turned(window: list[int], size: int) -> list[list[int]]:
    """The window cut to ``size`` rows: itself where it has no more, else once from every row on."""
    if len(window) == size:
        return [window]
    return [(window[first:] + window[:first])[:size] for first in range(len(window))]


def spread_of(pool: Pool) -> int:
    """How far two servers of one window lie apart by whole rows, as the standard deviation in ppm
    that each of them would have: to be held against the measured ``fresh_ppm``."""
    sums = np.log(pool.times_us.astype(np.float64).sum(axis=1))[pool.windows]
    return round(float(np.sqrt(sums.var(axis=1, ddof=1).mean())) * PPM)
