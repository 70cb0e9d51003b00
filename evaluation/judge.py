"""From what was measured to a verdict, in integers only (DOMAIN 4; ARCHITECTURE, "Correct").

Pure: the same evidence under the same gates gives the same verdict, whenever and by whomever it is
judged. Speed is not scored here; the verdict carries the paired timings that scoring reads.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from evaluation.entrant import (
    CLAIMED_END,
    EVIDENCE_FORM,
    MIN_TOKENS,
    READABLE_FORMS,
    EntrantEvidence,
    Fault,
    ForcedAnswer,
)
from evaluation.figures import GateFigures, gate_figures, repeat_gain_ppm
from evaluation.gates import Finding, first_finding
from evaluation.lengths import at_most_tokens, baseline_tokens, time_to_us
from ledger.codes import DisqualificationCode
from ledger.gate_policy import GatePolicy

__all__ = (
    "CLAIMED_END",
    "EVIDENCE_FORM",
    "MIN_TOKENS",
    "READABLE_FORMS",
    "EntrantEvidence",
    "EntrantVerdict",
    "Fault",
    "Finding",
    "ForcedAnswer",
    "GateFigures",
    "first_finding",
    "gate_figures",
    "judge",
    "repeat_gain_ppm",
)


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
    claims_ppm: int | None = None
    logprob_delta_milli: int | None = None
    claims_fit_ppm: int | None = None
    burst_ppm: int | None = None
    burst_tokens_milli: int | None = None
    evidence_digest: str = ""


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
    given = [(baseline_tokens(base), at_most_tokens(own)) for base, own in pairs]
    counted = list(zip(pairs, given, strict=True))
    return msgspec.structs.replace(
        verdict,
        baseline_ttft_us=tuple(base.ttft_us for base, _ in pairs),
        baseline_e2e_us=tuple(time_to_us(base, min(n), n[0]) for (base, _), n in counted),
        baseline_tokens=tuple(count for count, _ in given),
        ttft_us=tuple(own.ttft_us for _, own in pairs),
        e2e_us=tuple(time_to_us(own, min(n), n[1]) for (_, own), n in counted),
        tokens=tuple(map(min, given)),
    )
