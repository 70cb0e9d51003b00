"""Bundles of contests that ran elsewhere: recorded once, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace as changed_bundle
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from entrant_evidence import answer, evidence
from imagined_contest import changed, prompts_of, record

from evaluation.bundle import Bundle, read_bundle, write_bundle
from evaluation.conditions import conditions_of
from evaluation.desk import plan_of
from evaluation.evidence import EvidenceStore, canonical, digest_of
from evaluation.host import host_facts
from evaluation.images import ImageRef
from evaluation.importing import BY_BUNDLE, Imported, import_bundle
from evaluation.judge import judge
from evaluation.manifest import (
    BaselineEvidence,
    ContestEvidence,
    EntrantPart,
    spelled_part,
    track_policy_digest,
)
from evaluation.outcome import BaselineFigures, ContestOutcome
from evaluation.plan import ContestPlan, PlannedEntrant
from evaluation.rejudging import rejudge_contest
from ledger.codes import VoidCause
from ledger.commands.arena import adopt_policy, pause
from ledger.commands.contests import plan_contest, void_contest
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import (
    ContestJudged,
    ContestPlanned,
    ContestVoided,
    EntrantMeasured,
    EvidenceSealed,
    Holder,
)
from ledger.decisions.submission import Submission
from ledger.rules.seed import seed_from_block_hash
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import TRACK, Scene, block_hash, policy

REMOTE = Holder("remote", BY_BUNDLE)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    yield Scene(engine)
    engine.dispose()


def bundle_of(plan: ContestPlan, folder: Path, **outcome: Any) -> Bundle:
    """A whole and true bundle of a contest by that plan, each entrant faster than the last."""
    folder.mkdir(parents=True, exist_ok=True)
    store = EvidenceStore(folder / "far")
    seed = seed_from_block_hash(plan.seed_block_hash)
    before = (answer(20, step_us=500), answer(20, step_us=400))
    prompts, contest = prompts_of(plan), plan.policy.contest
    parts, verdicts = [], []
    for place, entrant in enumerate(plan.entrants):
        own = answer(20, step_us=300 - 30 * place)
        found = evidence(
            contest_id=plan.contest_id,
            track=plan.track,
            attempt=plan.attempt,
            seed_block=plan.seed_block,
            seed_block_hash=plan.seed_block_hash,
            prompts_digest=prompts.digest,
            model_name=plan.model_name,
            baseline_image=str(plan.baseline),
            entrant_id=entrant.entrant_id,
            hotkey=entrant.hotkey,
            role=entrant.role,
            image_digest=entrant.image.digest,
            answers=(own, own),
            repeated=prompts.repeated,
            repeats=(own,) * len(prompts.repeated),
            controls=(answer(20),) * len(prompts.repeated),
            streams=contest.streams,
            baseline=before,
            record=record(entrant.role, contest=contest),
        )
        digest = store.put(canonical(found))
        parts.append(EntrantPart(entrant_id=entrant.entrant_id, evidence_digest=digest))
        verdicts.append(judge(found, plan.policy.gates, evidence_digest=digest))
    baseline = BaselineEvidence(
        contest_id=plan.contest_id,
        prompts_digest=prompts.digest,
        before=before,
        after=(),
        records=(record("baseline", contest=contest),),
        log_tail="",
    )
    fields: dict[str, Any] = {
        "contest_id": plan.contest_id,
        "status": "completed",
        "seed": seed,
        "prompts_digest": prompts.digest,
        "baseline": BaselineFigures(
            ttft_us=tuple(one.ttft_us for one in before),
            e2e_us=tuple(one.wall_us for one in before),
            tokens=(20, 20),
        ),
        "verdicts": tuple(verdicts),
        "gpu_ms": {entrant.entrant_id: 5 for entrant in plan.entrants},
    }
    manifest = ContestEvidence(
        plan=plan,
        policy_digest=track_policy_digest(plan.policy),
        seed=seed,
        prompts_digest=prompts.digest,
        prompts_evidence=store.put(msgspec.json.encode(prompts)),
        baseline_evidence=store.put(spelled_part(baseline)),
        entrants=tuple(parts),
        conditions=conditions_of(
            plan.policy.contest,
            before,
            (),
            baseline.records,
            [record(entrant.role, contest=contest) for entrant in plan.entrants],
        ),
        runner={"runner": "process"},
        client="somebody",
        host_before=host_facts(),
        host_after=host_facts(),
        outcome=ContestOutcome(**(fields | outcome)),
    )
    write_bundle(folder / "bundle", store, store.put(spelled_part(manifest)))
    return read_bundle(folder / "bundle")


def ad_hoc(scene: Scene, seed_block: int, *submissions: UUID, king: UUID | None = None) -> Any:
    """What somebody would run who knows the chain and no ledger: names of their own."""
    entrants = [] if king is None else [("king", king)]
    entrants += [("challenger", one) for one in submissions]
    track = scene.rules.tracks[TRACK]
    planned = []
    for place, (role, submission) in enumerate(entrants):
        commit = scene.ledger.load(Submission, submission).commit
        assert commit is not None
        assert commit.digest is not None
        planned.append(
            PlannedEntrant(
                entrant_id=f"entrant-{place}",
                hotkey="",
                role=role,  # type: ignore[arg-type]  # the words above are roles
                image=ImageRef("", commit.digest),
            )
        )
    return ContestPlan(
        contest_id="run by hand",
        track=TRACK,
        attempt=1,
        seed_block=seed_block,
        seed_block_hash=block_hash(seed_block),
        policy=track,
        model_dir="",
        model_name=track.model,
        baseline=ImageRef("", track.baseline_image),
        entrants=tuple(planned),
    )


def imported(scene: Scene, bundle: Bundle, folder: Path, waiting: Sequence[UUID] = ()) -> Imported:
    """Import it, and see that nothing of it is stored where it is refused."""
    here = folder / "here"
    before = set(here.rglob("*"))
    try:
        return import_bundle(scene.ledger, bundle, EvidenceStore(here), waiting=waiting)
    except DecisionRefusedError:
        assert set(here.rglob("*")) == before
        raise


def test_a_contest_planned_for_a_remote_worker_is_recorded_from_its_bundle_once(
    scene: Scene, tmp_path: Path
) -> None:
    submissions = [scene.submit("A"), scene.submit("B")]
    contest = plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=submissions,
        seed_block=scene.block(),
        holder=REMOTE,
        claim_blocks=50,
    )
    bundle = bundle_of(plan_of(scene.ledger, contest, ""), tmp_path)
    done = imported(scene, bundle, tmp_path)
    assert (done.outcome, done.contest_id, done.king_hotkey) == ("recorded", str(contest), "B")
    before = scene.log()
    again = imported(scene, bundle, tmp_path)
    assert again == changed(done, outcome="known")
    assert scene.log() == before
    assert len(scene.facts(ContestJudged)) == 1
    rejudged = rejudge_contest(scene.ledger, contest, EvidenceStore(tmp_path / "here"))
    assert rejudged.differences == ()


def test_a_bundle_of_a_contest_over_which_evaluation_was_paused_is_void(
    scene: Scene, tmp_path: Path
) -> None:
    contest = plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[scene.submit("A")],
        seed_block=scene.block(),
        holder=REMOTE,
        claim_blocks=50,
    )
    bundle = bundle_of(plan_of(scene.ledger, contest, ""), tmp_path)
    scene.block()
    pause(scene.ledger, "evaluation", reason="exploit", actor="op")
    for _ in range(2):
        done = imported(scene, bundle, tmp_path)
        assert (done.outcome, done.king_hotkey) == ("void", None)
        assert done.detail == scene.facts(ContestVoided)[0].detail


def test_an_ad_hoc_run_of_what_is_due_is_planned_and_recorded_at_once(
    scene: Scene, tmp_path: Path
) -> None:
    king = scene.submit("A")
    scene.contest({king: 500})
    challenger = scene.submit("B")
    plan = ad_hoc(scene, scene.block(), challenger, king=king)
    bundle = bundle_of(plan, tmp_path)
    done = imported(scene, bundle, tmp_path, [challenger])
    assert (done.outcome, done.king_hotkey) == ("recorded", "B")
    planned, sealed = scene.facts(ContestPlanned)[-1], scene.facts(EvidenceSealed)[-1]
    assert [one.submission_id for one in planned.entrants] == [king, challenger]
    assert [arm.submission_id for arm in sealed.arms] == [None, king, challenger]
    assert [arm.gpu_ms for arm in sealed.arms] == [5, 5, 5]
    measured = {fact.submission_id for fact in scene.facts(EntrantMeasured)}
    assert measured >= {king, challenger}
    store = EvidenceStore(tmp_path / "here")
    assert rejudge_contest(scene.ledger, planned.originator_id, store).differences == ()
    before = scene.log()
    assert imported(scene, bundle, tmp_path).outcome == "known"
    assert scene.log() == before


def test_a_verdict_in_the_log_that_its_evidence_does_not_give_is_a_difference(
    scene: Scene, tmp_path: Path
) -> None:
    """The log is made by somebody who records other figures than the evidence says."""
    submission = scene.submit("A")
    plan = ad_hoc(scene, scene.block(), submission)
    bundle = bundle_of(plan, tmp_path)
    verdict = bundle.manifest.outcome.verdicts[0]
    faster = changed(verdict, e2e_us=tuple(one // 2 for one in verdict.e2e_us), top1_ppm=1)
    lying = changed(bundle.manifest, outcome=changed(bundle.manifest.outcome, verdicts=(faster,)))
    forged = changed_bundle(bundle, manifest=lying)
    store = EvidenceStore(tmp_path / "here")
    store.put(spelled_part(bundle.manifest))
    done = import_bundle(scene.ledger, forged, store, waiting=[submission])
    rejudged = rejudge_contest(scene.ledger, UUID(done.contest_id), store)
    assert not rejudged.agrees
    assert {(one.hotkey, one.what) for one in rejudged.differences} >= {
        ("A", "e2e_us"),
        ("A", "top1_ppm"),
        ("A", "score_ppm"),
        (None, "reasons"),
    }


def test_who_imports_an_unplanned_contest_does_not_choose_who_is_in_it(
    scene: Scene, tmp_path: Path
) -> None:
    older, other, newer = scene.submit("A"), scene.submit("B"), scene.submit("A")
    waiting, block = [older, other, newer], scene.block()
    for place, chosen in enumerate(([older], [newer], [older, other])):
        bundle = bundle_of(ad_hoc(scene, block, *chosen), tmp_path / str(place))
        with pytest.raises(DecisionRefusedError, match="are not the first"):
            imported(scene, bundle, tmp_path, waiting)
    bundle = bundle_of(ad_hoc(scene, block, other), tmp_path / "due")
    assert imported(scene, bundle, tmp_path, waiting).outcome == "recorded"


def test_a_manifest_spelled_otherwise_can_be_judged_again_from_what_was_stored(
    scene: Scene, tmp_path: Path
) -> None:
    submission = scene.submit("A")
    bundle = bundle_of(ad_hoc(scene, scene.block(), submission), tmp_path)
    spelled = bundle.manifest_bytes + b" "
    other = changed_bundle(bundle, manifest_bytes=spelled, manifest_digest=digest_of(spelled))
    done = imported(scene, other, tmp_path, [submission])
    store = EvidenceStore(tmp_path / "here")
    assert rejudge_contest(scene.ledger, UUID(done.contest_id), store).differences == ()


Forge = Callable[[Scene, ContestPlan], ContestPlan]


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (lambda _, plan: changed(plan, seed_block_hash="0x" + "cd" * 32), "not the hash of block"),
        (lambda scene, plan: changed(plan, seed_block=scene.head + 1), "not in this arena's log"),
        (lambda _, plan: changed(plan, track="other"), "is not in the policy"),
        (lambda _, plan: changed(plan, model_name="other"), "by the policy in force"),
        (
            lambda _, plan: changed(plan, baseline=ImageRef("", "sha256:" + "d" * 64)),
            "by the policy in force",
        ),
        (
            lambda _, plan: changed(
                plan, policy=changed(plan.policy, gates=changed(plan.policy.gates, min_top1_ppm=1))
            ),
            "by the policy in force",
        ),
        (lambda _, plan: changed(plan, entrants=plan.entrants[:1]), "nothing to contest"),
        (
            lambda _, plan: changed(
                plan,
                entrants=(
                    *plan.entrants[:1],
                    changed(plan.entrants[1], image=ImageRef("", "sha256:" + "e" * 64)),
                ),
            ),
            "of other entrants",
        ),
    ],
    ids=["hash", "block", "track", "model", "baseline", "gates", "no-challenger", "stranger"],
)
def test_a_bundle_of_another_contest_than_the_due_one_is_refused(
    scene: Scene, tmp_path: Path, forge: Forge, why: str
) -> None:
    king = scene.submit("A")
    scene.contest({king: 500})
    challenger = scene.submit("B")
    plan = forge(scene, ad_hoc(scene, scene.block(), challenger, king=king))
    before = scene.log()
    with pytest.raises(DecisionRefusedError, match=why):
        imported(scene, bundle_of(plan, tmp_path), tmp_path, [challenger])
    assert scene.log() == before


def test_a_bundle_that_leaves_out_the_king_is_refused(scene: Scene, tmp_path: Path) -> None:
    scene.contest({scene.submit("A"): 500})
    challenger = scene.submit("B")
    plan = ad_hoc(scene, scene.block(), challenger)
    with pytest.raises(DecisionRefusedError, match="not those of this arena: it ran challenger"):
        imported(scene, bundle_of(plan, tmp_path), tmp_path, [challenger])


@pytest.mark.parametrize("ran", ["second", "older"])
def test_an_ad_hoc_bundle_does_not_choose_who_is_judged(
    scene: Scene, tmp_path: Path, ran: str
) -> None:
    older, second = scene.submit("A", "a1"), scene.submit("B")
    newer = scene.submit("A", "a2")
    waiting = [older, second, newer]
    run = {"second": [newer], "older": [second, older]}[ran]
    bundle = bundle_of(ad_hoc(scene, scene.block(), *run), tmp_path)
    before = scene.log()
    with pytest.raises(DecisionRefusedError, match="not the first in the line"):
        imported(scene, bundle, tmp_path, waiting)
    assert scene.log() == before
    due = bundle_of(ad_hoc(scene, scene.head, second, newer), tmp_path / "due")
    assert imported(scene, due, tmp_path, waiting).outcome == "recorded"
    assert scene.status(older) == "superseded"


def test_a_bundle_older_than_the_last_attempt_is_refused(scene: Scene, tmp_path: Path) -> None:
    first, second = scene.submit("A"), scene.submit("B")
    old = scene.block()
    void_contest(scene.ledger, scene.plan(first), cause=VoidCause.INTERRUPTED, detail="x")
    plan = ad_hoc(scene, old, second)
    with pytest.raises(DecisionRefusedError, match="not later than seed block"):
        imported(scene, bundle_of(plan, tmp_path), tmp_path, [second])


def test_a_bundle_by_an_older_policy_is_refused(scene: Scene, tmp_path: Path) -> None:
    submission = scene.submit("A")
    plan = ad_hoc(scene, scene.block(), submission)
    adopt_policy(scene.ledger, policy(max_attempts=9), from_block=scene.head, actor="op")
    with pytest.raises(DecisionRefusedError, match="by the policy in force"):
        imported(scene, bundle_of(plan, tmp_path), tmp_path, [submission])


def test_a_bundle_of_a_contest_that_another_worker_holds_or_that_ended_is_refused(
    scene: Scene, tmp_path: Path
) -> None:
    contest = plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[scene.submit("A")],
        seed_block=scene.block(),
        holder=Holder("host/0", "living"),
    )
    bundle = bundle_of(plan_of(scene.ledger, contest, ""), tmp_path)
    with pytest.raises(DecisionRefusedError, match="is claimed by host/0"):
        imported(scene, bundle, tmp_path)
    void_contest(
        scene.ledger,
        contest,
        cause=VoidCause.INTERRUPTED,
        detail="x",
        holder=Holder("host/0", "living"),
    )
    with pytest.raises(DecisionRefusedError, match="is void already"):
        imported(scene, bundle, tmp_path)


def test_a_void_bundle_counts_for_nobody(scene: Scene, tmp_path: Path) -> None:
    submission = scene.submit("A")
    plan = ad_hoc(scene, scene.block(), submission)
    void = {"status": "void", "void_cause": VoidCause.DRIFTED, "detail": "it got warm"}
    bundle = bundle_of(plan, tmp_path, **void, verdicts=(), baseline=None)
    with pytest.raises(
        DecisionRefusedError, match=r"is void \(it got warm\), so it counts for nobody"
    ):
        imported(scene, bundle, tmp_path, [submission])
