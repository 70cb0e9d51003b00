"""What a completed contest says, as facts of the ledger: measurements, evidence, then the verdict.

One unit of work, whoever ran the contest: the evaluator beside the ledger, or a bundle from afar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low
from typing import Final
from uuid import UUID

import msgspec

from evaluation.evidence import Evidence
from evaluation.gpu_lines import engine_of, gpu_lines, gpus_unknown, in_one_line, strangers_in_words
from evaluation.judge import EntrantVerdict
from evaluation.manifest import BaselineEvidence, ContestEvidence, read_baseline, read_manifest
from evaluation.runners.port import ImageFacts
from ledger.application import Unit
from ledger.commands.causes import after
from ledger.commands.contests import complete_in
from ledger.decisions.contest import Contest, ContestPlanned, Holder, SealedArm

GPU_STRANGERS: Final = "processes of others on the GPUs"
"""The name of that fact among those of the host."""


@dataclass(frozen=True, slots=True)
class Findings:
    """A completed contest's manifest, its digest, and the evidence on its baseline. ``url`` is
    where others may have all of it."""

    manifest: ContestEvidence
    digest: str
    baseline: BaselineEvidence
    url: str | None = None

    @classmethod
    def read(cls, store: Evidence, digest: str, url: str | None = None) -> Findings:
        """Those of a manifest in ``store``; raises :class:`evaluation.evidence.EvidenceError`."""
        manifest = read_manifest(store.get(digest))
        baseline = read_baseline(store.get(manifest.baseline_evidence))
        return cls(manifest, digest, baseline, url)

    @property
    def host(self) -> dict[str, str]:
        """The machine with its GPUs, its runner, its client and the baseline's engine in pairs of a
        name and a text."""
        facts = {
            name: "unknown" if value is None else str(value)
            for name, value in msgspec.structs.asdict(self.manifest.host_before).items()
        }
        records = self.baseline.records
        gpus = {f"gpu {line.index}": in_one_line(line) for line in gpu_lines(records)}
        return {
            **facts,
            "client": self.manifest.client,
            "engine version": engine_of(records) or "unknown",
            **(gpus or {"gpus": f"unknown: {gpus_unknown(records)}"}),
            GPU_STRANGERS: strangers_in_words(self.manifest.conditions.strangers),
            **self.manifest.runner,
        }


def record_completed(
    unit: Unit, contest: UUID, findings: Findings, holder: Holder | None = None
) -> None:
    """Record a contest that was planned, and judge it. The entrants of the manifest's plan are
    those of the ledger's, in its order; refused to everybody but the holder of the claim."""
    found, outcome = unit.get(Contest, contest), findings.manifest.outcome
    if found.plan is None or outcome.baseline is None:
        msg = f"contest {contest} was completed without a plan or a baseline: this is a defect"
        raise AssertionError(msg)
    figures = outcome.baseline
    found.measure_baseline(
        after(unit, found),
        holder=holder,
        image=str(findings.manifest.plan.baseline),
        prompts=len(figures.e2e_us),
        prompts_digest=outcome.prompts_digest,
        median_ttft_us=median_low(figures.ttft_us),
        median_e2e_us=median_low(figures.e2e_us),
        median_tokens=median_low(figures.tokens),
    )
    for entrant, verdict in zip(found.plan.entrants, outcome.verdicts, strict=True):
        found.measure(
            after(unit, found),
            entrant.submission_id,
            holder=holder,
            hotkey=entrant.hotkey,
            **measured_as(verdict),
        )
    conditions = findings.manifest.conditions
    found.seal(
        after(unit, found),
        holder=holder,
        manifest_digest=findings.digest,
        url=findings.url,
        calibration=findings.manifest.plan.policy.calibration or None,
        client_lag_p99_us=conditions.client_lag_p99_us,
        drift_ppm=conditions.drift_ppm,
        clock_drift_ppm=conditions.clock_drift_ppm,
        host=tuple(sorted(findings.host.items())),
        arms=_arms(found.plan, findings),
    )
    complete_in(unit, contest, holder=holder)


def measured_as(verdict: EntrantVerdict) -> dict[str, object]:
    """A verdict as the fact of an entrant's measurement says it."""
    return {
        "status": verdict.status,
        "code": verdict.code or None,
        "detail": verdict.detail,
        "log_tail": verdict.log_tail,
        "evidence_digest": verdict.evidence_digest or None,
        "baseline_ttft_us": verdict.baseline_ttft_us,
        "baseline_e2e_us": verdict.baseline_e2e_us,
        "baseline_tokens": verdict.baseline_tokens,
        "ttft_us": verdict.ttft_us,
        "e2e_us": verdict.e2e_us,
        "tokens": verdict.tokens,
        "top1_ppm": verdict.top1_ppm,
        "mean_margin_milli": verdict.mean_margin_milli,
        "p99_margin_milli": verdict.p99_margin_milli,
        "spread_ppm": verdict.spread_ppm,
        "repeat_gain_ppm": verdict.repeat_gain_ppm,
    }


def _arms(plan: ContestPlanned, findings: Findings) -> tuple[SealedArm, ...]:
    """The baseline and every entrant with what is known of their images and machine time."""
    ran, outcome = findings.manifest.plan, findings.manifest.outcome
    records = findings.baseline.records
    images: Mapping[str, ImageFacts] = outcome.images
    arms = [
        _arm(
            "baseline",
            None,
            str(ran.baseline),
            next((record.image for record in records if record.image is not None), None),
            sum(record.gpu_ms for record in records) if records else None,
        )
    ]
    for entrant, own in zip(plan.entrants, ran.entrants, strict=True):
        name = own.entrant_id
        facts, gpu_ms = images.get(name), outcome.gpu_ms.get(name)
        arms.append(_arm(entrant.role, entrant.submission_id, str(own.image), facts, gpu_ms))
    return tuple(arms)


def _arm(
    role: str, submission: UUID | None, image: str, facts: ImageFacts | None, gpu_ms: int | None
) -> SealedArm:
    return SealedArm(
        role=role,
        submission_id=submission,
        image=image,
        fingerprint=facts.fingerprint if facts else None,
        bytes=facts.bytes if facts else None,
        gpu_ms=gpu_ms,
    )
