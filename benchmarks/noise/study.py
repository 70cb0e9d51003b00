"""Simulated contests between servers that are one and the same, and with one that is truly faster.

Every contest is judged by the rules of the ledger (:mod:`benchmarks.noise.rounds`): the historic
ones by those themselves, the interval rule by the fast path, which is held against the rule itself
every so often while it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from benchmarks.noise.pools import Pool, Times
from benchmarks.noise.rounds import Round, crowned_by_rule, crowned_fast, faster
from ledger.policies import load
from ledger.policy import (
    BlockRamp,
    MarginPolicy,
    ScoreInterval,
    ScoreV2,
    TrackPolicy,
    parse_policy_toml,
)
from ledger.units import PPM

MANY: Final = 5
"""Challengers of a well-filled round."""
KINGS_PART: Final = (9, 10)
"""A king needs nine tenths of the baseline's time, so that the historic score is that of a king."""
FOUND_PPM: Final = 950_000
GAINS_PPM: Final = (
    *range(5_000, 80_000, 5_000),
    *range(80_000, 200_000, 10_000),
    *range(200_000, 400_001, 20_000),
)
"""The true gains that are tried to find the smallest one that is found."""
_CHECKED_EVERY: Final = 100
_STEPS: Final = 1_000
"""A threshold of the historic rule is sought among this many gains of 0.1 %."""
_STEP_PPM: Final = 1_000

Judge = Callable[[Round, TrackPolicy, int], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """Who meets in a round."""

    king: bool
    challengers: int

    @property
    def name(self) -> str:
        """A few words for a table."""
        throne = "king" if self.king else "vacant"
        return f"{throne}, {self.challengers}"


ALONE: Final = Field(True, 1)
KING_AND_FIVE: Final = Field(True, MANY)
FIELDS: Final = (ALONE, KING_AND_FIVE, Field(False, 1), Field(False, MANY))


@dataclass(frozen=True, slots=True)
class Setup:
    """A rule with its plan. ``restart`` False keeps one start of each server for all blocks."""

    name: str
    track: TrackPolicy
    restart: bool = True

    @property
    def per_block(self) -> int:
        """Prompts under one start; all of them where the round has no blocks."""
        contest = self.track.contest
        return contest.prompts_per_block if contest.order == "interleaved" else contest.prompts

    @property
    def blocks(self) -> int:
        """Stretches of the plan."""
        return self.track.contest.prompts // self.per_block

    @property
    def judge(self) -> Judge:
        """What decides a simulated round."""
        return crowned_fast if isinstance(self.track.scoring, ScoreInterval) else crowned_by_rule


def default_track() -> TrackPolicy:
    """Our own rule with the plan that the default budget allows: the example policy."""
    return next(iter(parse_policy_toml(load("interval")).tracks.values()))


def setups() -> tuple[Setup, ...]:
    """Our rule first; then what it is compared with."""
    ours = default_track()
    percentiles = msgspec.structs.replace(ours, scoring=ScoreInterval())
    historic = TrackPolicy(
        model="m", emission=BlockRamp(), scoring=ScoreV2(), margin=MarginPolicy(start_ppm=10_000)
    )
    medians = msgspec.structs.replace(historic, contest=ours.contest)
    return (
        Setup("interval, error of the round", ours),
        Setup("interval, 95 % each, as drawn", percentiles),
        Setup("interval, servers stay loaded", ours, restart=False),
        Setup("historic: v2, 10 prompts, one start", historic),
        Setup("historic formula on the same plan", medians),
    )


def played(times: Times, one: Field, winner: int | None = None, gain_ppm: int = 0) -> Round:
    """A round of servers that are the same, but for the challenger ``winner``.

    ``times[0]`` are the baseline's, made slower where a king is to have its gain over it.
    """
    above, below = KINGS_PART if one.king else (1, 1)
    challengers = list(times[2 : 2 + one.challengers])
    if winner is not None:
        challengers[winner] = faster(challengers[winner], gain_ppm)
    baseline = times[0] * below // above
    return Round(baseline, times[1] if one.king else None, tuple(challengers))


@dataclass(slots=True)
class Outcome:
    """What a setup made of its contests: how many crowned somebody by field, and, by field and gain
    in ppm, how many ended with the faster challenger on the throne."""

    contests: int = 0
    false_crowns: Counter[Field] = field(default_factory=Counter)
    found: Counter[tuple[Field, int]] = field(default_factory=Counter)
    gains_ppm: tuple[int, ...] = ()

    def false_share(self, one: Field) -> float:
        """The share of A/A contests that crowned somebody."""
        return self.false_crowns[one] / self.contests

    def power(self, one: Field) -> list[tuple[float, float]]:
        """(gain, share of contests that found it), by rising gain."""
        return [
            (gain / PPM, self.found[one, gain] / self.contests) for gain in sorted(self.gains_ppm)
        ]

    def smallest_gain(self, one: Field) -> float | None:
        """The smallest gain from which on at least 95 in 100 contests find it; None: none did."""
        smallest = None
        for gain, share in reversed(self.power(one)):
            if share * PPM < FOUND_PPM:
                break
            smallest = gain
        return smallest


def simulate(
    setup: Setup,
    pool: Pool,
    contests: Iterable[int],
    *,
    fields: Iterable[Field] = FIELDS,
    power_fields: Iterable[Field] = (),
    gains_ppm: tuple[int, ...] = (),
    check_every: int = _CHECKED_EVERY,
) -> Outcome:
    """Judge the numbered contests; a number is the contest's seed and the seed of its draws.

    Raises :class:`AssertionError` where the fast path and the rule differ.
    """
    fields, power_fields = tuple(fields), tuple(power_fields)
    outcome = Outcome(gains_ppm=gains_ppm)
    for number in contests:
        chance = np.random.default_rng([number, 5])
        times = pool.draw(chance, 2 + MANY, setup.blocks, setup.per_block, restart=setup.restart)
        place = int(chance.integers(MANY))
        checked = setup.judge is crowned_fast and number % check_every == 0
        outcome.contests += 1
        for one in fields:
            round_ = played(times, one)
            crowned = setup.judge(round_, setup.track, number)
            outcome.false_crowns[one] += bool(crowned)
            if checked:
                _agree(round_, setup.track, number, crowned)
        for one in power_fields:
            winner = place % one.challengers
            for at, gain_ppm in enumerate(gains_ppm):
                round_ = played(times, one, winner, gain_ppm)
                crowned = setup.judge(round_, setup.track, number)
                outcome.found[one, gain_ppm] += crowned[-1:] == (winner,)
                if checked and at == number // check_every % len(gains_ppm):
                    _agree(round_, setup.track, number, crowned)
    return outcome


def thresholds(setup: Setup, pool: Pool, contests: Iterable[int], one: Field) -> Outcome:
    """Power of a historic rule at every 0.1 %, by the gain from which each contest crowns.

    A faster challenger never has the smaller v2 score, so that each contest has one such gain, and
    halving finds it; meant for a single challenger.
    """
    outcome = Outcome(gains_ppm=tuple(step * _STEP_PPM for step in range(_STEPS + 1)))
    for number in contests:
        chance = np.random.default_rng([number, 5])
        times = pool.draw(chance, 2 + MANY, setup.blocks, setup.per_block, restart=setup.restart)
        outcome.contests += 1
        low, high = -1, _STEPS + 1
        while high - low > 1:
            middle = (low + high) // 2
            if setup.judge(played(times, one, 0, middle * _STEP_PPM), setup.track, number):
                high = middle
            else:
                low = middle
        for step in range(high, _STEPS + 1):
            outcome.found[one, step * _STEP_PPM] += 1
    return outcome


def _agree(round_: Round, track: TrackPolicy, seed: int, crowned: tuple[int, ...]) -> None:
    by_rule = crowned_by_rule(round_, track, seed)
    if by_rule != crowned:
        msg = f"contest {seed}: the fast path crowned {crowned}, the rule {by_rule}"
        raise AssertionError(msg)
