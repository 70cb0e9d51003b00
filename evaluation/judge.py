"""From what was measured to a verdict, in integers only (DOMAIN 4; ARCHITECTURE, "Correct").

Pure: the same evidence under the same gates gives the same verdict, whenever and by whomever it is
judged. Speed is not scored here; the verdict carries the paired timings that scoring reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median_high
from typing import Final, Literal

import msgspec

from evaluation.client import Answer
from evaluation.forcing import ForcedToken
from evaluation.plan import EntrantRole
from evaluation.records import ArmRecord
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

MIN_TOKENS: Final = 2
"""An answer needs a first and a later token to have a decode time (DOMAIN 4, v2)."""
CLAIMED_END: Final = "stop"
"""The finish_reason by which a server says that the model ended the sequence itself."""
EVIDENCE_FORM: Final = "cacheon-entrant-evidence/2"
READABLE_FORMS: Final = ("cacheon-entrant-evidence/1", EVIDENCE_FORM)
"""Evidence of a form before this one lacks fields that came later; they have defaults."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What ended an entrant's run early. Exactly one of the two codes is set: whose fault it was.

    ``detail`` is one sentence.
    """

    disqualified: DisqualificationCode | None = None
    infrastructure: InfrastructureCause | None = None
    detail: str


class ForcedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer under the reference, token by token; ``end`` is the claimed end of sequence.

    ``end`` is None where the answer claimed none, or where the reference said nothing about it.
    """

    tokens: tuple[ForcedToken | None, ...]
    end: ForcedToken | None = None


class EntrantEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that one entrant's verdict rests on. Every tuple of answers is in the prompts' order.

    ``repeats`` answers the prompts at ``repeated`` again, in one round or several, each right after
    a control prompt that was never asked before. ``forced`` has one entry per
    answer; it is empty when a fault ended the run, and so may ``answers`` be, or incomplete.
    ``baseline`` has the floor of the mean of both runs' times where the baseline ran before and
    after. ``record`` tells of starts, blocks, machine time and the image; None before form 2.
    """

    form: str = EVIDENCE_FORM
    contest_id: str
    track: str
    attempt: int
    seed_block: int
    seed_block_hash: str
    prompts_digest: str
    model_name: str
    baseline_image: str
    entrant_id: str
    hotkey: str
    role: EntrantRole
    image_digest: str
    baseline: tuple[Answer, ...]
    answers: tuple[Answer, ...]
    repeated: tuple[int, ...]
    repeats: tuple[Answer, ...]
    controls: tuple[Answer, ...]
    forced: tuple[ForcedAnswer, ...]
    fault: Fault | None
    exit_code: int | None
    log_tail: str
    record: ArmRecord | None = None


class EntrantVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an entrant's run came to.

    ``code`` is empty for ``scored``, a :class:`DisqualificationCode` for ``disqualified``, an
    :class:`InfrastructureCause` for ``infrastructure``; ``detail`` says why in one sentence. The
    arrays have one entry per scored prompt, paired over the first ``tokens[i]`` tokens of both
    sides, times in microseconds; they are empty unless every prompt was answered. A gate figure is
    None where nothing was there to measure it on.
    """

    entrant_id: str
    status: Literal["scored", "disqualified", "infrastructure"]
    code: str
    detail: str
    log_tail: str
    baseline_ttft_us: tuple[int, ...] = ()
    baseline_e2e_us: tuple[int, ...] = ()
    baseline_tokens: tuple[int, ...] = ()
    ttft_us: tuple[int, ...] = ()
    e2e_us: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    top1_ppm: int | None = None
    mean_margin_milli: int | None = None
    p99_margin_milli: int | None = None
    coverage_ppm: int | None = None
    min_length_ppm: int | None = None
    spread_ppm: int | None = None
    repeat_gain_ppm: int | None = None
    evidence_digest: str = ""


class GateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers the gates look at. Each is rounded so that comparing it with its limit decides
    exactly as comparing the unrounded fraction would."""

    top1_ppm: int | None
    mean_margin_milli: int | None
    p99_margin_milli: int | None
    coverage_ppm: int | None
    min_length_ppm: int
    spread_ppm: int
    repeat_gain_ppm: int | None


class Finding(msgspec.Struct, frozen=True):
    """A gate that did not open: its code and one sentence."""

    code: DisqualificationCode | InfrastructureCause
    detail: str


def judge(
    evidence: EntrantEvidence, gates: GatePolicy, *, evidence_digest: str = ""
) -> EntrantVerdict:
    """The verdict on one entrant: its fault if it had one, else the first gate that stays shut."""
    finding: Finding | None = None
    if evidence.fault is not None:
        code = evidence.fault.disqualified or evidence.fault.infrastructure
        if code is None:
            msg = f"the evidence on {evidence.entrant_id} records a fault of nobody's"
            raise ValueError(msg)
        finding = Finding(code, evidence.fault.detail)
    verdict = EntrantVerdict(
        entrant_id=evidence.entrant_id,
        status="scored",
        code="",
        detail="every gate passed",
        log_tail=evidence.log_tail,
        evidence_digest=evidence_digest,
    )
    if len(evidence.answers) == len(evidence.baseline) > 0:
        verdict = _with_pairs(verdict, evidence)
    if finding is None:
        figures = gate_figures(evidence, gates)
        verdict = msgspec.structs.replace(verdict, **msgspec.structs.asdict(figures))
        finding = first_finding(evidence, figures, gates)
    if finding is None:
        return verdict
    disqualified = isinstance(finding.code, DisqualificationCode)
    return msgspec.structs.replace(
        verdict,
        status="disqualified" if disqualified else "infrastructure",
        code=str(finding.code),
        detail=finding.detail,
    )


def _with_pairs(verdict: EntrantVerdict, evidence: EntrantEvidence) -> EntrantVerdict:
    """Both sides' times over the first k tokens, k = min of both sides' counts (DOMAIN 4, v2)."""
    pairs = list(zip(evidence.baseline, evidence.answers, strict=True))
    lengths = [min(len(base.tokens), len(own.tokens)) for base, own in pairs]
    return msgspec.structs.replace(
        verdict,
        baseline_ttft_us=tuple(base.ttft_us for base, _ in pairs),
        baseline_e2e_us=tuple(
            _e2e_us(base, k) for (base, _), k in zip(pairs, lengths, strict=True)
        ),
        baseline_tokens=tuple(len(base.tokens) for base, _ in pairs),
        ttft_us=tuple(own.ttft_us for _, own in pairs),
        e2e_us=tuple(_e2e_us(own, k) for (_, own), k in zip(pairs, lengths, strict=True)),
        tokens=tuple(lengths),
    )


def _e2e_us(answer: Answer, k: int) -> int:
    return answer.arrival_us[k - 1] if k else answer.end_us


def gate_figures(evidence: EntrantEvidence, gates: GatePolicy) -> GateFigures:
    """Measure a complete run; raises ``ValueError`` for one with holes that no fault explains."""
    _require_whole(evidence)
    ends = [
        forced.end
        for answer, forced in zip(evidence.answers, evidence.forced, strict=True)
        if answer.finish_reason == CLAIMED_END
    ]
    emitted = sum(len(forced.tokens) for forced in evidence.forced) + len(ends)
    known = [token for forced in evidence.forced for token in forced.tokens if token is not None]
    covered = len(known) + sum(end is not None for end in ends)
    clipped = sum(min(token.margin_milli, gates.margin_clip_milli) for token in known)
    return GateFigures(
        top1_ppm=sum(token.is_first_choice for token in known) * PPM // len(known)
        if known
        else None,
        mean_margin_milli=-(-clipped // len(known)) if known else None,
        p99_margin_milli=_p99([token.margin_milli for token in known]) if known else None,
        coverage_ppm=covered * PPM // emitted if emitted else None,
        min_length_ppm=min(
            len(own.tokens) * PPM // len(base.tokens)
            for base, own in zip(evidence.baseline, evidence.answers, strict=True)
        ),
        spread_ppm=median_high([_spread_ppm(answer) for answer in evidence.answers]),
        repeat_gain_ppm=repeat_gain_ppm((*evidence.answers, *evidence.controls), evidence.repeats),
    )


def _require_whole(evidence: EntrantEvidence) -> None:
    prompts = len(evidence.baseline)
    held = (len(evidence.answers), len(evidence.forced))
    if prompts == 0 or held != (prompts, prompts):
        msg = (
            f"the evidence on {evidence.entrant_id} holds {held[0]} answers and {held[1]} forced "
            f"answers to {prompts} prompts, and no fault"
        )
        raise ValueError(msg)
    for answer in (*evidence.baseline, *evidence.answers, *evidence.repeats, *evidence.controls):
        if len(answer.tokens) != len(answer.arrival_us):
            msg = f"the evidence on {evidence.entrant_id} holds tokens without their arrival"
            raise ValueError(msg)
    if any(len(base.tokens) < MIN_TOKENS for base in evidence.baseline):
        msg = f"a baseline answer has fewer than {MIN_TOKENS} tokens; nothing can be paired with it"
        raise ValueError(msg)
    for answer, forced in zip(evidence.answers, evidence.forced, strict=True):
        if len(answer.tokens) != len(forced.tokens):
            msg = f"the evidence on {evidence.entrant_id} does not force every token it holds"
            raise ValueError(msg)


def _p99(margins_milli: Sequence[int]) -> int:
    """The smallest margin that at least 99 % of the margins do not exceed (nearest rank)."""
    ordered = sorted(margins_milli)
    return ordered[-(-99 * len(ordered) // 100) - 1]


def _spread_ppm(answer: Answer) -> int:
    """The part of the time to the last token over which the tokens arrived."""
    if not answer.arrival_us or answer.wall_us <= 0:
        return 0
    return (answer.arrival_us[-1] - answer.arrival_us[0]) * PPM // answer.wall_us


def repeat_gain_ppm(fresh: Sequence[Answer], repeats: Sequence[Answer]) -> int | None:
    """How much faster a repeated prompt was answered than the fastest fresh one.

    All prompts have the same length, so a fresh answer's time measures the work a repeat should
    cost too. Disturbances only ever slow an answer down, so the fastest fresh answer is the least
    disturbed one; the repeated prompts' own first answers are among those it is taken from, and so
    are the controls, asked in turn with the repeats, so that a machine that was busy only before
    them accuses nobody. Only noise that hits every fresh answer and spares the repeats could make
    an honest server look like a replaying one. Of the repeats the (upper) median counts, so that a
    single quick one decides nothing.
    """
    if not repeats:
        return None
    fastest_us = max(1, min(answer.wall_us for answer in fresh))
    return PPM - median_high([answer.wall_us for answer in repeats]) * PPM // fastest_us


Gate = Callable[[EntrantEvidence, GateFigures, GatePolicy], Finding | None]


def first_finding(
    evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """The first gate, in their fixed order, that the run does not pass; None if it passes all."""
    for gate in _GATES:
        finding = gate(evidence, figures, gates)
        if finding is not None:
            return finding
    return None


def _truncated(
    evidence: EntrantEvidence, _figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    for at, (base, own) in enumerate(zip(evidence.baseline, evidence.answers, strict=True)):
        least = max(MIN_TOKENS, -(-gates.min_length_ppm * len(base.tokens) // PPM))
        if len(own.tokens) < least:
            return Finding(
                DisqualificationCode.TRUNCATED,
                f"prompt {at}: {len(own.tokens)} tokens where the baseline gave "
                f"{len(base.tokens)} and at least {least} are asked for",
            )
    return None


def _overlong(
    evidence: EntrantEvidence, _figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    for at, (base, own) in enumerate(zip(evidence.baseline, evidence.answers, strict=True)):
        most = gates.max_length_ppm * len(base.tokens) // PPM
        if len(own.tokens) > most:
            return Finding(
                DisqualificationCode.OVERLONG,
                f"prompt {at}: {len(own.tokens)} tokens where the baseline gave "
                f"{len(base.tokens)} and at most {most} are allowed",
            )
    return None


def _coverage(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    # `known` may be empty under a policy that asks for no coverage; there is nothing to judge then.
    coverage_ppm = figures.coverage_ppm or 0
    if figures.top1_ppm is None or coverage_ppm < gates.min_coverage_ppm:
        return Finding(
            InfrastructureCause.COVERAGE_TOO_LOW,
            f"the reference scored {coverage_ppm} ppm of the tokens; "
            f"at least {gates.min_coverage_ppm} ppm are needed for a verdict",
        )
    return None


def _other_weights(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """Too few first choices, or a mean margin beyond half of the clip: no noise does either."""
    top1_ppm, mean_milli = figures.top1_ppm or 0, figures.mean_margin_milli or 0
    huge_milli = max(gates.margin_clip_milli // 2, gates.max_mean_margin_milli)
    if top1_ppm < gates.min_model_top1_ppm or mean_milli > huge_milli:
        return Finding(
            DisqualificationCode.OTHER_WEIGHTS,
            f"{top1_ppm} ppm of the tokens are the reference's first choice (at least "
            f"{gates.min_model_top1_ppm}) with a mean margin of {mean_milli} milli (at most "
            f"{huge_milli}): these are not the model's weights",
        )
    return None


def _sampler_changed(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    top1_ppm, mean_milli = figures.top1_ppm or 0, figures.mean_margin_milli or 0
    p99_milli = figures.p99_margin_milli or 0
    if (
        top1_ppm < gates.min_top1_ppm
        or mean_milli > gates.max_mean_margin_milli
        or p99_milli > gates.max_p99_margin_milli
    ):
        return Finding(
            DisqualificationCode.SAMPLER_CHANGED,
            f"{top1_ppm} ppm of the tokens are the reference's first choice (at least "
            f"{gates.min_top1_ppm}), mean margin {mean_milli} milli (at most "
            f"{gates.max_mean_margin_milli}), 99th percentile {p99_milli} milli (at most "
            f"{gates.max_p99_margin_milli}): the model's choices were changed",
        )
    return None


def _end_of_sequence(
    evidence: EntrantEvidence, _figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """A claimed end must be the reference's too; a near tie is granted as to any other token."""
    for at, (own, forced) in enumerate(zip(evidence.answers, evidence.forced, strict=True)):
        if own.finish_reason != CLAIMED_END or forced.end is None:
            continue
        if not forced.end.is_first_choice and forced.end.margin_milli > gates.max_p99_margin_milli:
            return Finding(
                DisqualificationCode.TRUNCATED,
                f"prompt {at}: the answer claims its end after {len(own.tokens)} tokens, where the "
                f"reference goes on (margin {forced.end.margin_milli} milli, at most "
                f"{gates.max_p99_margin_milli})",
            )
    return None


def _flushed(_evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy) -> Finding | None:
    # The (upper) median over prompts: a stall of ours can bring an honest answer in one chunk.
    if figures.spread_ppm < gates.min_stream_spread_ppm:
        return Finding(
            DisqualificationCode.FLUSHED,
            f"the tokens of an answer arrive within {figures.spread_ppm} ppm of its time; a server "
            f"that streams as it generates needs at least {gates.min_stream_spread_ppm} ppm",
        )
    return None


def _replayed(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    gain_ppm = figures.repeat_gain_ppm
    if gain_ppm is not None and gain_ppm > gates.max_repeat_gain_ppm:
        return Finding(
            DisqualificationCode.REPLAYED,
            f"repeated prompts were answered {gain_ppm} ppm faster than the fastest fresh one; "
            f"at most {gates.max_repeat_gain_ppm} ppm can be honest",
        )
    return None


_GATES: Final[tuple[Gate, ...]] = (
    _truncated,
    _overlong,
    _coverage,
    _other_weights,
    _sampler_changed,
    _end_of_sequence,
    _flushed,
    _replayed,
)
