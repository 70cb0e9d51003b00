"""A contest that ran away from the ledger: its bundle is checked and recorded, or refused.

The bundle was found true in itself by :func:`evaluation.bundle.read_bundle`. Here it must also be
of this arena: the contest that the ledger planned for whoever ran it, or one that it would plan now
from what waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal
from uuid import UUID

import msgspec

from evaluation.bundle import Bundle
from evaluation.desk import baseline_of
from evaluation.evidence import Evidence
from evaluation.manifest import read_baseline, track_policy_digest
from evaluation.plan import ContestPlan
from evaluation.recording import Findings, record_completed
from ledger.application import Ledger, Unit
from ledger.commands.contests import first_in_line, plan_in, planned_track
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest, ContestPlanned, Holder
from ledger.decisions.submission import Submission
from ledger.keys import block_key, contest_id
from ledger.observations import BlockObserved
from ledger.policy import TrackPolicy

BY_BUNDLE: Final = "bundle"
"""The session of a claim that a bundle redeems: no evaluator ever has it."""

AD_HOC: Final = Holder("bundle/ad-hoc", BY_BUNDLE)
"""Who holds a contest that nobody had planned here, while it is imported."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a bundle: ``known`` where it was recorded before, by this very bundle.

    ``void`` where it is in the log and counts for nobody, e.g. because evaluation was paused since
    its plan; ``detail`` says why.
    """

    contest_id: str
    track: str
    seed_block: int
    outcome: Literal["recorded", "known", "void"]
    detail: str = ""
    manifest_digest: str
    king_hotkey: str | None


def import_bundle(
    ledger: Ledger,
    bundle: Bundle,
    store: Evidence,
    *,
    waiting: Sequence[UUID],
    url: str | None = None,
) -> Imported:
    """Record the contest of a bundle with its evidence; importing it again changes nothing.

    ``waiting`` are the submissions in the track's queue, in judging order. Raises
    :class:`DecisionRefusedError` with one sentence where the bundle is of another arena, policy,
    seed or other entrants, is void, is older than the track's last attempt, or is of a contest
    that another worker holds. Such a bundle is refused before anything of it is stored. Only where
    another worker records the contest just then, what was stored stays: blobs are shared by
    contests, so nothing is ever taken back.
    """
    manifest = bundle.manifest
    plan = manifest.plan
    if manifest.outcome.status != "completed":
        msg = f"the bundle's contest is void ({manifest.outcome.detail}), so it counts for nobody"
        raise DecisionRefusedError(msg)
    baseline = read_baseline(bundle.get(manifest.baseline_evidence))
    findings = Findings(manifest, bundle.manifest_digest, baseline, url)
    identity = contest_id(ledger.arena, plan.track, plan.seed_block)

    def work(unit: Unit) -> Literal["recorded", "known"]:
        found = unit.get(Contest, identity)
        if found.ended is not None:
            if found.evidence and found.evidence.manifest_digest == bundle.manifest_digest:
                return "known"
            msg = f"contest {identity} is {found.ended} already, by another run than the bundle's"
            raise DecisionRefusedError(msg)
        _must_be_its_block(unit, plan)
        if found.plan is None:
            holder: Holder | None = AD_HOC
            _must_be_its_policy(plan, unit.arena.policy_at(unit.block).tracks.get(plan.track))
            challengers = _challengers(unit, plan, waiting)
            plan_in(
                unit,
                track=plan.track,
                challengers=challengers,
                seed_block=plan.seed_block,
                holder=holder,
                claim_blocks=0,
            )
        else:
            _must_be_its_policy(plan, planned_track(unit.arena, found.plan))
            holder = _redeemed(found)
        _must_be_its_entrants(plan, found.plan)
        record_completed(unit, identity, findings, holder)
        return "recorded"

    _must_be_allowed(ledger, work)
    # Stored before it is recorded, so that no verdict is ever recorded whose evidence is nowhere.
    for blob in (*bundle.blobs.values(), bundle.manifest_bytes):
        store.put(blob)
    outcome = ledger.decide(work)
    voided = ledger.load(Contest, identity).voided
    king = ledger.arena_state().kings.get(plan.track)
    return Imported(
        contest_id=str(identity),
        track=plan.track,
        seed_block=plan.seed_block,
        outcome="void" if voided is not None else outcome,
        detail=voided.detail if voided is not None else "",
        manifest_digest=bundle.manifest_digest,
        king_hotkey=king.hotkey if king else None,
    )


class _AllowedError(Exception):
    """Ends a unit of work that was only tried: nothing of it is recorded."""


def _must_be_allowed(ledger: Ledger, work: Callable[[Unit], object]) -> None:
    """Raise what deciding raises, and record nothing."""

    def tried(unit: Unit) -> None:
        work(unit)
        raise _AllowedError

    with suppress(_AllowedError):
        ledger.decide(tried)


def _must_be_its_block(unit: Unit, plan: ContestPlan) -> None:
    fact = unit.ledger.known(block_key(unit.context.arena, plan.seed_block))
    if not isinstance(fact, BlockObserved):
        msg = (
            f"the bundle's seed block {plan.seed_block} is not in this arena's log; 'contest plan' "
            "draws one that is"
        )
        raise DecisionRefusedError(msg)
    if fact.hash != plan.seed_block_hash:
        msg = (
            f"the bundle's seed is not the hash of block {plan.seed_block} here: it is of another "
            "chain, or was chosen"
        )
        raise DecisionRefusedError(msg)


def _must_be_its_policy(plan: ContestPlan, track: TrackPolicy | None) -> None:
    if track is None:
        msg = f"the bundle's track '{plan.track}' is not in the policy of this arena"
        raise DecisionRefusedError(msg)
    if (
        track_policy_digest(plan.policy) != track_policy_digest(track)
        or plan.model_name != track.model
        or plan.baseline != baseline_of(track.baseline_image)
    ):
        msg = f"the bundle's contest was not run by the policy in force for track '{plan.track}'"
        raise DecisionRefusedError(msg)


def _challengers(unit: Unit, plan: ContestPlan, waiting: Sequence[UUID]) -> list[UUID]:
    """What the first hotkeys in the line committed, whose latest are the bundle's challengers.

    Those are found by their images' digests. Whoever brings a contest that was not planned here
    does not choose who is judged first, nor which of a hotkey's submissions.
    """
    commits = [(one, unit.get(Submission, one).commit) for one in waiting]
    found: list[UUID] = []
    for entrant in plan.entrants:
        if entrant.role != "challenger":
            continue
        own = next(
            (
                one
                for one, commit in commits
                if one not in found and commit and commit.digest == entrant.image.digest
            ),
            None,
        )
        if own is None:
            msg = (
                f"no submission of image {entrant.image.digest} waits on track '{plan.track}', so "
                "the bundle is of other entrants"
            )
            raise DecisionRefusedError(msg)
        found.append(own)
    due = first_in_line(
        lambda one: unit.get(Submission, one).commit, waiting, plan.seed_block, len(found)
    )
    latest = {_hotkey(unit, one): one for one in due}
    if set(latest.values()) != set(found):
        msg = (
            f"the bundle's challengers are not the first in the line of track '{plan.track}', each "
            "with its latest commit; plan the contest here and run that"
        )
        raise DecisionRefusedError(msg)
    return due


def _hotkey(unit: Unit, submission: UUID) -> str | None:
    commit = unit.get(Submission, submission).commit
    return commit.hotkey if commit is not None else None


def _must_be_its_entrants(plan: ContestPlan, planned: ContestPlanned | None) -> None:
    ran = [(entrant.role, entrant.image.digest) for entrant in plan.entrants]
    meant = [(entrant.role, entrant.digest) for entrant in planned.entrants] if planned else []
    if ran != meant:
        msg = (
            f"the bundle's entrants are not those of this arena: it ran {_listed(ran)}, and due "
            f"are {_listed(meant)}"
        )
        raise DecisionRefusedError(msg)


def _listed(entrants: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{role} {digest[:19]}…" for role, digest in entrants) or "nobody"


def _redeemed(contest: Contest) -> Holder | None:
    """The holder that the bundle stands for; another worker's claim is refused when recording."""
    claim = contest.claim
    if claim is None or claim.session != BY_BUNDLE:
        return None
    return Holder(claim.worker, claim.session)
