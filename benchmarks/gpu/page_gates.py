"""The page's sections on gates: every setting and every cheat beside the limits it met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.gpu.calibrations import calibration_of
from benchmarks.gpu.measured import DASH, Measured, number, percent, short, table
from benchmarks.gpu.plots import Group, Row, Tail, margins_svg
from benchmarks.gpu.summary import MARGINS_MILLI, ArmVerdict, Summary
from evaluation.calibration import Distribution
from evaluation.figures import GateFigures
from evaluation.gates import noise_limits
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

_HEADS = (
    *("setting", "bundle", "tokens", "top-1 %", "mean margin", "p99 margin", "logprob distance"),
    *("claims fit %", "largest burst %", "tokens a burst", "spread %", "repeats gain %"),
    *("must be", "was", "under the calibration"),
)
SCORED = "scored"


def gates_section(found: Measured) -> str:
    """A table of the honest and one of the cheats for every model, GPU and engine."""
    groups = _groups(found.summaries)
    if not groups:
        return "No contest is kept.\n\n"
    return "".join(_group(found, place, runs) for place, runs in enumerate(groups, start=1))


def margin_plots(found: Measured) -> dict[str, str]:
    """A plot for every table, by the name of its file."""
    plots = {}
    for place, runs in enumerate(_groups(found.summaries), start=1):
        tails = _tails(runs)
        if tails:
            run = runs[0]
            title = f"Tokens beyond a margin; refused dashed: {run.model} on {run.gpu or 'no GPU'}"
            plots[_plot_name(place)] = margins_svg(title, tails, run.gates.max_p99_margin_milli)
    return plots


def _plot_name(place: int) -> str:
    return f"margins-{place}.svg"


def _tails(runs: Sequence[Summary]) -> list[Tail]:
    """Each setting's share of tokens beyond every margin; of copies the first one."""
    return [
        Tail(
            f"{one.name} ({run.name})",
            [
                (edge, count / one.tokens)
                for edge, count in zip(MARGINS_MILLI, one.beyond, strict=True)
            ],
            refused=bool(one.code),
        )
        for run in runs
        for one in (run.verdicts[:1] if run.what == "aa" else run.verdicts)
        if one.tokens
    ]


def _groups(summaries: Sequence[Summary]) -> list[list[Summary]]:
    """Contests by model, GPU and engine."""
    groups: dict[tuple[str, str, str], list[Summary]] = {}
    for one in summaries:
        if one.verdicts:
            groups.setdefault((one.model, one.gpu, one.engine), []).append(one)
    return list(groups.values())


def _group(found: Measured, place: int, runs: Sequence[Summary]) -> str:
    run = runs[0]
    held = calibration_of(run, found.calibrations)
    limits = [_limit_row(f"limit of {names}", gates) for names, gates in _own_gates(runs)]
    if held is not None:
        limits.append(_limit_row("limit of the calibration", held[1].gates))
    verdicts = [(one, verdict) for one in runs for verdict in one.verdicts]
    text = f"### {run.model} on {run.gpu or 'no GPU'}, {run.engine}\n\n"
    if _tails(runs):
        text += f"![Tokens beyond a margin, by setting]({_plot_name(place)})\n\n"
    for cheats, title in ((False, "Honest"), (True, "Cheats")):
        own = [pair for pair in verdicts if bool(pair[1].expected) is cheats]
        if not own:
            continue
        right = sum(verdict.code == verdict.expected for _, verdict in own)
        said = "refused with their own code" if cheats else "scored"
        text += f"{title}: {right} of {len(own)} {said}"
        again = [one for _, one in own if one.calibrated_code is not None]
        if again:
            right = sum(one.calibrated_code == one.expected for one in again)
            text += f", {right} of {len(again)} under the calibration"
        rows = [_row(one, verdict) for one, verdict in own]
        text += ".\n\n" + table(_HEADS, [*limits, *rows])
        text += _refusals(own)
    return text


def _own_gates(runs: Sequence[Summary]) -> Iterator[tuple[str, GatePolicy]]:
    """The different gates of the bundles, with the names of those that had them."""
    held: list[tuple[GatePolicy, list[str]]] = []
    for run in runs:
        same = next((names for gates, names in held if gates == run.gates), None)
        if same is None:
            held.append((run.gates, [run.name]))
        else:
            same.append(run.name)
    for gates, names in held:
        yield ("all bundles" if len(held) == 1 else ", ".join(names)), gates


def _limit_row(name: str, gates: GatePolicy) -> list[str]:
    limits = noise_limits(gates)
    bursts = DASH
    if "speculative_decoding" not in gates.allowed:
        bursts = f"≤ {gates.max_burst_tokens_milli / 1_000:.2f}"
    return [
        *(f"**{name}**", "", ""),
        f"≥ {percent(limits.min_top1_ppm)}",
        f"≤ {limits.max_mean_margin_milli}",
        f"≤ {limits.max_p99_margin_milli}",
        f"≤ {limits.max_logprob_delta_milli}",
        f"≥ {percent(gates.min_claims_fit_ppm, 0)}",
        f"≤ {percent(gates.max_burst_ppm, 0)}",
        bursts,
        f"≥ {percent(gates.min_stream_spread_ppm, 1)}",
        f"≤ {percent(gates.max_repeat_gain_ppm, 0)}",
        *("", "", ""),
    ]


def _row(run: Summary, verdict: ArmVerdict) -> list[str]:
    return [
        verdict.name,
        run.name,
        number(verdict.tokens),
        *_figures(verdict.figures),
        verdict.expected or SCORED,
        _came_to(verdict, verdict.code or verdict.status, verdict.code),
        DASH
        if verdict.calibrated_code is None
        else _came_to(verdict, verdict.calibrated_code or SCORED, verdict.calibrated_code),
    ]


def _came_to(verdict: ArmVerdict, said: str, code: str) -> str:
    return said if code == verdict.expected else f"**{said}**"


def _figures(figures: GateFigures | None) -> list[str]:
    if figures is None:
        return [DASH] * 9
    tokens = figures.burst_tokens_milli
    return [
        percent(figures.top1_ppm),
        number(figures.mean_margin_milli),
        number(figures.p99_margin_milli),
        number(figures.logprob_delta_milli),
        percent(figures.claims_fit_ppm, 0),
        percent(figures.burst_ppm, 1),
        DASH if tokens is None else f"{tokens / 1_000:.2f}",
        percent(figures.spread_ppm, 1),
        percent(figures.repeat_gain_ppm, 1),
    ]


def _refusals(own: Sequence[tuple[Summary, ArmVerdict]]) -> str:
    """The sentence of every verdict that came out otherwise than it must."""
    lines = [
        f"- {verdict.name} ({run.name}): {verdict.detail}.\n"
        for run, verdict in own
        if verdict.code != verdict.expected
    ]
    return "".join(lines) + ("\n" if lines else "")


def calibrations_section(found: Measured) -> str:
    """Every calibration with the gates that it proposes, beside those that it started from."""
    if not found.calibrations:
        return "There is none.\n\n"
    text = (
        "A track's policy names a calibration by its digest; the documents lie in "
        "`benchmarks/data/gpu`.\nHow the limits follow is said in "
        "`evaluation/calibration.py`.\n\n"
    )
    rows = []
    for digest, one in found.calibrations.items():
        gates = one.gates
        rows.append(
            [
                f"{one.facts.model}, {one.facts.gpu or 'no GPU'}, {one.facts.engine}",
                short(digest),
                number(len(one.runs)),
                number(one.tokens),
                percent(one.slack_ppm, 0),
                f"≥ {percent(gates.min_top1_ppm)}",
                f"≤ {gates.max_mean_margin_milli}",
                f"≤ {gates.max_p99_margin_milli}",
                f"≤ {gates.max_logprob_delta_milli}",
                _greatest(one.wall_block_within_ppm),
                _greatest(one.wall_block_between_ppm),
            ]
        )
    heads = (
        *("holds for", "digest", "runs", "tokens", "slack %", "top-1 %", "mean margin"),
        *("p99 margin", "logprob distance", "block in a start, % at most", "start, % at most"),
    )
    return text + table(heads, rows)


def _greatest(seen: Distribution | None) -> str:
    return percent(None if seen is None else seen.greatest)


def speed_section(found: Measured) -> str:
    """For every bundle its scored settings by speed, and whether each beats the one below it."""
    text = ""
    for run in found.summaries:
        rows = _speed_rows(run)
        if rows:
            heads = ("setting", "saves of the baseline's time, %", "interval", "against the next")
            text += f"{_started(run)}:\n\n" + table(heads, rows)
    return text or "No contest with scored entrants is kept.\n\n"


def speed_groups(found: Measured) -> list[Group]:
    """For the plot: by bundle its scored settings, the fastest first, in the baseline's times."""
    return [
        Group(
            _started(run),
            [
                Row(name, [_times(saved)], (_times(upper), _times(lower)))
                for saved, lower, upper, name in speeds
            ],
        )
        for run in found.summaries
        if (speeds := _by_speed(run))
    ]


def _started(run: Summary) -> str:
    starts = "a start for every block" if run.plan.restart_each_block else "one start each"
    return f"{run.name} ({run.what}; {starts})"


def _times(saved_ppm: int) -> float:
    """How many times as long as the baseline; never nothing, which has no logarithm."""
    return max(1, PPM - saved_ppm) / PPM


def _by_speed(run: Summary) -> list[tuple[int, int, int, str]]:
    """What each scored setting saves in ppm, with both bounds and its name, the most first."""
    held = [
        (one.saved_ppm, one.lower_ppm, one.upper_ppm, one.name)
        for one in run.verdicts
        if one.saved_ppm is not None and one.lower_ppm is not None and one.upper_ppm is not None
    ]
    return sorted(held, key=lambda one: one[0], reverse=True)


def _speed_rows(run: Summary) -> list[list[str]]:
    """The baseline stands among them as what saves nothing."""
    held = _by_speed(run)
    if not held:
        return []
    held.append((0, 0, 0, "the baseline"))
    held.sort(key=lambda one: one[0], reverse=True)
    rows = []
    for place, (saved, lower, upper, name) in enumerate(held):
        against = ""
        if place + 1 < len(held):
            against = "faster" if lower > held[place + 1][2] else "undecided"
        rows.append([name, percent(saved), f"{percent(lower)} to {percent(upper)}", against])
    return rows
