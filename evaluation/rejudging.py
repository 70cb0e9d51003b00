"""A recorded verdict computed again from its evidence alone, and held against the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from evaluation.evidence import Evidence, EvidenceError, read_evidence
from evaluation.judge import EntrantEvidence, EntrantVerdict, judge
from evaluation.manifest import read_manifest, rejudge_manifest
from evaluation.recording import measured_as
from ledger.application import Ledger
from ledger.commands.contests import Judgement, judgement_of, planned_track
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import (
    Contest,
    ContestCompleted,
    ContestJudged,
    ContestPlanned,
    EntrantMeasured,
    EvidenceSealed,
    PlannedEntrant,
)
from ledger.facts import Fact
from ledger.policy import TrackPolicy
from ledger.standing_before import StandingBefore

_NOT_OF_THE_VERDICT: Final = frozenset({"submission_id", "hotkey", "evidence_digest"})


class Difference(msgspec.Struct, frozen=True):
    """Where the log says other than the evidence. ``hotkey`` is None for the contest as a whole."""

    hotkey: str | None
    what: str
    recorded: str
    recomputed: str


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """A contest judged again; it agrees with the log where there is no difference."""

    contest_id: str
    track: str
    entrants: int
    agrees: bool
    differences: tuple[Difference, ...]


def rejudge_contest(ledger: Ledger, contest: UUID, store: Evidence) -> Rejudged:
    """Judge a completed contest again from the evidence in ``store``, by the policy of its plan.

    Gates, paired times, scores, intervals, reasons and the throne are computed anew and compared
    with what is recorded. Raises :class:`EvidenceError` where evidence is missing, changed or of
    another contest, :class:`DecisionRefusedError` where there is no verdict to be judged again.
    """
    facts = [cast("Fact", fact) for fact in ledger.events.get(contest)]
    plan = _only(facts, ContestPlanned)
    judged, completed = _only(facts, ContestJudged), _only(facts, ContestCompleted)
    if plan is None or judged is None or completed is None:
        what = "has no verdict: it is open or void" if plan else "is unknown here; see 'contests'"
        msg = f"contest {contest} {what}"
        raise DecisionRefusedError(msg)
    before = StandingBefore(ledger, judged)
    track = planned_track(before.arena, plan)
    found = before.get(Contest, contest)
    differences = list(_of_the_manifest(_only(facts, EvidenceSealed), plan, found, store))
    recomputed: dict[UUID, EntrantMeasured] = {}
    for entrant in plan.entrants:
        recorded = found.measured[entrant.submission_id]
        verdict = _verdict(plan, entrant, recorded, track, store)
        again = _as_measured(recorded, verdict)
        recomputed[entrant.submission_id] = again
        differences += _between(entrant.hotkey, recorded.content(), again.content())
    found.measured = recomputed
    differences += _of_the_judgement(judgement_of(before, found, plan, track), judged, completed)
    return Rejudged(
        contest_id=str(contest),
        track=plan.track,
        entrants=len(plan.entrants),
        agrees=not differences,
        differences=tuple(differences),
    )


def _only(facts: list[Fact], kind: type[Any]) -> Any:
    return next((fact for fact in facts if isinstance(fact, kind)), None)


def _of_the_manifest(
    sealed: EvidenceSealed | None, plan: ContestPlanned, contest: Contest, store: Evidence
) -> Iterator[Difference]:
    """The manifest is of this contest, names the same evidence, and follows from it."""
    if sealed is None:
        return  # of before manifests
    manifest = read_manifest(store.get(sealed.manifest_digest))
    pairs: tuple[tuple[str, object, object], ...] = (
        ("seed block", plan.seed_block_hash, manifest.plan.seed_block_hash),
        (
            "entrants",
            [(entrant.role, entrant.digest) for entrant in plan.entrants],
            [(entrant.role, entrant.image.digest) for entrant in manifest.plan.entrants],
        ),
        (
            "evidence",
            [contest.measured[entrant.submission_id].evidence_digest for entrant in plan.entrants],
            [part.evidence_digest for part in manifest.entrants],
        ),
    )
    for what, recorded, sealed_there in pairs:
        if recorded != sealed_there:
            yield Difference(None, f"manifest: {what}", str(recorded), str(sealed_there))
    for sentence in rejudge_manifest(store, manifest).differences:
        yield Difference(None, "manifest", "sealed", sentence)


def _verdict(
    plan: ContestPlanned,
    entrant: PlannedEntrant,
    recorded: EntrantMeasured,
    track: TrackPolicy,
    store: Evidence,
) -> EntrantVerdict:
    if recorded.evidence_digest is None:
        msg = f"the measurement of {entrant.hotkey} names no evidence, so it cannot be judged again"
        raise EvidenceError(msg)
    evidence = read_evidence(store.get(recorded.evidence_digest))
    _must_be_of(evidence, recorded, plan, entrant)
    return judge(evidence, track.gates, evidence_digest=recorded.evidence_digest)


def _must_be_of(
    evidence: EntrantEvidence,
    recorded: EntrantMeasured,
    plan: ContestPlanned,
    entrant: PlannedEntrant,
) -> None:
    """Evidence of another round or image would judge whoever it is of."""
    theirs = (evidence.seed_block_hash, evidence.track, evidence.role, evidence.image_digest)
    ours = (plan.seed_block_hash, plan.track, entrant.role, entrant.digest)
    if theirs != ours:
        msg = (
            f"evidence {recorded.evidence_digest} is of entrant {evidence.entrant_id} in contest "
            f"{evidence.contest_id}, not of {entrant.hotkey} in this one"
        )
        raise EvidenceError(msg)


def _as_measured(recorded: EntrantMeasured, verdict: EntrantVerdict) -> EntrantMeasured:
    """The fact that this verdict would have been recorded as."""
    return msgspec.structs.replace(recorded, **measured_as(verdict))


def _between(
    hotkey: str, recorded: Mapping[str, object], again: Mapping[str, object]
) -> Iterator[Difference]:
    for name, value in recorded.items():
        if name not in _NOT_OF_THE_VERDICT and again[name] != value:
            yield Difference(hotkey, name, str(value), str(again[name]))


def _of_the_judgement(
    judgement: Judgement, judged: ContestJudged, completed: ContestCompleted
) -> Iterator[Difference]:
    for recorded, again in zip(judged.verdicts, judgement.verdicts, strict=True):
        yield from _between(recorded.hotkey, asdict(recorded), asdict(again))
    if judged.reasons != judgement.reasons:
        yield Difference(None, "reasons", "; ".join(judged.reasons), "; ".join(judgement.reasons))
    if completed.king_hotkey != judgement.king_hotkey:
        yield Difference(None, "king", str(completed.king_hotkey), str(judgement.king_hotkey))
