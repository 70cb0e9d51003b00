"""What a contest's timings are worth, and whether a challenger beats the king (DOMAIN 4).

Timings are whole microseconds and results whole ppm. Medians and ratios are exact fractions until
they are floored to ppm; logarithms come from ``decimal`` at a fixed precision, which rounds
correctly, so every machine gets the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from ledger.policy import MarginPolicy, ScoreInterval, ScoreV1, ScoringPolicy
from ledger.rules.interval import (
    FEWEST_TO_WIDEN,
    block_log_ratios_ppm,
    bootstrap_sums,
    fewest_blocks,
    log_one_plus_ppm,
    rounded_mean,
    saved_ppm,
    widened_sums,
    widening_ppm,
)
from ledger.units import PPM


@dataclass(frozen=True, slots=True)
class Measured:
    """One correct entrant's timings beside the baseline's, prompt by prompt in asking order.

    ``*_ttft_us`` is the time to the first token; ``*_e2e_us`` the time to the k-th, where k is the
    smaller of the two token counts of that prompt (DOMAIN 4, v2); both in microseconds. ``*tokens``
    is how many tokens each emitted. All tuples have one entry for each scored prompt.

    Raises :class:`ValueError` for no prompts, unequal lengths or times that cannot be.
    """

    baseline_ttft_us: tuple[int, ...]
    baseline_e2e_us: tuple[int, ...]
    baseline_tokens: tuple[int, ...]
    ttft_us: tuple[int, ...]
    e2e_us: tuple[int, ...]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        columns = (
            *(self.baseline_ttft_us, self.baseline_e2e_us, self.baseline_tokens),
            *(self.ttft_us, self.e2e_us, self.tokens),
        )
        lengths = sorted({len(column) for column in columns})
        if len(lengths) != 1 or lengths[0] == 0:
            msg = f"a measurement needs the same prompts in every column, got lengths {lengths}"
            raise ValueError(msg)
        if any(value < 1 for column in columns for value in column):
            msg = "a measured time or token count is below 1; such an entrant has no score"
            raise ValueError(msg)
        timed = (*zip(self.baseline_ttft_us, self.baseline_e2e_us, strict=True),)
        timed += (*zip(self.ttft_us, self.e2e_us, strict=True),)
        if any(first_us > last_us for first_us, last_us in timed):
            msg = "a first token is timed after the last one of the same prompt"
            raise ValueError(msg)

    @property
    def prompts(self) -> int:
        """How many scored prompts there are."""
        return len(self.e2e_us)


@dataclass(frozen=True, slots=True)
class Score:
    """What an entrant reached against the baseline.

    ``score_ppm`` is never negative; v1 can exceed 1,000,000. The interval formula alone gives the
    rest: ``log_ratio_ppm`` is the mean of ln(baseline / entrant) over blocks, and ``lower_ppm`` and
    ``upper_ppm`` are the ends of the score's confidence interval, negative where the entrant may be
    slower than the baseline; they are None when there are too few blocks for one.
    """

    score_ppm: int
    lower_ppm: int | None = None
    upper_ppm: int | None = None
    log_ratio_ppm: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a challenger takes the throne, and why in one sentence.

    It wins exactly when ``reached_ppm >= needed_ppm``. Under v1 and v2 both are scores; under the
    interval rule both are log ratios and ``reached_ppm`` is the lower bound of the gain, None when
    there are too few blocks for one. ``undecided``: the gain may be there and is not shown.
    """

    wins: bool
    needed_ppm: int
    reached_ppm: int | None
    undecided: bool
    why: str


def score(measured: Measured, scoring: ScoringPolicy, prompts_per_block: int, seed: int) -> Score:
    """The score of one correct entrant under ``scoring``, floored to ppm (DOMAIN 4).

    v1: half the relative gain of the median time to first token plus half that of the median tokens
    per second, each gain at least 0. v2: the median over prompts of the relative gain in end-to-end
    time, at least 0. Interval: 1 - exp(-mean log ratio over blocks of ``prompts_per_block``
    prompts), at least 0, with a bootstrap interval drawn from ``seed``; v1 and v2 read neither.
    """
    if isinstance(scoring, ScoreInterval):
        return _interval_score(measured, scoring, prompts_per_block, seed)
    exact = _v1(measured) if isinstance(scoring, ScoreV1) else _v2(measured)
    return Score(score_ppm=int(exact * PPM))


def margin_ppm(margin: MarginPolicy, reign_age_blocks: int) -> int:
    """What is asked over the king after ``reign_age_blocks`` of its reign, in ppm (DOMAIN 4).

    Linear from ``start_ppm`` to 0 over ``decay_blocks``, floored; fixed without ``decay_blocks``.
    Raises :class:`ValueError` for a reign that has not begun.
    """
    if reign_age_blocks < 0:
        msg = f"a reign cannot be {reign_age_blocks} blocks old"
        raise ValueError(msg)
    if margin.decay_blocks is None:
        return margin.start_ppm
    left_blocks = max(0, margin.decay_blocks - reign_age_blocks)
    return margin.start_ppm * left_blocks // margin.decay_blocks


def beats(
    challenger: Measured,
    king: Measured | None,
    scoring: ScoringPolicy,
    margin: MarginPolicy,
    *,
    reign_age_blocks: int,
    prompts_per_block: int,
    seed: int,
    comparisons: int = 1,
) -> Decision:
    """Whether ``challenger`` takes the throne from ``king``, both measured in one round (DOMAIN 4).

    v1 and v2: the challenger's score in ppm must exceed the king's times (1 + margin); a vacant
    throne (``king`` None) takes any score above 0. Interval: the lower bound of the mean gain over
    the king must exceed ln(1 + margin); over the baseline, and 0, when the throne is vacant. The
    margin follows :func:`margin_ppm`. ``comparisons`` is how many challengers the round compares;
    a policy whose error is the round's shares it among them.

    A block's gain over the king is ln(baseline / challenger) - ln(baseline / king). Where both
    were timed to the same token the baseline cancels; where not, it pays for the difference in
    length. Raises :class:`ValueError` if the two did not answer the same number of prompts.
    """
    if king is not None and king.prompts != challenger.prompts:
        msg = (
            f"the challenger answered {challenger.prompts} prompts and the king {king.prompts}; "
            "they can be compared only within one round"
        )
        raise ValueError(msg)
    asked_ppm = 0 if king is None else margin_ppm(margin, reign_age_blocks)
    if isinstance(scoring, ScoreInterval):
        gains = _log_ratios(challenger, prompts_per_block)
        if king is not None:
            kings_ratios = _log_ratios(king, prompts_per_block)
            gains = [own - theirs for own, theirs in zip(gains, kings_ratios, strict=True)]
        whom = "the baseline" if king is None else "the king"
        return _decided_by_interval(gains, whom, scoring, asked_ppm, seed, comparisons)
    reached = score(challenger, scoring, prompts_per_block, seed).score_ppm
    if king is None:
        wins = reached > 0
        why = f"the throne is vacant and the score is {_percent(reached)}" + (
            "" if wins else ", which is no gain over the baseline"
        )
        return Decision(wins, 1, reached, False, why)
    kings = score(king, scoring, prompts_per_block, seed).score_ppm
    # the smallest whole ppm above king * (1 + margin), so that comparing integers is exact
    needed = kings * (PPM + asked_ppm) // PPM + 1
    wins = reached >= needed
    why = (
        f"scored {_percent(reached)}, {'enough' if wins else 'not enough'}: the king's "
        f"{_percent(kings)} and a margin of {_percent(asked_ppm)} ask for {_percent(needed)}"
    )
    return Decision(wins, needed, reached, False, why)


def _v1(measured: Measured) -> Fraction:
    baseline_ttft, ttft = median(measured.baseline_ttft_us), median(measured.ttft_us)
    baseline_speed, speed = median(_speeds(measured, "baseline")), median(_speeds(measured, "own"))
    gain_ttft = max(Fraction(0), (baseline_ttft - ttft) / baseline_ttft)
    gain_speed = max(Fraction(0), (speed - baseline_speed) / baseline_speed)
    return (gain_ttft + gain_speed) / 2


def _v2(measured: Measured) -> Fraction:
    return median(
        [
            max(Fraction(0), Fraction(baseline_us - own_us, baseline_us))
            for baseline_us, own_us in zip(measured.baseline_e2e_us, measured.e2e_us, strict=True)
        ]
    )


def _speeds(measured: Measured, whose: Literal["baseline", "own"]) -> list[Fraction]:
    """Tokens per microsecond of each prompt: its first k tokens over their decode time.

    A response whose tokens all came with the first one counts 1 us of decode time; the `flushed`
    gate judges it before any score does.
    """
    own = whose == "own"
    firsts = measured.ttft_us if own else measured.baseline_ttft_us
    lasts = measured.e2e_us if own else measured.baseline_e2e_us
    counts = zip(measured.baseline_tokens, measured.tokens, strict=True)
    return [
        Fraction(min(pair), max(1, last_us - first_us))
        for pair, first_us, last_us in zip(counts, firsts, lasts, strict=True)
    ]


def median(values: list[Fraction] | tuple[int, ...]) -> Fraction:
    """The middle value, or the exact mean of the two middle ones."""
    ordered = sorted(Fraction(value) for value in values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _log_ratios(measured: Measured, prompts_per_block: int) -> list[int]:
    return block_log_ratios_ppm(measured.baseline_e2e_us, measured.e2e_us, prompts_per_block)


def _interval_score(
    measured: Measured, scoring: ScoreInterval, prompts_per_block: int, seed: int
) -> Score:
    ratios = _log_ratios(measured, prompts_per_block)
    mean = rounded_mean(sum(ratios), len(ratios))
    reached = max(0, saved_ppm(mean))
    if len(ratios) < _fewest_blocks(scoring, 1):
        return Score(score_ppm=reached, log_ratio_ppm=mean)
    lower, upper = _interval_sums(ratios, scoring, seed, 1)
    return Score(
        score_ppm=reached,
        lower_ppm=saved_ppm(lower // len(ratios)),
        upper_ppm=saved_ppm(-(-upper // len(ratios))),
        log_ratio_ppm=mean,
    )


def _fewest_blocks(scoring: ScoreInterval, comparisons: int) -> int:
    fewest = fewest_blocks(scoring.confidence_ppm, comparisons)
    return fewest if scoring.error_of == "comparison" else max(fewest, FEWEST_TO_WIDEN)


def _interval_sums(
    values_ppm: list[int], scoring: ScoreInterval, seed: int, comparisons: int
) -> tuple[int, int]:
    """The ends of the interval of the sum, as widely as the policy promises."""
    ends = bootstrap_sums(values_ppm, scoring.confidence_ppm, scoring.resamples, seed)
    if scoring.error_of == "comparison":
        return ends
    factor = widening_ppm(len(values_ppm), scoring.confidence_ppm, comparisons)
    return widened_sums(sum(values_ppm), ends, factor)


def _decided_by_interval(
    gains: list[int],
    whom: str,
    scoring: ScoreInterval,
    asked_ppm: int,
    seed: int,
    comparisons: int,
) -> Decision:
    sharers = comparisons if scoring.error_of == "round" else 1
    blocks, fewest = len(gains), _fewest_blocks(scoring, sharers)
    needed = log_one_plus_ppm(asked_ppm) + 1
    level = _percent(scoring.confidence_ppm)
    if sharers > 1:
        level += f" for all {sharers} comparisons of the round"
    if blocks < fewest:
        why = f"undecided: {blocks} blocks of prompts cannot show a gain at {level}, {fewest} could"
        return Decision(False, needed, None, True, why)
    lower, upper = _interval_sums(gains, scoring, seed, sharers)
    reached, reach_at_best = lower // blocks, upper // blocks
    span = f"{_percent(reached)} to {_percent(reach_at_best)} (log) over {whom} at {level}"
    if reached >= needed:
        why = f"the gain is {span}, above the {_percent(needed)} asked"
        return Decision(True, needed, reached, False, why)
    if reach_at_best >= needed:
        why = f"undecided: the gain is {span}, which does not clear the {_percent(needed)} asked"
        return Decision(False, needed, reached, True, why)
    why = f"the gain is {span}, below the {_percent(needed)} asked"
    return Decision(False, needed, reached, False, why)


def _percent(ppm: int) -> str:
    sign = "-" if ppm < 0 else ""
    return f"{sign}{abs(ppm) // 10_000}.{abs(ppm) % 10_000:04d} %"
