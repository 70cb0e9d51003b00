"""A whole contest as evidence: one manifest that names everything else by digest.

From the manifest and what it names, anybody recomputes the verdicts, the conditions and who beats
whom; nothing else is needed, no ledger and no machine. :func:`rejudge_contest` does that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from evaluation.client import Answer
from evaluation.conditions import Conditions, conditions_of, unfit
from evaluation.evidence import Evidence, EvidenceError, read_evidence
from evaluation.host import HostFacts
from evaluation.judge import EntrantEvidence, EntrantVerdict, judge
from evaluation.outcome import ContestOutcome, figures_of
from evaluation.pairing import combined
from evaluation.plan import ContestPlan, PlanError, checked
from evaluation.prompts import PromptSet
from evaluation.records import ArmRecord
from evaluation.throne import Throne, throne_of
from evaluation.wholeness import (
    baseline_lacks,
    entrant_lacks,
    order_differs,
    prompts_differ,
)
from ledger.policy import ADDED_LATER, TrackPolicy
from ledger.rules.seed import seed_from_block_hash
from ledger.spelling import spelled

MANIFEST_FORM: Final = "cacheon-contest-evidence/1"
BASELINE_FORM: Final = "cacheon-baseline-evidence/1"


Part = TypeVar("Part", bound=msgspec.Struct)


class BaselineEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline's own answers and records; ``after`` is its second run in a bracketed order."""

    form: str = BASELINE_FORM
    contest_id: str
    prompts_digest: str
    before: tuple[Answer, ...]
    after: tuple[Answer, ...]
    records: tuple[ArmRecord, ...]
    log_tail: str


class EntrantPart(msgspec.Struct, frozen=True, kw_only=True):
    """Where the evidence on one entrant is."""

    entrant_id: str
    evidence_digest: str


class ContestEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest. The plan holds the track's whole policy; its ``model_dir`` is left out, being a
    path of one machine.

    ``prompts_evidence`` is the digest of the prompts themselves, ``policy_digest`` that of the
    track's policy as it is spelled. ``runner`` says what ran the servers, ``client`` what asked
    them. ``outcome`` has no manifest digest: it cannot know it.
    """

    form: str = MANIFEST_FORM
    plan: ContestPlan
    policy_digest: str
    seed: int
    prompts_digest: str
    prompts_evidence: str
    baseline_evidence: str
    entrants: tuple[EntrantPart, ...]
    conditions: Conditions
    runner: dict[str, str]
    client: str
    host_before: HostFacts
    host_after: HostFacts
    outcome: ContestOutcome


class Rejudged(msgspec.Struct, frozen=True, kw_only=True):
    """What a contest comes to, recomputed; ``differences`` are sentences, none where it agrees."""

    verdicts: tuple[EntrantVerdict, ...]
    throne: Throne
    conditions: Conditions
    differences: tuple[str, ...]


def track_policy_digest(track: TrackPolicy) -> str:
    """``sha256:<hex>`` over one track's policy in its one spelling."""
    return "sha256:" + hashlib.sha256(spelled(track, ADDED_LATER)).hexdigest()


def spelled_part(part: ContestEvidence | BaselineEvidence) -> bytes:
    """The one spelling of a part: JSON with sorted keys, every field written out."""
    return msgspec.json.encode(part, order="deterministic")


def read_manifest(data: bytes) -> ContestEvidence:
    """Undo :func:`spelled_part`; raises :class:`EvidenceError` for anything else."""
    manifest = _read(data, ContestEvidence, "contest's manifest")
    if manifest.form != MANIFEST_FORM:
        msg = f"a manifest of the form {manifest.form[:64]!r} cannot be read, only {MANIFEST_FORM}"
        raise EvidenceError(msg)
    return manifest


def read_baseline(data: bytes) -> BaselineEvidence:
    """Undo :func:`spelled_part`; raises :class:`EvidenceError` for anything else."""
    baseline = _read(data, BaselineEvidence, "baseline's evidence")
    if baseline.form != BASELINE_FORM:
        msg = f"evidence of the form {baseline.form[:64]!r} cannot be read, only {BASELINE_FORM}"
        raise EvidenceError(msg)
    return baseline


def read_prompts(data: bytes) -> PromptSet:
    """The prompts that were kept; raises :class:`EvidenceError` for anything else."""
    return _read(data, PromptSet, "contest's prompts")


def digests_of(manifest: ContestEvidence) -> tuple[str, ...]:
    """Everything that the manifest names, each once, in its order."""
    named = [manifest.prompts_evidence, manifest.baseline_evidence]
    named += [part.evidence_digest for part in manifest.entrants]
    return tuple(dict.fromkeys(named))


def rejudge_contest(store: Evidence, digest: str) -> Rejudged:
    """Recompute a contest from its manifest's digest and what ``store`` holds.

    Raises :class:`EvidenceError` where something is missing, changed, or contradicts itself in a
    way that leaves nothing to compute. A verdict that comes out otherwise is a difference.
    """
    return rejudge_manifest(store, read_manifest(store.get(digest)))


def rejudge_manifest(store: Evidence, manifest: ContestEvidence) -> Rejudged:
    """As :func:`rejudge_contest`, for a manifest that was read."""
    plan, outcome = manifest.plan, manifest.outcome
    differences = _stated_wrongly(manifest)
    baseline = read_baseline(store.get(manifest.baseline_evidence))
    contest = plan.policy.contest
    prompts = read_prompts(store.get(manifest.prompts_evidence))
    differences += prompts_differ(prompts, contest, manifest.seed, manifest.prompts_digest)
    verdicts: list[EntrantVerdict] = []
    records: dict[str, ArmRecord] = {}
    whole_arms: dict[str, ArmRecord] = {}
    paired = _paired(baseline)
    for part in manifest.entrants:
        found = read_evidence(store.get(part.evidence_digest))
        differences += _belongs(found, manifest, part.entrant_id, baseline, paired)
        if found.record is None:
            differences.append(f"the evidence on {part.entrant_id} has no record of its run")
        else:
            records[part.entrant_id] = found.record
            if found.fault is None:
                whole_arms[part.entrant_id] = found.record
        if outcome.status == "completed":
            differences += entrant_lacks(found, contest, prompts)
            verdicts.append(_judged(found, manifest, part.evidence_digest))
    if outcome.status == "completed":
        differences += baseline_lacks(
            plan,
            baseline.before,
            baseline.after,
            baseline.records,
            anybody_whole=bool(whole_arms),
        )
        ran = baseline.records[0] if baseline.records and whole_arms else None
        differences += order_differs(plan, manifest.seed, ran, whole_arms)
    conditions = conditions_of(
        contest,
        baseline.before,
        baseline.after,
        baseline.records,
        list(records.values()),
    )
    if conditions != manifest.conditions:
        differences.append("the conditions of the round are not those that follow from its blocks")
    reason = unfit(conditions, contest)
    if reason is not None and outcome.status == "completed":
        differences.append(f"the round counts although {reason[1]}")
    stated = {verdict.entrant_id: verdict for verdict in outcome.verdicts}
    for verdict in verdicts:
        if stated.get(verdict.entrant_id) != verdict:
            differences.append(
                f"the verdict on {verdict.entrant_id} follows as "
                f"{verdict.code or verdict.status} and is stated otherwise"
            )
    if len(stated) != len(verdicts):
        differences.append(f"{len(stated)} verdicts are stated and {len(verdicts)} follow")
    differences += _figures_differ(outcome, paired, records)
    whole = len(verdicts) == len(plan.entrants)
    return Rejudged(
        verdicts=tuple(verdicts),
        throne=throne_of(plan, verdicts, manifest.seed) if whole else Throne(),
        conditions=conditions,
        differences=tuple(differences),
    )


def _stated_wrongly(manifest: ContestEvidence) -> list[str]:
    """What the manifest says of itself and cannot be so."""
    plan, outcome, found = manifest.plan, manifest.outcome, []
    try:
        checked(plan)
        seed = seed_from_block_hash(plan.seed_block_hash)
    except (PlanError, ValueError) as error:
        msg = f"the plan of contest {plan.contest_id[:64]!r} cannot be: {error}"
        raise EvidenceError(msg) from error
    if {manifest.seed, outcome.seed} != {seed}:
        found.append("the seed does not follow from the hash of the seed block")
    if manifest.policy_digest != track_policy_digest(plan.policy):
        found.append("the policy's digest is not that of the policy in the plan")
    if outcome.contest_id != plan.contest_id:
        found.append("the outcome is another contest's")
    if outcome.prompts_digest != manifest.prompts_digest:
        found.append("the outcome's prompts are not the manifest's")
    if [part.entrant_id for part in manifest.entrants] != [
        entrant.entrant_id for entrant in plan.entrants
    ]:
        found.append("the evidence is not on the plan's entrants, one each, in their order")
    return found


def _figures_differ(
    outcome: ContestOutcome, paired: tuple[Answer, ...], records: Mapping[str, ArmRecord]
) -> list[str]:
    """What the outcome says beside its verdicts, against what follows from the evidence."""
    found = []
    completed = outcome.status == "completed"
    if completed != (outcome.void_cause is None) or (outcome.verdicts and not completed):
        found.append("a void round has a cause and no verdicts, and this outcome is neither")
    if outcome.baseline != (figures_of(paired) if completed else None):
        found.append("the baseline's figures are not those that follow from its answers")
    if outcome.gpu_ms != {name: record.gpu_ms for name, record in records.items()}:
        found.append("the machine time is not the one recorded")
    images = {name: record.image for name, record in records.items() if record.image is not None}
    if outcome.images != images:
        found.append("the images' facts are not those recorded")
    return found


def _paired(baseline: BaselineEvidence) -> tuple[Answer, ...]:
    try:
        return combined(baseline.before, baseline.after)
    except ValueError:
        return ()  # a second run that broke off: the round is void and nobody was paired


def _belongs(
    found: EntrantEvidence,
    manifest: ContestEvidence,
    entrant_id: str,
    baseline: BaselineEvidence,
    paired: tuple[Answer, ...],
) -> list[str]:
    """Whether the evidence is on this entrant of this contest, beside this baseline."""
    plan = manifest.plan
    planned = {entrant.entrant_id: entrant for entrant in plan.entrants}.get(entrant_id)
    if planned is None:
        return [f"the evidence on {entrant_id[:64]!r} is on nobody of the plan"]
    facts = (
        ("contest", found.contest_id, plan.contest_id),
        ("track", found.track, plan.track),
        ("attempt", found.attempt, plan.attempt),
        ("seed block", found.seed_block_hash, plan.seed_block_hash),
        ("prompts", {found.prompts_digest, baseline.prompts_digest}, {manifest.prompts_digest}),
        ("model", found.model_name, plan.model_name),
        ("baseline image", found.baseline_image, str(plan.baseline)),
        ("entrant", found.entrant_id, planned.entrant_id),
        ("hotkey", found.hotkey, planned.hotkey),
        ("role", found.role, planned.role),
        ("image", found.image_digest, planned.image.digest),
        ("baseline", found.baseline, paired),
        ("baseline's contest", baseline.contest_id, plan.contest_id),
    )
    return [
        f"the evidence on {entrant_id} is about another {what} than the contest's"
        for what, own, asked in facts
        if own != asked
    ]


def _judged(found: EntrantEvidence, manifest: ContestEvidence, digest: str) -> EntrantVerdict:
    try:
        return judge(found, manifest.plan.policy.gates, evidence_digest=digest)
    except ValueError as error:
        msg = f"the evidence {digest} cannot be judged: {error}"
        raise EvidenceError(msg) from error


def _read(data: bytes, kind: type[Part], what: str) -> Part:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"these bytes are no {what}: {error}"
        raise EvidenceError(msg) from error
