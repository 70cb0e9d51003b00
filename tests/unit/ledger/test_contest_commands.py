"""Planning, judging and voiding: who runs, what it does to the throne, who waits again."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine

from api import limits
from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.arena import adopt_policy, pause, resume
from ledger.commands.contests import complete_contest, plan_contest, stop_contest, void_contest
from ledger.commands.copies import find_copies, record_fingerprint
from ledger.decisions.arena import CrownDefended, KingCrowned, KingDeposed
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import (
    MAX_CLAIM_BLOCKS,
    ClaimHeldError,
    Contest,
    ContestJudged,
    ContestPlanned,
    ContestVoided,
    Holder,
)
from ledger.decisions.credits import CreditRedeemed
from ledger.decisions.submission import CommitSeen, SubmissionAccepted, SubmissionRequeued
from ledger.keys import contest_id
from tests.unit.ledger.scenes import TRACK, Scene, block_hash, commit, digest, policy


def reigns(scene: Scene) -> list[tuple[str, str]]:
    return [(fact.hotkey, fact.how) for fact in scene.facts(KingCrowned)]


# -- planning ---------------------------------------------------------------------------------


def test_no_contest_starts_while_evaluation_is_paused(scene: Scene) -> None:
    waiting = scene.submit("A")
    pause(scene.ledger, "evaluation", reason="exploit", actor="op")
    with pytest.raises(DecisionRefusedError, match="evaluation is paused"):
        scene.plan(waiting)


def test_a_seed_block_that_is_not_in_the_log_is_refused(scene: Scene) -> None:
    waiting = scene.submit("A")
    with pytest.raises(DecisionRefusedError, match="not in the log"):
        plan_contest(
            scene.ledger, track=TRACK, challengers=[waiting], seed_block=scene.head + 1, attempt=1
        )


def test_a_seed_block_must_be_later_than_every_entrant_s_commit(scene: Scene) -> None:
    waiting = scene.submit("A")
    with pytest.raises(DecisionRefusedError, match="not later than the commit of A"):
        plan_contest(
            scene.ledger, track=TRACK, challengers=[waiting], seed_block=scene.head, attempt=1
        )


def test_a_seed_block_must_be_later_than_the_previous_attempt_s(scene: Scene) -> None:
    waiting = scene.submit("A")
    earlier = scene.block()
    contest = scene.plan(waiting)
    void_contest(scene.ledger, contest, cause=VoidCause.BASELINE_FAILED, detail="x")
    with pytest.raises(DecisionRefusedError, match=f"of the attempt before on track '{TRACK}'"):
        plan_contest(
            scene.ledger, track=TRACK, challengers=[waiting], seed_block=earlier, attempt=2
        )


def test_a_seed_block_must_be_later_than_an_attempt_s_that_others_entered(scene: Scene) -> None:
    first, second = scene.submit("A"), scene.submit("B")
    earlier = scene.block()
    scene.contest({first: 400})
    used = scene.head
    before = scene.log()
    with pytest.raises(DecisionRefusedError, match=f"not later than seed block {used} of"):
        plan_contest(scene.ledger, track=TRACK, challengers=[second], seed_block=earlier, attempt=1)
    assert scene.log() == before
    later = scene.block()
    plan_contest(scene.ledger, track=TRACK, challengers=[second], seed_block=later, attempt=1)
    assert scene.facts(ContestPlanned)[-1].seed_block == later


def test_another_track_s_attempts_do_not_hold_a_track_s_seed_block_back(engine: Engine) -> None:
    scene = Scene(engine, rules=policy(tracks=(TRACK, "second")))
    waiting = scene.submit("A")
    earlier = scene.block()
    held = scene.facts(CommitSeen)[0].track
    other = "second" if held == TRACK else TRACK

    def plan_other(unit: Unit) -> None:
        unit.get(Contest, contest_id(unit.context.arena, other, unit.block)).plan_as(
            unit.context,
            track=other,
            attempt=1,
            seed_block=unit.block,
            seed_block_hash=block_hash(unit.block),
            policy_digest=scene.rules.digest(),
            entrants=(),
        )

    scene.block()
    scene.ledger.decide(plan_other)
    plan_contest(scene.ledger, track=held, challengers=[waiting], seed_block=earlier, attempt=1)
    assert [fact.track for fact in scene.facts(ContestPlanned)] == [other, held]


def test_planning_the_same_attempt_again_gives_the_same_contest(scene: Scene) -> None:
    waiting = scene.submit("A")
    contest = scene.plan(waiting)
    again = plan_contest(
        scene.ledger, track=TRACK, challengers=[waiting], seed_block=scene.head, attempt=1
    )
    assert again == contest
    assert len(scene.facts(ContestPlanned)) == 1


def test_of_one_hotkey_s_commits_the_latest_runs_and_supersedes_the_others(scene: Scene) -> None:
    old, new, other = scene.submit("A", "a1"), scene.submit("A", "a2"), scene.submit("B")
    scene.plan(other, new, old)
    (planned,) = scene.facts(ContestPlanned)
    assert [entrant.submission_id for entrant in planned.entrants] == [new, other]
    assert scene.status(old) == "superseded"


def test_only_submissions_that_wait_on_the_track_are_challengers(scene: Scene) -> None:
    first, second = scene.submit("A"), scene.submit("B")
    scene.contest({first: 400, second: 1_200})
    assert scene.status(second) == "scored"
    with pytest.raises(DecisionRefusedError, match="no challenger waiting"):
        scene.plan(second)


def test_a_track_without_challengers_has_nothing_to_contest(scene: Scene) -> None:
    scene.contest({scene.submit("A"): 400})
    with pytest.raises(DecisionRefusedError, match="nothing to contest"):
        scene.plan()


# -- judging ----------------------------------------------------------------------------------


def test_challengers_are_judged_in_order_each_against_the_king_so_far(scene: Scene) -> None:
    slow, fast, faster = scene.submit("A"), scene.submit("B"), scene.submit("C")
    scene.contest({slow: 800, fast: 500, faster: 300})
    assert reigns(scene) == [("A", "contest"), ("B", "contest"), ("C", "contest")]
    assert [fact.cause for fact in scene.facts(KingDeposed)] == ["overtaken", "overtaken"]
    assert (scene.king(), scene.runner_up()) == ("C", "B")


def test_a_defended_crown_is_the_same_reign_with_this_round_s_score(scene: Scene) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    won_at = scene.arena.kings[TRACK].won_at_block
    challenger = scene.submit("B")
    scene.contest({king: 450, challenger: 700}, challenger)
    held = scene.arena.kings[TRACK]
    assert (held.hotkey, held.won_at_block, held.score_ppm) == ("A", won_at, 550_000)
    assert len(scene.facts(CrownDefended)) == 1
    assert scene.runner_up() == "B"


def test_a_disqualified_king_falls_and_the_runner_up_is_offered_the_throne_first(
    scene: Scene,
) -> None:
    king, second = scene.submit("A"), scene.submit("B")
    scene.contest({king: 400, second: 600})
    challenger = scene.submit("C")
    scene.contest({king: "truncated", second: 600, challenger: 700}, challenger)
    assert scene.facts(KingDeposed)[-1].cause == "disqualified"
    assert (scene.king(), scene.runner_up()) == ("B", "C")
    assert scene.status(king) == "disqualified"


def test_nobody_is_crowned_against_a_king_the_infrastructure_failed(scene: Scene) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    challenger = scene.submit("B")
    scene.contest({king: "host_failed", challenger: 100}, challenger)
    assert scene.king() == "A"
    assert scene.status(king) == "scored"
    assert scene.facts(ContestJudged)[-1].reasons[0].startswith("the king A could not be measured")


def test_who_could_not_be_compared_with_an_unmeasured_king_waits_and_costs_nothing(
    scene: Scene,
) -> None:
    king, second = scene.submit("A"), scene.submit("B")
    scene.contest({king: 400, second: 600})
    challenger = scene.submit("C")
    scene.contest({king: "pull_failed", second: 600, challenger: 100}, challenger)
    assert (scene.king(), scene.runner_up()) == ("A", "B")
    assert scene.status(challenger) == "queued"
    requeued = {fact.originator_id: fact for fact in scene.facts(SubmissionRequeued)}
    assert (requeued[challenger].cause, requeued[challenger].counted) == (
        "king_not_measured",
        False,
    )
    assert requeued[king].counted
    scene.contest({king: 400, second: 600, challenger: 100}, challenger)
    assert scene.king() == "C"


def test_a_king_that_cannot_be_measured_as_often_as_policy_allows_is_given_up(
    scene: Scene,
) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    challenger = scene.submit("B")
    scene.contest({king: "pull_failed", challenger: 100}, challenger)
    scene.contest({king: "pull_failed", challenger: 100}, challenger)
    assert scene.facts(KingDeposed)[-1].cause == "not_measured"
    assert scene.king() == "B"
    assert (scene.status(king), scene.status(challenger)) == ("scored", "scored")
    assert scene.facts(ContestJudged)[-1].reasons[0].startswith("A loses the crown: it could not")


def test_a_king_measured_in_between_is_not_given_up(scene: Scene) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    challenger = scene.submit("B")
    scene.contest({king: "pull_failed", challenger: 700}, challenger)
    scene.contest({king: 400, challenger: 700}, challenger)
    scene.contest({king: "pull_failed", challenger: 700, (third := scene.submit("C")): 900}, third)
    assert scene.king() == "A"
    assert scene.status(third) == "queued"


def test_a_king_is_not_given_up_where_nobody_could_be_measured(scene: Scene) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    challenger = scene.submit("B")
    scene.contest({king: "pull_failed", challenger: "pull_failed"}, challenger)
    void_contest(scene.ledger, scene.plan(challenger), cause=VoidCause.BASELINE_FAILED, detail="x")
    third = scene.submit("C")
    scene.contest({king: "pull_failed", third: 100}, third)
    assert (scene.king(), scene.status(third)) == ("A", "queued")


def test_a_runner_up_that_cannot_be_measured_loses_its_place(scene: Scene) -> None:
    king, second = scene.submit("A"), scene.submit("B")
    scene.contest({king: 400, second: 600})
    for turn in range(2):
        assert scene.runner_up() == "B"
        challenger = scene.submit("C", f"c{turn}")
        scene.contest({king: 400, second: "pull_failed", challenger: 1_000}, challenger)
    assert scene.runner_up() is None


def test_a_contest_is_judged_once(scene: Scene) -> None:
    contest = scene.contest({scene.submit("A"): 400})
    with pytest.raises(DecisionRefusedError, match="completed and cannot be judged"):
        complete_contest(scene.ledger, contest)


def test_a_contest_with_an_entrant_not_measured_cannot_be_judged(scene: Scene) -> None:
    contest = scene.plan(scene.submit("A"))
    with pytest.raises(DecisionRefusedError, match="not measured"):
        complete_contest(scene.ledger, contest)


def test_a_contest_is_judged_by_the_policy_it_was_planned_under(scene: Scene) -> None:
    waiting = scene.submit("A")
    contest = scene.plan(waiting)
    other = policy("later", tracks=(TRACK, "second"), max_attempts=1)
    adopt_policy(scene.ledger, other, from_block=scene.head, actor="op")
    scene.measure(contest, {waiting: "pull_failed"})
    complete_contest(scene.ledger, contest)
    assert scene.status(waiting) == "queued"  # the plan's policy allows two attempts, not one


def test_the_new_king_stands_where_it_was_measured_when_the_throne_changed_meanwhile(
    scene: Scene,
) -> None:
    scene.register((0, "o", None), (1, "A", None), (2, "B", None))
    king, second = scene.submit("A"), scene.submit("B")
    scene.contest({king: 400, second: 600})
    challenger = scene.submit("C")
    contest = scene.plan(challenger)
    scene.register((1, "D", "A"))
    scene.measure(contest, {king: 100, second: 600, challenger: 500})
    complete_contest(scene.ledger, contest)
    assert reigns(scene)[-2:] == [("B", "succession"), ("C", "contest")]
    assert (scene.king(), scene.runner_up()) == ("C", "B")


def test_a_copy_found_while_the_contest_ran_is_nobody_s_rival(scene: Scene) -> None:
    original = scene.submit("A")
    scene.contest({original: 600})
    copy, honest = scene.submit("B"), scene.submit("C")
    contest = scene.plan(copy, honest)
    for submission in (original, copy):
        record_fingerprint(scene.ledger, submission, "sha256:same")
    assert find_copies(scene.ledger, [copy, original]) == [copy]
    scene.measure(contest, {original: 600, copy: 100, honest: 400})
    complete_contest(scene.ledger, contest)
    assert (scene.king(), scene.runner_up()) == ("C", "A")
    assert scene.status(copy) == "copy"


# -- void -------------------------------------------------------------------------------------


def test_a_void_contest_leaves_everybody_where_they_stood(scene: Scene) -> None:
    king = scene.submit("A")
    scene.contest({king: 400})
    challenger = scene.submit("B")
    contest = scene.plan(challenger)
    void_contest(scene.ledger, contest, cause=VoidCause.SCORING_FAILED, detail="no reference")
    void_contest(scene.ledger, contest, cause=VoidCause.SCORING_FAILED, detail="again")
    assert (scene.status(king), scene.status(challenger)) == ("scored", "queued")
    assert scene.king() == "A"
    assert len(scene.facts(ContestVoided)) == 1


def test_a_challenger_failed_as_often_as_policy_allows_is_credited_and_uses_it_once(
    scene: Scene,
) -> None:
    paid = scene.pay("A", "a")
    waiting = scene.identity(commit(paid), scene.block(commits=(commit(paid),)))
    scene.contest({waiting: "pull_failed"})
    assert scene.status(waiting) == "queued"
    contest = scene.plan(waiting, attempt=2)
    void_contest(scene.ledger, contest, cause=VoidCause.BASELINE_FAILED, detail="x")
    assert scene.status(waiting) == "credited"

    other_image = commit(paid, payload=paid.payload(digest("a2")))
    redeemed = scene.identity(other_image, scene.block(commits=(other_image,)))
    assert scene.status(redeemed) == "queued"
    assert scene.facts(SubmissionAccepted)[-1].by_credit
    assert len(scene.facts(CreditRedeemed)) == 1
    third = commit(paid, payload=paid.payload(digest("a3")))
    refused = scene.identity(third, scene.block(commits=(third,)))
    assert scene.status(refused) == "refused"


def test_a_credit_is_of_its_own_hotkey_only(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    waiting = scene.identity(commit(paid), scene.block(commits=(commit(paid),)))
    for attempt in (1, 2):
        contest = scene.plan(waiting, attempt=attempt)
        void_contest(scene.ledger, contest, cause=VoidCause.BASELINE_FAILED, detail="x")
    theft = commit(paid, hotkey="B")
    assert scene.status(scene.identity(theft, scene.block(commits=(theft,)))) == "refused"
    assert scene.payment(paid).credit_of == "A"


@pytest.mark.parametrize("cause", [VoidCause.INTERRUPTED, VoidCause.EVALUATION_PAUSED])
def test_an_interrupted_attempt_counts_for_nothing(scene: Scene, cause: VoidCause) -> None:
    waiting = scene.submit("A")
    for attempt in range(1, 5):
        void_contest(scene.ledger, scene.plan(waiting, attempt=attempt), cause=cause, detail="x")
    assert scene.status(waiting) == "queued"
    assert not any(fact.counted for fact in scene.facts(SubmissionRequeued))


def test_the_operator_ends_a_contest_that_somebody_holds(scene: Scene) -> None:
    waiting, holder = scene.submit("A"), Holder("remote", "bundle")
    contest = plan_contest(
        scene.ledger, track=TRACK, challengers=[waiting], seed_block=scene.block(), holder=holder
    )
    with pytest.raises(ClaimHeldError):
        void_contest(scene.ledger, contest, cause=VoidCause.INTERRUPTED, detail="x")
    for reason in (" ", "two\nlines"):
        with pytest.raises(DecisionRefusedError, match="reason"):
            stop_contest(scene.ledger, contest, reason=reason, actor="op")
    stop_contest(scene.ledger, contest, reason="its machine burned", actor="op")
    (voided,) = scene.facts(ContestVoided)
    assert (voided.cause, voided.detail) == ("stopped", "op: its machine burned")
    assert (scene.status(waiting), scene.facts(SubmissionRequeued)[0].counted) == ("queued", False)
    with pytest.raises(DecisionRefusedError, match="is void"):
        stop_contest(scene.ledger, contest, reason="again", actor="op")
    with pytest.raises(DecisionRefusedError, match="is unknown"):
        stop_contest(scene.ledger, UUID(int=1), reason="no contest", actor="op")


@pytest.mark.parametrize("more", [0, 1])
def test_a_claim_lasts_no_longer_than_its_limit(scene: Scene, more: int) -> None:
    waiting = scene.submit("A")
    claimed = partial(
        plan_contest,
        scene.ledger,
        track=TRACK,
        challengers=[waiting],
        seed_block=scene.block(),
        holder=Holder("remote", "bundle"),
        claim_blocks=MAX_CLAIM_BLOCKS + more,
    )
    if more:
        with pytest.raises(DecisionRefusedError, match=f"lasts {MAX_CLAIM_BLOCKS} at most"):
            claimed()
        assert scene.status(waiting) == "queued"
    else:
        assert claimed()
    assert limits.MAX_CLAIM_BLOCKS == MAX_CLAIM_BLOCKS


@pytest.mark.parametrize("resumed", [False, True])
def test_a_contest_over_which_evaluation_was_paused_is_void(scene: Scene, resumed: bool) -> None:
    waiting = scene.submit("A")
    contest = scene.plan(waiting)
    scene.measure(contest, {waiting: 400})
    scene.block()
    pause(scene.ledger, "evaluation", reason="exploit", actor="op")
    if resumed:
        resume(scene.ledger, "evaluation", reason="fixed", actor="op")
    complete_contest(scene.ledger, contest)
    assert scene.king() is None
    assert scene.status(waiting) == "queued"
    assert scene.facts(ContestVoided)[0].cause == "evaluation_paused"


def test_measuring_the_same_again_changes_nothing(scene: Scene) -> None:
    waiting = scene.submit("A")
    contest = scene.plan(waiting)
    scene.measure(contest, {waiting: 400})
    before = scene.log()
    scene.measure(contest, {waiting: 400})
    assert scene.log() == before
    assert scene.ledger.load(Contest, contest).version == before[-1].fact.originator_version
