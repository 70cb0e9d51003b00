"""Which plan a budget of GPU minutes allows one challenger, and what gain that plan can prove.

Integers throughout: milliseconds of the machine, parts per million of log time. It is advice to the
author of a policy; nothing here decides a contest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Final

from ledger.policy import MAX_COMPARISONS, MarginPolicy, ScoreInterval
from ledger.rules.interval import fewest_blocks, log_one_plus_ppm, saved_ppm, widening_ppm
from ledger.rules.quantiles import normal_ppm
from ledger.units import PPM

DEFAULT_BUDGET_GPU_MINUTES: Final = 60
MAX_PROMPTS: Final = 1_000
"""What a policy may ask in one contest (``ContestPolicy.prompts``)."""
SHORTEST_BLOCK_MS: Final = 10_000
"""Runs shorter than that spread by several percent on a GPU, whatever is averaged."""
_MISSED_ON_BOTH_SIDES_PPM: Final = 100_000
"""A gain that is found 95 times in 100 is missed 5 times on the one side that counts."""


class BudgetError(ValueError):
    """A budget that allows no plan; the message says in a sentence what it lacks."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one challenger's own server takes of the machine.

    ``prompt_ms`` is a block's duration over its prompts: with many streams far less than a prompt's
    own time. ``once_ms`` is spent once and not in every block, e.g. on the repeated prompts.
    """

    gpus: int
    startup_ms: int
    warmup_ms: int
    prompt_ms: int
    once_ms: int = 0

    def __post_init__(self) -> None:
        if self.prompt_ms < 1 or min(self.gpus, self.startup_ms, self.warmup_ms, self.once_ms) < 0:
            msg = f"a server cannot cost {self}; times are milliseconds, a prompt takes at least 1"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviations of the logarithm of a time, in ppm, from A/A runs of the same server:
    ``between_ppm`` of a start's mean from start to start, ``within_ppm`` of one prompt in a start,
    beyond what differs from prompt to prompt for every server."""

    between_ppm: int
    within_ppm: int


@dataclass(frozen=True, slots=True)
class BudgetedPlan:
    """A plan that fits. ``restarts`` is how often the challenger's server starts; ``used_ms`` what
    it takes of the machine. ``gain_ppm`` is the smallest true speed-up over the king, as a share,
    that is crowned at least 95 times in 100."""

    blocks: int
    prompts_per_block: int
    restarts: int
    used_ms: int
    gain_ppm: int

    @property
    def prompts(self) -> int:
        """All scored prompts."""
        return self.blocks * self.prompts_per_block


def machine_ms(budget_gpu_minutes: int, gpus: int) -> int:
    """How long a server on so many GPUs may run; minutes of the machine where it has none."""
    return budget_gpu_minutes * 60_000 // max(1, gpus)


def blocks_within(budget_gpu_minutes: int, costs: Costs, prompts_per_block: int) -> int:
    """How many blocks fit when each starts the server anew; as many prompts as a policy may ask."""
    each_ms = costs.startup_ms + costs.warmup_ms + prompts_per_block * costs.prompt_ms
    left_ms = machine_ms(budget_gpu_minutes, costs.gpus) - costs.once_ms
    return min(max(0, left_ms) // each_ms, MAX_PROMPTS // prompts_per_block)


def best_plan(
    budget_gpu_minutes: int,
    costs: Costs,
    noise: Noise,
    scoring: ScoreInterval,
    margin: MarginPolicy,
    *,
    challengers: int = 1,
) -> BudgetedPlan:
    """The plan that proves the smallest gain within the budget, each block under its own start.

    More prompts in a block average what spreads within a start; more blocks average what differs
    between starts as well, and each costs a start. Of equal plans the one with fewer prompts.
    Servers that stay loaded are no choice: what their one start happened to be would count as gain.

    Raises :class:`BudgetError` where not even the fewest blocks that can decide fit.
    """
    plans = list(_plans(budget_gpu_minutes, costs, noise, scoring, margin, challengers))
    if plans:
        return min(plans, key=lambda plan: (plan.gain_ppm, plan.prompts))
    needed = _fewest(scoring)
    shortest = costs.startup_ms + costs.warmup_ms + max(SHORTEST_BLOCK_MS, costs.prompt_ms)
    per_block = _fewest_prompts(costs)
    if MAX_PROMPTS // per_block < needed:
        msg = (
            f"a block of {SHORTEST_BLOCK_MS} ms takes {per_block} prompts, so that {needed} "
            f"blocks, the fewest that can decide, take more than the {MAX_PROMPTS} that a policy "
            "may ask; ask for longer answers"
        )
        raise BudgetError(msg)
    whole_ms = (needed * shortest + costs.once_ms) * max(1, costs.gpus)
    msg = (
        f"{budget_gpu_minutes} GPU minutes allow a server on {costs.gpus} GPUs no {needed} blocks, "
        f"the fewest that can decide; they take about {-(-whole_ms // 60_000)} GPU minutes"
    )
    raise BudgetError(msg)


def _plans(
    budget_gpu_minutes: int,
    costs: Costs,
    noise: Noise,
    scoring: ScoreInterval,
    margin: MarginPolicy,
    challengers: int,
) -> Iterator[BudgetedPlan]:
    least = _fewest_prompts(costs)
    fewest = _fewest(scoring)
    for per_block in range(least, MAX_PROMPTS // fewest + 1):
        blocks = blocks_within(budget_gpu_minutes, costs, per_block)
        if blocks < fewest:
            return
        each_ms = costs.startup_ms + costs.warmup_ms + per_block * costs.prompt_ms
        yield BudgetedPlan(
            blocks=blocks,
            prompts_per_block=per_block,
            restarts=blocks,
            used_ms=blocks * each_ms + costs.once_ms,
            gain_ppm=provable_gain_ppm(
                blocks, per_block, noise, scoring, margin, challengers=challengers
            ),
        )


def _fewest_prompts(costs: Costs) -> int:
    """How many prompts make a block long enough."""
    return max(1, -(-SHORTEST_BLOCK_MS // costs.prompt_ms))


def provable_gain_ppm(
    blocks: int,
    prompts_per_block: int,
    noise: Noise,
    scoring: ScoreInterval,
    margin: MarginPolicy,
    *,
    challengers: int = 1,
) -> int:
    """The smallest speed-up over the king that this plan crowns at least 95 times in 100, by the
    normal approximation: the margin, the half-width of the interval, and what luck may take away.

    A block's difference between two servers has twice the variance of either's time. Raises
    :class:`BudgetError` for fewer blocks than can decide.
    """
    shares = challengers if scoring.error_of == "round" else 1
    if blocks < fewest_blocks(scoring.confidence_ppm, shares):
        msg = f"{blocks} blocks cannot decide among {challengers} at {scoring.confidence_ppm} ppm"
        raise BudgetError(msg)
    within = noise.within_ppm**2 // prompts_per_block
    deviation_ppm = isqrt(2 * (noise.between_ppm**2 + within) // blocks) + 1
    reach_ppm = normal_ppm(PPM - scoring.confidence_ppm)
    if scoring.error_of == "round":
        reach_ppm = reach_ppm * widening_ppm(blocks, scoring.confidence_ppm, shares) // PPM
    luck_ppm = normal_ppm(_MISSED_ON_BOTH_SIDES_PPM)
    log_ppm = log_one_plus_ppm(margin.start_ppm) + deviation_ppm * (reach_ppm + luck_ppm) // PPM
    return -saved_ppm(-log_ppm)  # exp(log) - 1, rounded up


def _fewest(scoring: ScoreInterval) -> int:
    """What a policy with this scoring must have, as :mod:`ledger.policy` checks it."""
    return fewest_blocks(
        scoring.confidence_ppm, MAX_COMPARISONS if scoring.error_of == "round" else 1
    )
