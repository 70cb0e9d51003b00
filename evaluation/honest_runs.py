"""Runs of servers known to be honest, out of whole contests, and what they were measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from evaluation.calibration import CalibrationError, CalibrationFacts
from evaluation.entrant import EntrantEvidence
from evaluation.evidence import read_evidence
from evaluation.gpu_lines import engine_of, gpu_lines, named_gpus
from evaluation.manifest import ContestEvidence, read_baseline
from ledger.gate_policy import GatePolicy


class Reads(Protocol):
    """Evidence that can be read; a bundle, or a store."""

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``; raises :class:`evaluation.evidence.EvidenceError`."""
        ...


class HonestContest(NamedTuple):
    """A contest whose entrants are known to be honest; ``name`` is what a user calls it."""

    name: str
    manifest: ContestEvidence
    evidence: Reads


class HonestRuns(NamedTuple):
    """The runs and the digests they are stored under, what they hold for, the version of the
    baseline's engine where it said one, the gates they were judged by, and a sentence for each run
    that was left out."""

    runs: tuple[EntrantEvidence, ...]
    digests: tuple[str, ...]
    facts: CalibrationFacts
    version: str | None
    gates: tuple[GatePolicy, ...]
    left_out: tuple[str, ...]


def honest_runs(
    contests: Sequence[HonestContest],
    named: Iterable[str] = (),
    *,
    gpu: str | None = None,
    engine: str | None = None,
) -> HonestRuns:
    """Every entrant of these contests that ended whole, or those that are ``named``, fault and all.

    ``gpu`` and ``engine`` are what to call them in the place of what the evidence says, which is
    empty where none of it says anything. A gate may have refused a run: gates that are too narrow
    are what a calibration mends.

    Raises :class:`CalibrationError` for a void contest, a name that no contest has, and runs of
    different models, GPUs or versions of the engine, also where those of some are unknown;
    :class:`evaluation.evidence.EvidenceError` where evidence is missing or changed.
    """
    wanted, runs, left_out = set(named), [], []
    baselines, digests, places = [], [], []
    for contest in contests:
        outcome = contest.manifest.outcome
        if outcome.status != "completed":
            msg = f"the contest of '{contest.name}' is void ({outcome.void_cause}); leave it out"
            raise CalibrationError(msg)
        baseline = read_baseline(contest.evidence.get(contest.manifest.baseline_evidence))
        baselines.append(baseline)
        count = contest.manifest.plan.policy.contest.limits.gpus
        places.append(named_gpus(count, gpu_lines(baseline.records)))
        for part in contest.manifest.entrants:
            found = read_evidence(contest.evidence.get(part.evidence_digest))
            if wanted and found.entrant_id not in wanted:
                continue
            if found.fault is None or wanted:
                runs.append(found)
                digests.append(part.evidence_digest)
            else:
                why = f"{found.entrant_id} of '{contest.name}' is left out: {found.fault.detail}"
                left_out.append(why)
    missing = wanted - {one.entrant_id for one in runs}
    if missing:
        known = sorted(
            {one.entrant_id for contest in contests for one in contest.manifest.entrants}
        )
        msg = f"no contest here has {', '.join(sorted(missing))}; they have {', '.join(known)}"
        raise CalibrationError(msg)
    if gpu is None:
        gpu = _one("GPUs", places, "--gpu")
    said = [engine_of(one.records) or "" for one in baselines]
    if engine is not None:
        version = said[0] or None if len(set(said)) == 1 else None
    else:
        version = _one("versions of the engine", said, "--engine-name") or None
        engine = engine_words(", ".join(dict.fromkeys(one.image_digest for one in runs)), version)
    return HonestRuns(
        runs=tuple(runs),
        digests=tuple(digests),
        facts=CalibrationFacts(
            model=_one("models", [one.manifest.plan.model_name for one in contests], ""),
            gpu=gpu,
            engine=engine,
        ),
        version=version,
        gates=tuple(dict.fromkeys(one.manifest.plan.policy.gates for one in contests)),
        left_out=tuple(left_out),
    )


def engine_words(image: str, version: str | None) -> str:
    """What a calibration says of the engine: its image, and its version where it is known."""
    return f"{image}, version {version}" if version else image


def _one(what: str, said: Sequence[str], option: str) -> str:
    """What all say; empty where none says anything."""
    known = sorted({one for one in said if one})
    if known and not all(said):
        msg = (
            f"the {what} of some runs are unknown and those of others {'; '.join(known)}; a "
            f"calibration holds for one, so say by {option} what all are, or calibrate each alone"
        )
        raise CalibrationError(msg)
    if len(known) > 1:
        msg = (
            f"the runs are of different {what}: {'; '.join(known)}; a calibration holds for one, "
            "so calibrate each alone"
        )
        raise CalibrationError(msg)
    return known[0] if known else ""
