"""The gates: what a run must be to count, each with its code and a sentence a miner can act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from evaluation.client import Answer
from evaluation.entrant import (
    CLAIMED_END,
    FIRST_EVIDENCE_FORM,
    MIN_TOKENS,
    REACHED_LIMIT,
    EntrantEvidence,
    ForcedAnswer,
)
from evaluation.figures import GateFigures, claimed_ppm
from evaluation.lengths import at_most_tokens, baseline_tokens
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

EXACT_PART: Final = 10
"""A server whose logprobs are the reference's to the last digit may be a tenth of the limit off."""
_FULL_AT: Final = 2
"""From half of the logprobs' limit on, the whole limit on margins holds."""


class Finding(msgspec.Struct, frozen=True):
    """A gate that did not open: its code and one sentence."""

    code: DisqualificationCode | InfrastructureCause
    detail: str


class NoiseLimits(NamedTuple):
    """How far an honest server's tokens and claims may lie from the reference's."""

    min_top1_ppm: int
    max_mean_margin_milli: int
    max_p99_margin_milli: int
    max_logprob_delta_milli: int

    def passes_tokens(self, figures: GateFigures) -> bool:
        """Whether the emitted tokens are the model's own choices, up to noise."""
        return (
            (figures.top1_ppm or 0) >= self.min_top1_ppm
            and (figures.mean_margin_milli or 0) <= self.mean_margin_for(figures)
            and (figures.p99_margin_milli or 0) <= self.max_p99_margin_milli
        )

    def mean_margin_for(self, figures: GateFigures) -> int:
        """The limit on the mean margin for a server as coarse as it says itself.

        Noise that moves choices moves logprobs more: where the claims are nearly the reference's,
        there is no noise that could excuse other choices, and little of the limit is left. Nothing
        is taken off where there are no claims to go by.
        """
        delta_milli, whole = figures.logprob_delta_milli, self.max_mean_margin_milli
        if delta_milli is None or _FULL_AT * delta_milli >= self.max_logprob_delta_milli:
            return whole
        scaled = -(-_FULL_AT * delta_milli * whole // self.max_logprob_delta_milli)
        return max(scaled, -(-whole // EXACT_PART))

    def passes_claims(self, figures: GateFigures) -> bool:
        """Whether the server's own logprobs are the reference's, up to noise; unknown passes."""
        delta_milli = figures.logprob_delta_milli
        return delta_milli is None or delta_milli <= self.max_logprob_delta_milli


def noise_limits(gates: GatePolicy) -> NoiseLimits:
    """The limits under ``gates``, as many times as wide as what they allow needs.

    Rounding weights or cached keys moves margins and logprobs alike; no figure tells which of the
    two was rounded, so that where both are allowed the wider factor counts.
    """
    factor = 1
    if "quantised_kv_cache" in gates.allowed:
        factor = max(factor, gates.quantised_kv_factor)
    if "quantised_weights" in gates.allowed:
        factor = max(factor, gates.quantised_weights_factor)
    return NoiseLimits(
        min_top1_ppm=max(0, PPM - factor * (PPM - gates.min_top1_ppm)),
        max_mean_margin_milli=factor * gates.max_mean_margin_milli,
        max_p99_margin_milli=factor * gates.max_p99_margin_milli,
        max_logprob_delta_milli=factor * gates.max_logprob_delta_milli,
    )


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
        given = baseline_tokens(base)
        least = max(MIN_TOKENS, -(-gates.min_length_ppm * given // PPM))
        if len(own.tokens) < least:
            return Finding(
                DisqualificationCode.TRUNCATED,
                f"prompt {at}: {len(own.tokens)} tokens where the baseline gave "
                f"{given} and at least {least} are asked for",
            )
    return None


def _overlong(
    evidence: EntrantEvidence, _figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    for at, (base, own) in enumerate(zip(evidence.baseline, evidence.answers, strict=True)):
        given, sent = baseline_tokens(base), at_most_tokens(own)
        most = gates.max_length_ppm * given // PPM
        if sent > most:
            return Finding(
                DisqualificationCode.OVERLONG,
                f"prompt {at}: {sent} tokens where the baseline gave "
                f"{given} and at most {most} are allowed",
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


def _quantised(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """Claims that are off and yet follow the reference, or come with tokens that are off as well.

    A server that computes coarsely says so itself: it reports what it computed. It could only hide
    that by computing the right logprobs, too, and then it has nothing to gain.
    """
    limits = noise_limits(gates)
    if limits.passes_claims(figures) or (
        limits.passes_tokens(figures) and not _claims_follow(figures, gates)
    ):
        return None
    return Finding(
        DisqualificationCode.QUANTISED,
        f"the server's own logprobs lie {figures.logprob_delta_milli} milli from the reference's "
        f"in the mean (at most {limits.max_logprob_delta_milli}), as those of weights or a KV "
        "cache of lower precision do; serve the precision that the track's policy allows",
    )


def _claims_follow(figures: GateFigures, gates: GatePolicy) -> bool:
    fit_ppm = figures.claims_fit_ppm
    return fit_ppm is None or fit_ppm >= gates.min_claims_fit_ppm


def _sampler_changed(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    limits = noise_limits(gates)
    if limits.passes_tokens(figures):
        return None
    return Finding(
        DisqualificationCode.SAMPLER_CHANGED,
        f"{figures.top1_ppm or 0} ppm of the tokens are the reference's first choice (at least "
        f"{limits.min_top1_ppm}), mean margin {figures.mean_margin_milli or 0} milli (at most "
        f"{limits.mean_margin_for(figures)}), 99th percentile {figures.p99_margin_milli or 0} "
        f"milli (at most {limits.max_p99_margin_milli}): the model's choices were changed",
    )


def _logprobs_missing(
    evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """Claims are asked for as far as the baseline gives them, one by one for our tokens."""
    if not gates.require_logprobs or figures.claims_ppm is None:
        return None
    least_ppm = gates.min_claims_ppm * (claimed_ppm(evidence.baseline) or 0) // PPM
    if figures.claims_ppm >= least_ppm:
        return None
    return Finding(
        DisqualificationCode.LOGPROBS_MISSING,
        f"{figures.claims_ppm} ppm of the tokens came with a logprob of their own, at least "
        f"{least_ppm} ppm are asked for; send one logprobs entry for each token of the text",
    )


def _logprobs_forged(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """The right tokens with logprobs that no precision explains: they do not follow the model's."""
    limits = noise_limits(gates)
    if limits.passes_claims(figures):
        return None
    return Finding(
        DisqualificationCode.LOGPROBS_FORGED,
        f"the tokens are the model's, but the logprobs sent with them lie "
        f"{figures.logprob_delta_milli} milli from the reference's in the mean (at most "
        f"{limits.max_logprob_delta_milli}) and follow {figures.claims_fit_ppm} ppm of what those "
        f"vary (at least {gates.min_claims_fit_ppm}); report the logprobs that the model computed",
    )


def _end_of_sequence(
    evidence: EntrantEvidence, _figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    """A claimed end must be the reference's too; a near tie is granted as to any other token.

    Without one an answer goes on to the limit that every server is given, so that it can have no
    fewer tokens than the baseline's. Evidence of the first form was judged by claimed ends alone.
    """
    threes = zip(evidence.baseline, evidence.answers, evidence.forced, strict=True)
    for at, (base, own, forced) in enumerate(threes):
        detail = None
        if own.finish_reason == CLAIMED_END:
            detail = _end_claimed_early(own, forced, gates)
        elif evidence.form != FIRST_EVIDENCE_FORM:
            detail = _cut_short(base, own, gates)
        if detail is not None:
            return Finding(DisqualificationCode.TRUNCATED, f"prompt {at}: {detail}")
    return None


def _end_claimed_early(own: Answer, forced: ForcedAnswer, gates: GatePolicy) -> str | None:
    end = forced.end
    if end is None or end.is_first_choice or end.margin_milli <= gates.max_p99_margin_milli:
        return None
    return (
        f"the answer claims its end after {len(own.tokens)} tokens, where the reference goes on "
        f"(margin {end.margin_milli} milli, at most {gates.max_p99_margin_milli})"
    )


def _cut_short(base: Answer, own: Answer, gates: GatePolicy) -> str | None:
    if own.finish_reason != REACHED_LIMIT:
        return (
            f"the answer ends with finish_reason {own.finish_reason[:64]!r}; say "
            f"{CLAIMED_END!r} where the model ended it and {REACHED_LIMIT!r} where max_tokens did"
        )
    recut_ppm = 0 if own.ids_from_server else gates.max_recut_ppm
    given = baseline_tokens(base)
    least = given - -(-recut_ppm * given // PPM)
    if len(own.tokens) >= least:
        return None
    return (
        f"the answer says that it reached max_tokens after {len(own.tokens)} tokens, where the "
        f"baseline gave {given} and at least {least} are asked for"
    )


def _flushed(_evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy) -> Finding | None:
    # Medians over prompts: a stall of ours can bring an honest answer in one chunk.
    if figures.spread_ppm < gates.min_stream_spread_ppm:
        return Finding(
            DisqualificationCode.FLUSHED,
            f"the tokens of an answer arrive within {figures.spread_ppm} ppm of its time; a server "
            f"that streams as it generates needs at least {gates.min_stream_spread_ppm} ppm",
        )
    if figures.burst_ppm is not None and figures.burst_ppm > gates.max_burst_ppm:
        return Finding(
            DisqualificationCode.FLUSHED,
            f"{figures.burst_ppm} ppm of an answer's tokens arrive in one burst (at most "
            f"{gates.max_burst_ppm}); send each token when it is generated",
        )
    return None


def _speculative(
    _evidence: EntrantEvidence, figures: GateFigures, gates: GatePolicy
) -> Finding | None:
    mean_milli = figures.burst_tokens_milli
    if (
        "speculative_decoding" in gates.allowed
        or mean_milli is None
        or mean_milli <= gates.max_burst_tokens_milli
    ):
        return None
    return Finding(
        DisqualificationCode.SPECULATIVE,
        f"tokens arrive {mean_milli} thousandths at a time (at most "
        f"{gates.max_burst_tokens_milli}), as speculative decoding sends them; this track's policy "
        "does not allow it",
    )


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
    _quantised,
    _sampler_changed,
    _end_of_sequence,
    _logprobs_missing,
    _logprobs_forged,
    _flushed,
    _speculative,
    _replayed,
)
