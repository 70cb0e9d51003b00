"""The page's sections on noise: times, margins and claims of servers that are one and the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median, stdev

from benchmarks.gpu.measured import DASH, Measured, number, percent, seconds, table, thousandths
from benchmarks.gpu.plots import Group, Row
from benchmarks.gpu.pool import alike, floor_of, times_of
from benchmarks.gpu.power import CONTESTS, Power, lacking
from benchmarks.gpu.summary import ArmTimes, BlockTimes, Summary
from benchmarks.noise.plot import Plan
from ledger.units import PPM

_FIGURES = ("mean margin, milli", "not the first choice, %", "logprob distance, milli")


def noise_section(found: Measured) -> str:
    """The floor of times, then of margins and claims."""
    groups = alike(found.summaries)
    if not groups:
        return "No A/A run is kept.\n\n"
    rows = []
    for runs in groups:
        floor = floor_of(runs)
        rows.append(
            [
                _who(runs),
                f"{floor.starts} / {floor.blocks}",
                seconds(median(_walls_ms(runs))),
                percent(floor.prompt_ppm),
                percent(floor.block_ppm),
                percent(floor.start_ppm),
                percent(floor.fresh_ppm),
            ]
        )
    heads = (
        *("servers", "starts / blocks", "a block, s", "one prompt, %", "a block in a start, %"),
        *("a start, %", "a block with its own start, %"),
    )
    text = (
        "Standard deviations of the logarithm of a time, between servers that are one and the same "
        "and\nanswered the same prompts in the same block; what the block did to all of them alike "
        "is taken out,\nas the interval rule never sees it. The rule sees the last column where "
        "every block has a start of its\nown, the middle ones where servers stay loaded.\n\n"
    )
    text += table(heads, rows)
    text += "![The same server's blocks against the mean of their block](block-noise.svg)\n\n"
    text += (
        "A dot is a block. What is measured against the mean of only two servers is as far from it "
        "on either\nside, so the rows of a run with two are mirror images.\n\n"
    )
    text += (
        "Under the reference, over the tokens of each start (the baseline is not forced, so it is "
        "not among\nthem). `between` is the standard deviation from start to start, `within` that "
        "of the blocks of a start.\n\n"
    )
    of_tokens = ("servers", "figure", "starts", "least", "median", "greatest", "between", "within")
    return text + table(of_tokens, (row for runs in groups for row in _margin_rows(runs)))


def _who(runs: Sequence[Summary]) -> str:
    run = runs[0]
    return (
        f"{run.model}, {run.gpu or 'no GPU'}, {run.engine}; {run.plan.streams} at once, "
        f"{run.plan.prompts_per_block} a block ({', '.join(one.name for one in runs)})"
    )


def _walls_ms(runs: Sequence[Summary]) -> list[float]:
    return [block.wall_us / 1_000 for run in runs for arm in run.arms for block in arm.blocks]


def _margin_rows(runs: Sequence[Summary]) -> Iterator[list[str]]:
    starts = [
        blocks for run in runs for arm in run.arms for blocks in _by_start(arm) if _forced(blocks)
    ]
    for place, name in enumerate(_FIGURES):
        each = [value for blocks in starts if (value := _figures(blocks)[place]) is not None]
        if not each:
            continue
        within = [
            stdev(values)
            for blocks in starts
            if len(values := _known(_figures([block])[place] for block in blocks)) > 1
        ]
        yield [
            _who(runs),
            name,
            number(len(each)),
            *(thousandths(value) for value in (min(each), median(each), max(each))),
            thousandths(stdev(each)) if len(each) > 1 else DASH,
            thousandths(median(within)) if within else DASH,
        ]


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _by_start(arm: ArmTimes) -> list[list[BlockTimes]]:
    starts: dict[int, list[BlockTimes]] = {}
    for block in arm.blocks:
        starts.setdefault(block.start, []).append(block)
    return list(starts.values())


def _forced(blocks: Sequence[BlockTimes]) -> bool:
    return any(block.forced for block in blocks)


def _figures(blocks: Sequence[BlockTimes]) -> tuple[float | None, float | None, float | None]:
    """Mean margin, the part that is not the first choice, and the distance of claims."""
    forced = sum(block.forced or 0 for block in blocks)
    claims = sum(block.claims or 0 for block in blocks)
    first = sum(block.first_choices or 0 for block in blocks)
    return (
        sum(block.margin_milli or 0 for block in blocks) / forced if forced else None,
        100 * (forced - first) / forced if forced else None,
        sum(block.delta_milli or 0 for block in blocks) / claims if claims else None,
    )


def noise_groups(found: Measured) -> list[Group]:
    """For the plot: by server of each A/A run its blocks' times against the block's mean, in %."""
    groups = []
    for runs in alike(found.summaries):
        for run in runs:
            sums = times_of(run).sums
            apart = 100 * (sums - sums.mean(axis=0))
            rows = [
                Row(arm.name, [float(value) for value in values])
                for arm, values in zip(run.arms, apart, strict=True)
            ]
            groups.append(Group(run.name, rows))
    return groups


# -- what the noise allows -------------------------------------------------------------------


def power_section(found: Measured) -> str:
    """False crowns, power, and the smallest gain of a GPU hour."""
    missing = [f"- {sentence}\n" for sentence in lacking(found.summaries)]
    text = "".join(missing) + ("\n" if missing else "")
    simulated = [power for power in found.powers if power.simulated]
    if not simulated:
        return text + "Nothing was simulated.\n\n"
    rows = []
    for power in found.powers:
        for one in power.simulated:
            shares = {share.field: f"{share.crowned / one.contests:.1%}" for share in one.false}
            rows.append(
                [
                    _server(power),
                    f"{one.plan}: {one.blocks} blocks of {one.prompts_per_block}",
                    number(one.contests),
                    *shares.values(),
                    _gain(one.smallest_ppm),
                    _gain(one.smallest_among_five_ppm),
                ]
            )
    fields = [share.field for share in simulated[0].simulated[0].false]
    heads = (
        *("servers", "plan", "contests"),
        *(f"crowns by chance: {field}" for field in fields),
        *("smallest gain at 95 %", "among five"),
    )
    text += (
        f"Simulated contests ({CONTESTS:,} unless the table says otherwise), resampled from the "
        "measured blocks and\njudged by the rule of the policy `interval`; the last two columns "
        "are the smallest true gain over the\nking that at least 95 in 100 of them crown. A plan "
        "with smaller blocks than were measured is simulated\nfrom stretches of them, which may "
        "spread less than a short block would.\n\n"
    )
    text += table(heads, rows)
    text += "".join(f"- {_server(power)}: {power.origin}.\n" for power in simulated) + "\n"
    return text + "![How often a true gain takes the crown](gpu-power.svg)\n\n"


def power_plans(found: Measured) -> list[tuple[str, list[Plan]]]:
    """For the plot: by kind of server how often each simulated plan found a gain."""
    return [
        (
            _server(power),
            [
                Plan(
                    f"{one.plan}: {one.blocks} blocks of {one.prompts_per_block}",
                    *(
                        [(gain * 100 / PPM, count / one.contests) for gain, count in counts]
                        for counts in (one.found, one.found_among_five)
                    ),
                )
                for one in power.simulated
            ],
        )
        for power in found.powers
        if power.simulated
    ]


def hour_section(found: Measured) -> str:
    """The best plan of one GPU hour by the normal approximation, from measured costs and noise."""
    if not found.powers:
        return "Nothing is known of it without A/A runs.\n\n"
    rows = [
        [
            _server(power),
            one.starts,
            seconds(one.startup_ms),
            seconds(power.warmup_ms),
            number(power.prompt_ms),
            seconds(power.once_ms),
            f"{percent(power.noise_between_ppm)} / {percent(power.noise_within_ppm)}",
            DASH if one.blocks is None else f"{one.blocks} of {one.prompts_per_block}",
            DASH
            if one.prompts_per_block is None
            else seconds(one.prompts_per_block * power.prompt_ms),
            DASH if one.gain_ppm is None else f"{percent(one.gain_ppm)} %",
            one.why_none or DASH,
        ]
        for power in found.powers
        for one in power.budgeted
    ]
    minutes = " or ".join(sorted({str(power.gpu_minutes) for power in found.powers}))
    heads = (
        *("servers", "starts", "a start, s", "warm-up, s", "a prompt of a block, ms", "repeats, s"),
        *(
            "noise of starts / prompts, %",
            "blocks of prompts",
            "a block, s",
            "smallest gain at 95 %",
        ),
        "why no block has 10 s",
    )
    text = (
        f"What `evaluation.gpu_budget` makes of {minutes} GPU minutes for a challenger alone, each "
        "block under a start of\nits own. Where all servers of a block start together, its start "
        "is shared among them.\n\n"
    )
    return text + table(heads, rows)


def _server(power: Power) -> str:
    return (
        f"{power.model}, {power.gpu or 'no GPU'}, {power.engine}, {power.streams} at once, "
        f"{power.prompts_per_block} a block"
    )


def _gain(ppm: int | None) -> str:
    return "none found" if ppm is None else f"{percent(ppm)} %"
