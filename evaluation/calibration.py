"""What honest servers of one model, GPU and engine measure, and the gates that follow from it.

A pure function of evidence on honest runs (A/A: several starts of servers known to be honest). Its
document is canonical JSON; a track's policy names it by its digest.

How the limits follow, in integers, from the greatest figure seen in the runs and in resamples of
them:

- Noise (top-1 shortfall, mean and p99 margin, distance of logprobs): the greatest figure and
  ``slack_ppm`` of it more, rounded up; never under a tenth of the limit it replaces, since two runs
  that happened to agree exactly prove nothing about the third.
- Stream (spread, bursts): the same, but a limit is only ever loosened: how smoothly honest servers
  may stream is not learned from the smooth ones.
- Lengths, repeats, coverage and what is allowed are rules, not noise, and stay as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Final

import msgspec

from evaluation.block_noise import block_noise
from evaluation.entrant import EntrantEvidence
from evaluation.evidence import canonical
from evaluation.figures import GateFigures, gate_figures
from evaluation.resampling import draws, resampled
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

CALIBRATION_FORM: Final = "cacheon-calibration/1"
DEFAULT_SLACK_PPM: Final = 1_000_000
"""As much again as the greatest honest figure: vLLM's eager mode, which no A/A of its default mode
shows, lies two thirds further from the reference than that, and an fp8 KV cache five times."""
RESAMPLES_A_RUN: Final = 50
MIN_RUNS: Final = 2
_FLOOR_PART: Final = 10
_MOST_BURSTS: Final = 2
"""A machine too busy to tell bursts at twice the limit cannot tell speculation at all."""


class CalibrationError(ValueError):
    """Evidence that calibrates nothing; the message says what is wrong with which run."""


class CalibrationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures hold for; free words of whoever measured, empty where unknown."""

    model: str
    gpu: str
    engine: str


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """How a figure was distributed over ``samples`` runs."""

    samples: int
    least: int
    median: int
    greatest: int


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What honest runs measured, and the gates that this proposes.

    ``runs`` are the digests of the evidence. ``wall_within_ppm`` is, one sample a run, the mean
    distance of an answer's time a token from its run's mean; ``wall_between_ppm`` that of a run's
    mean from the mean of all runs of the same image in its contest. ``wall_block_within_ppm`` and
    ``wall_block_between_ppm`` are the same of a block's duration a token, one sample a start of a
    server, the baseline's too where it is the runs' own image (:mod:`evaluation.block_noise`): the
    figures to use where several streams are asked at once. Each is None where too little was
    recorded. ``engine_version`` is what the baselines' servers said, empty where they said nothing
    and in documents from before. ``figures`` holds every gate figure over the runs, ``resampled``
    over the runs and :data:`RESAMPLES_A_RUN` resamples of each.
    """

    form: str = CALIBRATION_FORM
    facts: CalibrationFacts
    track: str
    runs: tuple[str, ...]
    prompts: int
    tokens: int
    wall_within_ppm: Distribution
    wall_between_ppm: Distribution | None
    wall_block_within_ppm: Distribution | None = None
    wall_block_between_ppm: Distribution | None = None
    figures: dict[str, Distribution]
    resampled: dict[str, Distribution]
    slack_ppm: int
    gates: GatePolicy
    engine_version: str = ""


def calibrate(
    evidence: Sequence[EntrantEvidence],
    facts: CalibrationFacts,
    *,
    gates: GatePolicy = GatePolicy(),  # noqa: B008 - frozen
    slack_ppm: int = DEFAULT_SLACK_PPM,
    digests: Sequence[str] | None = None,
    engine_version: str = "",
) -> Calibration:
    """Measure honest runs and propose gates in the place of ``gates``.

    ``digests`` are those that the evidence is stored under; without them each is spelled anew, as
    is right for evidence that this program made. Evidence of an older program has another spelling
    today, and its calibration, whose resamples are drawn by the digests, would change with it.

    Every run is one start of a server. Raises :class:`CalibrationError` for fewer than
    :data:`MIN_RUNS` runs, for runs of several tracks or with a fault, and for a run given twice.
    """
    if digests is None:
        digests = [f"sha256:{hashlib.sha256(canonical(one)).hexdigest()}" for one in evidence]
    _check(evidence, digests)
    own = [gate_figures(one, gates) for one in evidence]
    drawn = [
        gate_figures(resampled(one, stream, max_repeat_gain_ppm=gates.max_repeat_gain_ppm), gates)
        for one, digest in zip(evidence, digests, strict=True)
        for stream in [draws(digest)]
        for _ in range(RESAMPLES_A_RUN)
    ]
    over_all, blocks = _distributions([*own, *drawn]), block_noise(evidence)
    return Calibration(
        facts=facts,
        track=evidence[0].track,
        runs=tuple(digests),
        prompts=sum(len(one.answers) for one in evidence),
        tokens=sum(len(answer.tokens) for one in evidence for answer in one.answers),
        wall_within_ppm=_distribution(_within_ppm(one) for one in evidence),
        wall_between_ppm=_distribution_if_any(_between_ppm(evidence)),
        wall_block_within_ppm=_distribution_if_any(blocks.within_ppm),
        wall_block_between_ppm=_distribution_if_any(blocks.between_ppm),
        figures=_distributions(own),
        resampled=over_all,
        slack_ppm=slack_ppm,
        gates=_proposed(over_all, gates, slack_ppm),
        engine_version=engine_version,
    )


def canonical_calibration(calibration: Calibration) -> bytes:
    """The document's one spelling: JSON with sorted keys, every field written out."""
    return msgspec.json.encode(calibration, order="deterministic")


def calibration_digest(calibration: Calibration) -> str:
    """``sha256:<hex>`` of the document, as ``TrackPolicy.calibration`` names it."""
    return f"sha256:{hashlib.sha256(canonical_calibration(calibration)).hexdigest()}"


def read_calibration(data: bytes) -> Calibration:
    """Undo :func:`canonical_calibration`; :class:`CalibrationError` for anything else."""
    try:
        calibration = msgspec.json.decode(data, type=Calibration)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"these bytes are no calibration: {error}"
        raise CalibrationError(msg) from error
    if calibration.form != CALIBRATION_FORM:
        msg = f"a calibration of the form {calibration.form[:64]!r} is not {CALIBRATION_FORM!r}"
        raise CalibrationError(msg)
    return calibration


def _check(evidence: Sequence[EntrantEvidence], digests: Sequence[str]) -> None:
    if len(evidence) < MIN_RUNS:
        msg = f"{len(evidence)} run says nothing about noise; give at least {MIN_RUNS}"
        raise CalibrationError(msg)
    if len(set(digests)) != len(digests):
        msg = "the same evidence is given twice; give each run once"
        raise CalibrationError(msg)
    tracks = sorted({one.track for one in evidence})
    if len(tracks) > 1:
        msg = f"the runs are of the tracks {', '.join(tracks)}; calibrate one track at a time"
        raise CalibrationError(msg)
    for one, digest in zip(evidence, digests, strict=True):
        if one.fault is not None:
            msg = f"the run {digest} ended with a fault ({one.fault.detail}); leave it out"
            raise CalibrationError(msg)


def _per_token_ns(evidence: EntrantEvidence) -> list[int]:
    return [one.wall_us * 1_000 // max(1, len(one.tokens)) for one in evidence.answers]


def _within_ppm(evidence: EntrantEvidence) -> int:
    times = _per_token_ns(evidence)
    return _mean_distance_ppm(times)


def _mean_distance_ppm(times: Sequence[int]) -> int:
    """The mean distance from the mean, as a part of the mean."""
    mean = max(1, sum(times) // len(times))
    return sum(abs(time - mean) for time in times) * PPM // (len(times) * mean)


def _between_ppm(evidence: Sequence[EntrantEvidence]) -> list[int]:
    """How far each run's mean lies from that of all runs of its image that were asked the same in
    the same contest; nothing of one alone."""
    means: dict[tuple[str, str], list[int]] = {}
    for one in evidence:
        times = _per_token_ns(one)
        own = means.setdefault((one.contest_id, one.image_digest), [])
        own.append(sum(times) // len(times))
    found = []
    for runs in means.values():
        if len(runs) < 2:
            continue
        mean = max(1, sum(runs) // len(runs))
        found += [abs(run - mean) * PPM // mean for run in runs]
    return found


def _distributions(figures: Sequence[GateFigures]) -> dict[str, Distribution]:
    """Every figure that was known in at least one run."""
    found = {}
    for name in GateFigures.__struct_fields__:
        values = [value for one in figures if (value := getattr(one, name)) is not None]
        if values:
            found[name] = _distribution(values)
    return found


def _distribution(values: Iterable[int]) -> Distribution:
    ordered = sorted(values)
    return Distribution(
        samples=len(ordered),
        least=ordered[0],
        median=median_low(ordered),
        greatest=ordered[-1],
    )


def _distribution_if_any(values: Sequence[int]) -> Distribution | None:
    return _distribution(values) if values else None


def _proposed(seen: dict[str, Distribution], gates: GatePolicy, slack_ppm: int) -> GatePolicy:
    def noise(name: str, limit: int) -> int:
        if name not in seen:
            return limit
        return max(_with_slack(seen[name].greatest, slack_ppm), -(-limit // _FLOOR_PART))

    def looser(name: str, limit: int, most: int) -> int:
        if name not in seen:
            return limit
        return max(limit, min(most, _with_slack(seen[name].greatest, slack_ppm)))

    shortfall_ppm = PPM - gates.min_top1_ppm
    if "top1_ppm" in seen:
        seen_ppm = _with_slack(PPM - seen["top1_ppm"].least, slack_ppm)
        shortfall_ppm = min(PPM, max(seen_ppm, -(-shortfall_ppm // _FLOOR_PART)))
    spread_ppm = seen["spread_ppm"].least * PPM // (PPM + slack_ppm)
    return msgspec.structs.replace(
        gates,
        min_top1_ppm=PPM - shortfall_ppm,
        # A policy whose model limit lay above its noise limit would call noise other weights.
        min_model_top1_ppm=min(gates.min_model_top1_ppm, PPM - shortfall_ppm),
        max_mean_margin_milli=noise("mean_margin_milli", gates.max_mean_margin_milli),
        max_p99_margin_milli=noise("p99_margin_milli", gates.max_p99_margin_milli),
        max_logprob_delta_milli=noise("logprob_delta_milli", gates.max_logprob_delta_milli),
        min_stream_spread_ppm=min(gates.min_stream_spread_ppm, spread_ppm),
        max_burst_ppm=looser("burst_ppm", gates.max_burst_ppm, PPM),
        max_burst_tokens_milli=looser(
            "burst_tokens_milli",
            gates.max_burst_tokens_milli,
            gates.max_burst_tokens_milli * _MOST_BURSTS,
        ),
    )


def _with_slack(figure: int, slack_ppm: int) -> int:
    """The figure and its slack, rounded up."""
    return figure + -(-figure * slack_ppm // PPM)
