"""False crowns and power under the noise that A/A runs on a GPU showed, for one GPU hour.

Simulated by :mod:`benchmarks.noise.study`, which judges by the ledger's own rule; what came out is
kept in ``benchmarks/data/gpu/power.json``, since it takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gpu.pool import Floor, PoolError, alike, costs_of, floor_of, noise_of, pool_of
from benchmarks.gpu.summary import DATA, Summary, read_summaries
from benchmarks.noise.pools import Pool
from benchmarks.noise.study import (
    ALONE,
    FIELDS,
    GAINS_PPM,
    KING_AND_FIVE,
    Outcome,
    Setup,
    default_track,
    simulate,
)
from evaluation.gpu_budget import (
    DEFAULT_BUDGET_GPU_MINUTES,
    MAX_PROMPTS,
    BudgetError,
    Costs,
    Noise,
    best_plan,
    blocks_within,
    provable_gain_ppm,
)
from ledger.policy import MAX_COMPARISONS, ScoreInterval, TrackPolicy
from ledger.rules.interval import fewest_blocks
from ledger.units import PPM

POWER: Final = "power.json"
CONTESTS: Final = 1_000
_FINER_PPM: Final = tuple(sorted({*range(2_500, 20_000, 2_500), *GAINS_PPM}))
"""With steps between the smallest ones, which a quiet GPU may find."""
HOUR: Final = DEFAULT_BUDGET_GPU_MINUTES


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How many simulated A/A contests of a field crowned somebody."""

    field: str
    crowned: int


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """One plan under the measured noise.

    ``found`` and ``found_among_five`` are ``(gain in ppm, contests that found it)``;
    ``smallest_ppm`` is the smallest gain that at least 95 in 100 found, None where none was.
    """

    plan: str
    blocks: int
    prompts_per_block: int
    contests: int
    false: tuple[Share, ...]
    found: tuple[tuple[int, int], ...]
    found_among_five: tuple[tuple[int, int], ...]
    smallest_ppm: int | None
    smallest_among_five_ppm: int | None


class Budgeted(msgspec.Struct, frozen=True, kw_only=True):
    """The best plan of a GPU hour by the normal approximation.

    ``why_none`` says why no plan has blocks of 10 s; then it is that of the longest blocks that a
    policy may ask, or none at all.
    """

    starts: str
    startup_ms: int
    blocks: int | None = None
    prompts_per_block: int | None = None
    gain_ppm: int | None = None
    why_none: str = ""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of server: its noise, what it costs, and what that allows. ``origin`` says what was
    simulated with; empty, with nothing simulated, where there were too few starts."""

    model: str
    gpu: str
    engine: str
    streams: int
    prompts_per_block: int
    runs: tuple[str, ...]
    origin: str
    starts: int
    blocks: int
    prompt_ppm: int
    block_ppm: int | None
    start_ppm: int | None
    fresh_ppm: int | None
    noise_between_ppm: int
    noise_within_ppm: int
    gpus: int
    startup_ms: int
    warmup_ms: int
    prompt_ms: int
    once_ms: int
    gpu_minutes: int
    budgeted: tuple[Budgeted, ...]
    simulated: tuple[Simulated, ...]


def gpu_pools(folder: Path = DATA) -> list[Pool]:
    """The pools of all kinds of servers on GPUs that A/A runs tell enough of (:func:`lacking`)."""
    found = []
    for runs in alike([one for one in read_summaries(folder) if one.gpus]):
        pool = _pool(runs)
        if not isinstance(pool, str):
            found.append(pool)
    return found


def powers_of(summaries: Iterable[Summary], contests: int = CONTESTS) -> list[Power]:
    """What one GPU hour proves, for every group of :func:`~benchmarks.gpu.pool.alike`.

    A group that does not tell its noise and costs is left out, and one with too few starts is not
    simulated; :func:`lacking` says why.
    """
    found = []
    for runs in alike(summaries):
        floor = floor_of(runs)
        try:
            noise, costs = noise_of(floor, runs[0].plan.prompts_per_block), costs_of(runs)
        except PoolError:
            continue
        found.append(_power(runs, floor, noise, costs, contests))
    return found


def lacking(summaries: Iterable[Summary]) -> list[str]:
    """A sentence for each group of A/A runs that tells too little for a simulation."""
    found = []
    for runs in alike(summaries):
        pool = _pool(runs)
        if isinstance(pool, str):
            names = ", ".join(run.name for run in runs)
            found.append(f"{names}: {pool}")
    return found


def _pool(runs: Sequence[Summary]) -> Pool | str:
    try:
        noise_of(floor_of(runs), runs[0].plan.prompts_per_block)
        costs_of(runs)
        return pool_of(runs)
    except PoolError as error:
        return str(error)


def _power(
    runs: Sequence[Summary], floor: Floor, noise: Noise, costs: Costs, contests: int
) -> Power:
    run, pool, track = runs[0], _pool(runs), default_track()
    per_block = run.plan.prompts_per_block
    simulated: list[Simulated] = []
    if not isinstance(pool, str):
        setups = _setups(track, costs, per_block)
        simulated = [_simulated(setup, pool, contests) for setup in setups]
    return Power(
        model=run.model,
        gpu=run.gpu,
        engine=run.engine,
        streams=run.plan.streams,
        prompts_per_block=per_block,
        runs=tuple(one.name for one in runs),
        origin="" if isinstance(pool, str) else pool.origin,
        starts=floor.starts,
        blocks=floor.blocks,
        prompt_ppm=floor.prompt_ppm,
        block_ppm=floor.block_ppm,
        start_ppm=floor.start_ppm,
        fresh_ppm=floor.fresh_ppm,
        noise_between_ppm=noise.between_ppm,
        noise_within_ppm=noise.within_ppm,
        gpus=costs.gpus,
        startup_ms=costs.startup_ms,
        warmup_ms=costs.warmup_ms,
        prompt_ms=costs.prompt_ms,
        once_ms=costs.once_ms,
        gpu_minutes=HOUR,
        budgeted=_budgeted(costs, noise, track, len(run.arms)),
        simulated=tuple(simulated),
    )


def _budgeted(costs: Costs, noise: Noise, track: TrackPolicy, arms: int) -> tuple[Budgeted, ...]:
    """With every server's start paid alone, and paid by all servers of a block together."""
    found = []
    for said, startup_ms in (
        ("one after another", costs.startup_ms),
        (f"{arms} together", costs.startup_ms // arms),
    ):
        paid = replace(costs, startup_ms=startup_ms)
        try:
            plan = best_plan(HOUR, paid, noise, _interval(track), track.margin)
        except BudgetError as error:
            one = Budgeted(starts=said, startup_ms=startup_ms, why_none=str(error))
            shape = _longest_blocks(track, paid, MAX_PROMPTS)
            if shape is not None:
                gain_ppm = provable_gain_ppm(*shape, noise, _interval(track), track.margin)
                one = msgspec.structs.replace(
                    one, blocks=shape[0], prompts_per_block=shape[1], gain_ppm=gain_ppm
                )
            found.append(one)
            continue
        found.append(
            Budgeted(
                starts=said,
                startup_ms=startup_ms,
                blocks=plan.blocks,
                prompts_per_block=plan.prompts_per_block,
                gain_ppm=plan.gain_ppm,
            )
        )
    return tuple(found)


def _longest_blocks(track: TrackPolicy, costs: Costs, most: int) -> tuple[int, int] | None:
    """Blocks of a GPU hour and their prompts, at most so many, as many as leave the fewest blocks
    that a policy may have; None where the hour does not hold those."""
    fewest = fewest_blocks(_interval(track).confidence_ppm, MAX_COMPARISONS)
    per_block = min(most, MAX_PROMPTS // fewest)
    blocks = blocks_within(HOUR, costs, per_block)
    return (blocks, per_block) if blocks >= fewest else None


def _setups(track: TrackPolicy, costs: Costs, per_block: int) -> list[Setup]:
    """The shipped plan where a measured block is long enough for it, blocks as long as was
    measured, or as a policy allows, as often as a GPU hour holds them, and where a policy allows
    too few prompts for a measured block, as many whole ones: fewer and longer answers fill them."""
    found = []
    if track.contest.prompts_per_block <= per_block:
        found.append(Setup("the shipped plan", track))
    shape = _longest_blocks(track, costs, per_block)
    if shape is not None:
        found.append(_setup("one GPU hour", track, *shape))
        longer = replace(costs, prompt_ms=-(-costs.prompt_ms * per_block // shape[1]))
        if shape[1] < per_block and blocks_within(HOUR, longer, shape[1]) >= shape[0]:
            name = "one GPU hour, with answers so long that fewer fill as long a block"
            found.append(_setup(name, track, shape[0], per_block))
    return found


def _setup(name: str, track: TrackPolicy, blocks: int, per_block: int) -> Setup:
    contest = msgspec.structs.replace(
        track.contest, prompts=blocks * per_block, prompts_per_block=per_block
    )
    return Setup(name, msgspec.structs.replace(track, contest=contest))


def _simulated(setup: Setup, pool: Pool, contests: int) -> Simulated:
    outcome = simulate(
        setup,
        pool,
        range(contests),
        power_fields=(ALONE, KING_AND_FIVE),
        gains_ppm=_FINER_PPM,
    )
    return Simulated(
        plan=setup.name,
        blocks=setup.blocks,
        prompts_per_block=setup.per_block,
        contests=outcome.contests,
        false=tuple(Share(field=one.name, crowned=outcome.false_crowns[one]) for one in FIELDS),
        found=tuple((gain, outcome.found[ALONE, gain]) for gain in _FINER_PPM),
        found_among_five=tuple((gain, outcome.found[KING_AND_FIVE, gain]) for gain in _FINER_PPM),
        smallest_ppm=_smallest(outcome, five=False),
        smallest_among_five_ppm=_smallest(outcome, five=True),
    )


def _smallest(outcome: Outcome, *, five: bool) -> int | None:
    gain = outcome.smallest_gain(KING_AND_FIVE if five else ALONE)
    return None if gain is None else round(gain * PPM)


def _interval(track: TrackPolicy) -> ScoreInterval:
    if not isinstance(track.scoring, ScoreInterval):
        msg = "the shipped policy decides by the interval rule"
        raise TypeError(msg)
    return track.scoring


def read_powers(folder: Path = DATA) -> list[Power]:
    """What was simulated; none where nothing was."""
    path = folder / POWER
    return msgspec.json.decode(path.read_bytes(), type=list[Power]) if path.exists() else []


def write_powers(powers: Sequence[Power], folder: Path = DATA) -> None:
    """Write all of them, to be compared by eye."""
    text = msgspec.json.format(msgspec.json.encode(list(powers)), indent=1)
    (folder / POWER).write_bytes(text + b"\n")
