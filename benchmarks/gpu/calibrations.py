"""The calibrations that A/A bundles give, kept as the documents whose digests policies name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from benchmarks.gpu.catalogue import Entry
from benchmarks.gpu.extract import engine_in, evidence_in, gpu_name, version_in
from benchmarks.gpu.summary import DATA, Summary
from evaluation.bundle import Bundle
from evaluation.calibration import (
    MIN_RUNS,
    Calibration,
    CalibrationFacts,
    calibrate,
    canonical_calibration,
    read_calibration,
)
from evaluation.entrant import EntrantEvidence
from ledger.gate_policy import GatePolicy

_NOT_OF_A_NAME: Final = re.compile(r"[^a-z0-9.]+")


class Gathering:
    """Honest evidence as bundles are read one after another, by model, GPU and engine."""

    def __init__(self) -> None:
        self._runs: dict[CalibrationFacts, list[tuple[str, EntrantEvidence]]] = defaultdict(list)
        self._gates: dict[CalibrationFacts, GatePolicy] = {}
        self._versions: dict[CalibrationFacts, set[str]] = defaultdict(set)

    def add(self, entry: Entry, bundle: Bundle) -> None:
        """Take the runs without a fault that its entry says calibrate, if the bundle counted."""
        wanted = entry.calibrating([part.entrant_id for part in bundle.manifest.entrants])
        if not wanted or bundle.manifest.outcome.status != "completed":
            return
        facts = facts_of(entry, bundle)
        self._gates.setdefault(facts, bundle.manifest.plan.policy.gates)
        self._versions[facts].add(version_in(bundle))
        found = evidence_in(bundle)
        self._runs[facts] += [
            (part.evidence_digest, found[part.entrant_id])
            for part in bundle.manifest.entrants
            if part.entrant_id in wanted and found[part.entrant_id].fault is None
        ]

    def calibrations(self) -> list[Calibration]:
        """One for each model, GPU and engine of which there are enough runs."""
        return [
            calibrate(
                [one for _, one in runs],
                facts,
                gates=self._gates[facts],
                digests=[digest for digest, _ in runs],
                # Facts name the engine with its version, so that runs of several never mix.
                engine_version=", ".join(sorted(self._versions[facts])),
            )
            for facts, runs in self._runs.items()
            if len(runs) >= MIN_RUNS
        ]


def facts_of(entry: Entry, bundle: Bundle) -> CalibrationFacts:
    """What a calibration from this bundle holds for."""
    return CalibrationFacts(
        model=bundle.manifest.plan.model_name,
        gpu=gpu_name(bundle),
        engine=engine_in(entry, bundle),
    )


def calibration_for(
    facts: CalibrationFacts, calibrations: Iterable[Calibration]
) -> Calibration | None:
    """The one that holds for these facts."""
    return next((one for one in calibrations if one.facts == facts), None)


def calibration_of(
    summary: Summary, calibrations: Mapping[str, Calibration]
) -> tuple[str, Calibration] | None:
    """The calibration for a summary's model, GPU and engine, with its digest."""
    facts = CalibrationFacts(model=summary.model, gpu=summary.gpu, engine=summary.engine)
    return next(((digest, one) for digest, one in calibrations.items() if one.facts == facts), None)


def write_calibrations(calibrations: Sequence[Calibration], folder: Path = DATA) -> None:
    """Each as a file of nothing but its document: the file's digest is the calibration's."""
    for one in calibrations:
        said = f"{one.facts.gpu or 'no-gpu'}-{one.facts.model}-{one.facts.engine}".lower()
        name = _NOT_OF_A_NAME.sub("-", said).strip("-.")
        (folder / f"calibration-{name}.json").write_bytes(canonical_calibration(one))


def read_calibrations(folder: Path = DATA) -> dict[str, Calibration]:
    """All documents of the folder by their digest, in the order of their names."""
    found = [path.read_bytes() for path in sorted(folder.glob("calibration-*.json"))]
    return {f"sha256:{sha256(data).hexdigest()}": read_calibration(data) for data in found}
