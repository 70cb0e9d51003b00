"""The figures that gates look at, measured on one run's evidence, in integers only.

Three kinds: what the tokens are worth under the reference (margins), how far the server's own
logprobs lie from the reference's (claims), and how the tokens came in (stream, bursts, repeats).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_high, median_low
from typing import Final

import msgspec

from evaluation.client import Answer
from evaluation.entrant import CLAIMED_END, FIRST_EVIDENCE_FORM, MIN_TOKENS, EntrantEvidence
from evaluation.lengths import baseline_tokens
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

MILLI: Final = 1_000
BURST_GAP_PART: Final = 5
"""A token that follows within a fifth of the mean gap came with the one before it."""


class GateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers the gates look at. Each is rounded so that comparing it with its limit decides
    exactly as comparing the unrounded fraction would. None where there was nothing to measure."""

    top1_ppm: int | None
    mean_margin_milli: int | None
    p99_margin_milli: int | None
    coverage_ppm: int | None
    min_length_ppm: int
    spread_ppm: int
    repeat_gain_ppm: int | None
    claims_ppm: int | None = None
    """The part of the tokens for which the server said how probable it found them."""
    logprob_delta_milli: int | None = None
    """Mean |claimed - reference| logprob over the claimed tokens."""
    claims_fit_ppm: int | None = None
    """How much of what the reference's logprobs vary the claims follow, over its first choices:
    1 - sum (claimed - reference)^2 / sum (reference - mean)^2, not below 0."""
    burst_ppm: int | None = None
    """The part of an answer that came as its largest burst; the (lower) median over answers."""
    burst_tokens_milli: int | None = None
    """Tokens a burst, in thousandths; the (lower) median over answers."""


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
    figures = GateFigures(
        top1_ppm=sum(token.is_first_choice for token in known) * PPM // len(known)
        if known
        else None,
        mean_margin_milli=-(-clipped // len(known)) if known else None,
        p99_margin_milli=_p99([token.margin_milli for token in known]) if known else None,
        coverage_ppm=covered * PPM // emitted if emitted else None,
        min_length_ppm=min(
            len(own.tokens) * PPM // baseline_tokens(base)
            for base, own in zip(evidence.baseline, evidence.answers, strict=True)
        ),
        spread_ppm=_spread_ppm(evidence),
        repeat_gain_ppm=repeat_gain_ppm((*evidence.answers, *evidence.controls), evidence.repeats),
    )
    if evidence.form == FIRST_EVIDENCE_FORM:
        return figures
    delta_milli, fit_ppm = _claims(evidence)
    together_us = _together_us(evidence, gates)
    bursts = [_bursts(answer, together_us) for answer in evidence.answers]
    whole = [
        (max(sizes) * PPM // sum(sizes), sum(sizes) * MILLI // len(sizes))
        for sizes in bursts
        if sum(sizes) >= MIN_TOKENS
    ]
    return msgspec.structs.replace(
        figures,
        claims_ppm=claimed_ppm(evidence.answers),
        logprob_delta_milli=delta_milli,
        claims_fit_ppm=fit_ppm,
        burst_ppm=median_low([share for share, _ in whole]) if whole else None,
        burst_tokens_milli=median_low([mean for _, mean in whole]) if whole else None,
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
        if len(answer.logprobs_milli) > len(answer.tokens):
            msg = f"the evidence on {evidence.entrant_id} holds more claims than tokens"
            raise ValueError(msg)
    if any(min(len(base.tokens), baseline_tokens(base)) < MIN_TOKENS for base in evidence.baseline):
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


def claimed_ppm(answers: Sequence[Answer]) -> int | None:
    """The part of all tokens that came with a claim of their own; None without any token."""
    tokens = sum(len(answer.tokens) for answer in answers)
    return sum(len(one.logprobs_milli) for one in answers) * PPM // tokens if tokens else None


def _claims(evidence: EntrantEvidence) -> tuple[int | None, int | None]:
    """How far the claims are off, and how well they follow the reference: (delta, fit)."""
    pairs = [
        (claimed, token.logprob_milli, token.is_first_choice)
        for answer, forced in zip(evidence.answers, evidence.forced, strict=True)
        for claimed, token in zip(answer.logprobs_milli, forced.tokens, strict=False)
        if token is not None and token.logprob_milli is not None
    ]
    if not pairs:
        return None, None
    off = sum(abs(claimed - own) for claimed, own, _ in pairs)
    # Where the server chose otherwise than the reference, noise moves claim and reference apart
    # by more than it does elsewhere: whether a claim was made up shows where both chose the same.
    same = [(claimed, own) for claimed, own, first in pairs if first]
    total = sum(own for _, own in same)
    # len x sum of squares around the mean, so that it stays an integer
    varies = len(same) * sum(own * own for _, own in same) - total * total
    missed = len(same) * sum((claimed - own) ** 2 for claimed, own in same)
    fit_ppm = max(0, (varies - missed) * PPM // varies) if varies else None
    return -(-off // len(pairs)), fit_ppm


def _spread_ppm(evidence: EntrantEvidence) -> int:
    """The part of the time to the last token over which the tokens of an answer arrived.

    The (upper) median over answers. Where several prompts were asked at once, an answer may have
    waited for its turn, which says nothing about how it was streamed: there the quickest answer's
    time stands for every longer one.
    """
    fastest_us = min(answer.wall_us for answer in evidence.answers)
    return median_high(
        [
            _spread_within(answer, fastest_us if evidence.streams > 1 else answer.wall_us)
            for answer in evidence.answers
        ]
    )


def _spread_within(answer: Answer, wall_us: int) -> int:
    if not answer.arrival_us or wall_us <= 0:
        return 0
    return min(PPM, (answer.arrival_us[-1] - answer.arrival_us[0]) * PPM // wall_us)


def _together_us(evidence: EntrantEvidence, gates: GatePolicy) -> int:
    """The widest gap between two tokens that came together: at least ``burst_gap_us``.

    A server that is asked one prompt at a time has nothing to wait for between two tokens, so
    there a gap that is small against the mean gap counts as well, however slow the server is. The
    smallest mean of all answers is taken: one stall of a busy machine stretches the mean of its own
    answer, and must not make a burst of all other tokens in it. With several prompts at once
    others' prefills stretch every mean, and only the absolute gap is looked at.
    """
    if evidence.streams > 1:
        return gates.burst_gap_us
    shares = [
        (answer.arrival_us[-1] - answer.arrival_us[0])
        // (BURST_GAP_PART * (len(answer.arrival_us) - 1))
        for answer in evidence.answers
        if len(answer.arrival_us) >= MIN_TOKENS
    ]
    return max(gates.burst_gap_us, min(shares, default=0))


def _bursts(answer: Answer, together_us: int) -> list[int]:
    """How many tokens came together, burst after burst."""
    if not answer.arrival_us:
        return []
    sizes = [1]
    for earlier, later in pairwise(answer.arrival_us):
        if later - earlier <= together_us:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


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
