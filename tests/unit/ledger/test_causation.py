"""From a payout back to the extrinsic of its own fee, along the causes the commands record."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Engine

from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.arena import adopt_policy, pause
from ledger.commands.block_facts import EpochPaid, NeuronChange, Withdrawal
from ledger.commands.causes import after_approval, after_decision, after_transfer
from ledger.commands.contests import complete_contest, plan_contest, void_contest
from ledger.commands.copies import find_copies, record_fingerprint
from ledger.commands.thrones import vacate_departed
from ledger.decisions.arena import KingCrowned, KingDeposed
from ledger.decisions.contest import (
    ContestClaimed,
    ContestJudged,
    ContestPlanned,
    ContestVoided,
    Holder,
)
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import CopyFound, SubmissionContested, SubmissionSuperseded
from ledger.decisions.treasury import Treasury
from ledger.facts import Fact, Observation
from ledger.keys import treasury_id
from ledger.observations import AlertRaised, TreasuryTransferSeen, WeightsReceipt, WeightsSubmitted
from ledger.policy import BlockRamp
from ledger.queries.payouts import all_payouts
from ledger.queries.weights import vector_in_force
from ledger.queries.why import (
    BrokenChainError,
    UnknownFactError,
    UnknownPayoutError,
    payout_path,
    why,
)
from tests.unit.ledger.scenes import TRACK, Scene, block_hash, policy

UIDS = ("owner", "A", "B", "C")


def topics(facts: list[Fact]) -> list[str]:
    return [fact.topic for fact in facts]


def registered(scene: Scene) -> None:
    scene.block(
        neurons=tuple(
            NeuronChange(uid, hotkey, f"cold-{hotkey}", None) for uid, hotkey in enumerate(UIDS)
        ),
        subnet_owner=("owner", "cold-owner"),
    )


def send_weights(scene: Scene, validator: str = "V", *, after_blocks: int = 0) -> WeightsSubmitted:
    """Send the vector of this block; it lands so many blocks later."""
    vector, head = scene.read(vector_in_force), scene.head

    def work(unit: Unit) -> WeightsSubmitted:
        unit.context = after_decision(unit, head)
        sent = unit.observe(
            WeightsSubmitted,
            f"weights-sent:{unit.context.arena}:{validator}:{head}",
            for_block=head,
            validator_hotkey=validator,
            uids=vector.uids,
            hotkeys=tuple(UIDS[uid] for uid in vector.uids),
            shares_ppm=tuple(dict(vector.shares)[uid] for uid in vector.uids),
            values=vector.values,
            digest=vector.digest,
            version_key=1,
            reason="results changed",
            nonce=0,
            sent_after=head,
        )
        unit.because(sent)
        unit.observe(
            WeightsReceipt,
            f"weights-receipt:{unit.context.arena}:{validator}:{head}",
            for_block=head,
            validator_hotkey=validator,
            digest=vector.digest,
            block=head + after_blocks,
            extrinsic_hash=None,
            success=True,
            error=None,
        )
        return sent

    return scene.ledger.decide(work)


def epoch(scene: Scene) -> int:
    return scene.block(
        epoch=EpochPaid(
            tuple(range(len(UIDS))),
            UIDS,
            tuple(f"cold-{hotkey}" for hotkey in UIDS),
            (100, 200, 300, 400),
            (0, 0, 0, 0),
        )
    )


# -- payouts ----------------------------------------------------------------------------------


def test_every_share_of_a_king_is_walked_back_to_the_extrinsic_of_its_own_fee(
    scene: Scene,
) -> None:
    registered(scene)
    first, second = scene.submit("A"), scene.submit("B")
    scene.contest({first: 600, second: 400})  # A is judged first, B overtakes in the same round
    send_weights(scene)
    epoch(scene)
    third = scene.submit("C")
    scene.contest({second: 450, first: 650, third: 200}, third)
    send_weights(scene)
    epoch(scene)
    own_commit = {"B": second, "C": third}
    kings = [line for line in scene.read(all_payouts) if line.share_ppm]
    assert [line.hotkey for line in kings] == ["B", "C"]
    for line in kings:
        path = scene.read(payout_path, line.hotkey, line.epoch_block)
        assert [topic.rpartition(".v")[0] for topic in topics(path)] == [
            "seen.weights_submitted",
            "arena.king_crowned",
            "contest.judged",
            *["contest.entrant_measured"] * (2 if line.hotkey == "B" else 3),
            "contest.baseline_measured",
            "contest.planned",
            "submission.accepted",
            "payment.consumed",
            "submission.commit_seen",
            "payment.seen",
        ]
        planned = next(fact for fact in path if isinstance(fact, ContestPlanned))
        assert own_commit[line.hotkey] in {one.submission_id for one in planned.entrants}
        commit, paid = path[-2], path[-1]
        assert commit.originator_id == own_commit[line.hotkey]
        assert isinstance(paid, PaymentSeen)
        assert paid.sender == f"cold-{line.hotkey}"
        assert paid.extrinsic_hash == commit.payment_tx
        jumps = [(a.topic, b.topic) for a, b in pairwise(path) if a.causation != b.fact_key]
        assert jumps == [
            ("seen.weights_submitted.v2", "arena.king_crowned.v1"),  # it names the runner-up after
            *([("contest.planned.v1", "submission.accepted.v1")] if line.hotkey == "B" else []),
            ("submission.commit_seen.v2", "payment.seen.v1"),  # of the payment that it names
        ]


def test_a_runner_up_and_a_successor_have_a_path_of_their_own(engine: Engine) -> None:
    rules = policy()
    track = rules.tracks[TRACK]
    ramp = BlockRamp(before_ppm=1_000_000, floor_ppm=1_000_000, start_block=1, length_blocks=1)
    shared = msgspec.structs.replace(track, emission=ramp)
    scene = Scene(engine, rules=msgspec.structs.replace(rules, tracks={TRACK: shared}))
    registered(scene)
    king, second = scene.submit("A"), scene.submit("B")
    scene.contest({king: 400, second: 600})
    send_weights(scene)
    paid_at = epoch(scene)
    path = scene.read(payout_path, "B", paid_at)
    assert path[1].topic == "arena.runner_up_named.v1"
    assert isinstance(path[-1], PaymentSeen)
    assert path[-1].sender == "cold-B"

    scene.register((1, "D", "A"))  # the king leaves; B succeeds it by the contest it was second in
    crowned = scene.facts(KingCrowned)[-1]
    assert (crowned.hotkey, crowned.how) == ("B", "succession")
    assert [fact.topic for fact in scene.read(why, crowned.fact_key)] == [
        "arena.king_crowned.v1",
        "arena.king_deposed.v1",
        "seen.block.v1",
    ]


def test_without_a_vector_or_a_share_there_is_no_seat_to_explain(scene: Scene) -> None:
    registered(scene)
    before = epoch(scene)
    assert scene.read(payout_path, "A", before) == []
    send_weights(scene)
    send_weights(scene, "second")
    send_weights(scene, "third", after_blocks=1)
    after_it = epoch(scene)
    (sent,) = scene.read(payout_path, "A", after_it)
    # Of several validators' the one that landed last counts, not one that lands with the epoch.
    assert sent.validator_hotkey == "second"
    with pytest.raises(UnknownPayoutError, match="no payout in the epoch of block 3"):
        scene.read(payout_path, "A", 3)


# -- decisions --------------------------------------------------------------------------------


def test_a_vector_follows_from_the_newest_decision_in_force(scene: Scene) -> None:
    registered(scene)
    assert send_weights(scene).causation == scene.log()[0].fact.fact_key
    king = scene.submit("A")
    scene.contest({king: 400})
    adopt_policy(scene.ledger, policy("later"), from_block=scene.head + 5, actor="op")
    crowned = scene.facts(KingCrowned)[-1]
    assert send_weights(scene).causation == crowned.fact_key  # the policy is not in force yet
    scene.block()
    pause(scene.ledger, "emission", reason="exploit", actor="op")
    sent = send_weights(scene)
    assert [fact.topic for fact in scene.read(why, sent.fact_key)][1:] == ["arena.paused.v1"]
    at = scene.ledger.decide(lambda unit: after_decision(unit, unit.block - 1))
    assert at.causation == crowned.fact_key  # of the block before, the pause is not known yet


def test_a_contest_s_facts_follow_one_another_from_the_first_challenger_s_acceptance(
    scene: Scene,
) -> None:
    old, other, new = scene.submit("A", "a1"), scene.submit("B"), scene.submit("A", "a2")
    contest = plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[new, other, old],
        seed_block=scene.block(),
        attempt=1,
        holder=Holder("pod/0", "a"),
    )
    (superseded,) = scene.facts(SubmissionSuperseded)
    assert superseded.causation == f"accepted:{new}"
    (planned,) = scene.facts(ContestPlanned)
    assert planned.causation == f"accepted:{other}"
    assert {fact.causation for fact in scene.facts(SubmissionContested)} == {planned.fact_key}
    (claimed,) = scene.facts(ContestClaimed)
    assert claimed.causation == planned.fact_key
    scene.measure(contest, {other: 400, new: 500}, holder=Holder("pod/0", "a"))
    complete_contest(scene.ledger, contest, holder=Holder("pod/0", "a"))
    (judged,) = scene.facts(ContestJudged)
    assert topics(scene.read(why, judged.fact_key)) == [
        "contest.judged.v1",
        *["contest.entrant_measured.v1"] * 2,
        "contest.baseline_measured.v1",
        "contest.claimed.v2",
        "contest.planned.v1",
        "submission.accepted.v1",
        "payment.consumed.v1",
        "submission.commit_seen.v2",
        "seen.block.v1",
    ]


def test_a_void_contest_follows_from_the_last_thing_that_happened_to_it(scene: Scene) -> None:
    contest = scene.plan(scene.submit("A"))
    void_contest(scene.ledger, contest, cause=VoidCause.INTERRUPTED, detail="x")
    (voided,) = scene.facts(ContestVoided)
    planned = scene.ledger.newest(ContestPlanned)
    assert planned is not None
    assert planned.originator_id == contest
    assert voided.causation == planned.fact_key


def test_a_copy_follows_from_its_own_fingerprint_and_a_departed_king_from_the_block(
    scene: Scene,
) -> None:
    registered(scene)
    original, copy = scene.submit("A"), scene.submit("B")
    scene.contest({original: 400, copy: 500})
    for submission in (original, copy):
        record_fingerprint(scene.ledger, submission, "sha256:same")
    find_copies(scene.ledger, [original, copy])
    (found,) = scene.facts(CopyFound)
    assert topics(scene.read(why, found.fact_key)) == [
        "submission.copy_found.v1",
        "submission.fingerprinted.v1",
        "submission.commit_seen.v2",
        "seen.block.v1",
    ]
    vacate_departed(scene.ledger, ["owner", "B", "C"])
    deposed = scene.facts(KingDeposed)[-1]
    assert deposed.causation == f"block:{scene.ledger.arena}:{scene.head}"


def test_money_follows_from_what_was_seen_or_decided_of_it(scene: Scene) -> None:
    out = block_hash(1, "sale")
    scene.block(withdrawals=(Withdrawal(4, 2, out, "exchange", 500),))
    (seen,) = scene.facts(TreasuryTransferSeen)

    def causes(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.plan_buyback(unit.context, 10, 5, "one")
        treasury.approve_buyback(unit.context, 1, "two")

    scene.ledger.decide(causes)
    look = scene.ledger.decide
    assert look(lambda unit: after_transfer(unit, out)).causation == seen.fact_key
    assert look(lambda unit: after_transfer(unit, "0x00")).causation is None
    approved = f"buyback-approved:{scene.ledger.arena}:1"
    assert look(lambda unit: after_approval(unit, 1)).causation == approved
    assert look(lambda unit: after_approval(unit, 2)).causation is None


# -- asking -----------------------------------------------------------------------------------


def test_a_key_that_is_not_in_the_log_is_unknown_also_when_it_comes_later(scene: Scene) -> None:
    submission = scene.submit("A")
    with pytest.raises(UnknownFactError, match="no fact 'nothing' is in the log"):
        scene.read(why, "nothing")
    with pytest.raises(UnknownFactError):
        scene.read(why, f"accepted:{submission}", at=scene.head - 1)


@pytest.mark.parametrize("cause", ["alert-one", "alert-two", "alert-never"])
def test_a_cause_that_does_not_stand_before_its_effect_ends_the_walk(
    scene: Scene, cause: str
) -> None:
    """A circle (two facts naming each other) or a missing cause is said, not followed for ever."""

    def forge(unit: Unit) -> None:
        for name, names in (("alert-one", cause), ("alert-two", "alert-one")):
            fact: Observation = AlertRaised(
                originator_id=UUID(int=len(unit.facts) + 1),
                originator_version=1,
                arena=str(unit.context.arena),
                fact_key=name,
                effective_block=unit.block,
                causation=names,
                kind=name,
                detail="forged",
                block=unit.block,
            )
            unit.facts.append(fact)

    scene.ledger.decide(forge)
    with pytest.raises(BrokenChainError, match=f"names the cause '{cause}'"):
        scene.read(why, "alert-two")
