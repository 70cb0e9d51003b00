"""A block is recorded once, whole, with its commits judged in their order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.commands.block_facts import (
    AlphaBurned,
    EpochPaid,
    FeePaid,
    OwnerChange,
    Withdrawal,
)
from ledger.commands.blocks import record_block
from ledger.commands.commits import judge_deferred
from ledger.commands.money import MAX_REMARKS
from ledger.decisions.arena import KingCrowned
from ledger.decisions.payment import PaymentConsumed, PaymentSeen
from ledger.decisions.submission import CommitSeen, SubmissionAccepted, SubmissionRefused
from ledger.observations import AlphaBurnSeen, BlockObserved, FactConflictSeen, NeuronObserved
from ledger.queries.weights import registry
from ledger.rules.payments import PaymentEvidence
from ledger.store.conflicts import FactConflictError
from tests.unit.ledger.scenes import FEE_RAO, OPENED_AT, Paid, Scene, block_hash, commit, digest


def codes(scene: Scene) -> list[tuple[str, ...]]:
    return [fact.codes for fact in scene.facts(SubmissionRefused)]


def test_recording_a_block_again_adds_nothing(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    number = scene.head + 1
    facts = scene.facts_of(
        number,
        commits=(commit(paid),),
        withdrawals=(Withdrawal(1, 2, block_hash(1, "tx"), "somebody", 5),),
        fees=(FeePaid(2, 7),),
        epoch=EpochPaid((0,), ("o",), ("oc",), (5,), (6,)),
        owners=(OwnerChange("A", "cold-A", "cold-B"),),
        subnet_owner=("o", "oc"),
    )
    record_block(scene.ledger, facts)
    before = scene.log()
    record_block(scene.ledger, facts)
    assert scene.log() == before
    assert len(scene.facts(SubmissionAccepted)) == 1


def test_another_block_under_a_recorded_number_is_a_conflict_that_is_recorded(scene: Scene) -> None:
    number = scene.block()
    scene.block()
    fork = replace(scene.facts_of(number), hash=block_hash(number, "fork"))
    with pytest.raises(FactConflictError, match="hash"):
        record_block(scene.ledger, fork)
    (alarm,) = scene.facts(FactConflictSeen)
    assert block_hash(number, "fork") in alarm.differs
    with pytest.raises(FactConflictError):
        record_block(scene.ledger, fork)
    assert len(scene.facts(FactConflictSeen)) == 1


def test_the_block_an_arena_opened_at_is_not_recorded_again(scene: Scene) -> None:
    record_block(scene.ledger, scene.facts_of(OPENED_AT))
    assert scene.facts(BlockObserved) == []


def test_everything_in_a_block_names_it_as_its_cause(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    number = scene.block(commits=(commit(paid),))
    block = scene.facts(BlockObserved)[-1]
    (seen,) = scene.facts(CommitSeen)
    (consumed,) = scene.facts(PaymentConsumed)
    (accepted,) = scene.facts(SubmissionAccepted)
    assert block.number == number
    assert seen.causation == block.fact_key
    assert consumed.causation == seen.fact_key
    assert accepted.causation == consumed.fact_key
    assert accepted.correlation == block.fact_key


def test_of_two_commits_with_one_payment_in_one_block_the_earlier_takes_it(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    late, early = commit(paid, index=9), commit(paid, index=2)
    number = scene.block(commits=(late, early))
    assert scene.status(scene.identity(early, number)) == "queued"
    assert scene.status(scene.identity(late, number)) == "refused"
    assert codes(scene) == [("payment_already_used",)]


def test_a_reveal_is_judged_before_the_block_s_extrinsics(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    plain, reveal = commit(paid, index=0), commit(paid, index=5, form="timelocked")
    number = scene.block(commits=(plain, reveal))
    assert scene.status(scene.identity(reveal, number)) == "queued"
    assert scene.status(scene.identity(plain, number)) == "refused"


def test_a_payment_and_its_commit_may_share_a_block(scene: Scene) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO + 5)
    number = scene.block(deposits=(paid.deposit,), commits=(commit(paid),))
    assert scene.status(scene.identity(commit(paid), number)) == "queued"
    (consumed,) = scene.facts(PaymentConsumed)
    assert (consumed.fee_rao, consumed.overpaid_rao) == (FEE_RAO, 5)


def test_a_commit_of_somebody_else_s_payment_is_refused_with_every_code(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    evidence = replace(paid.evidence, owner="cold-B")
    found = commit(paid, hotkey="B", evidence=evidence)
    number = scene.block(commits=(found,))
    assert scene.status(scene.identity(found, number)) == "refused"
    assert codes(scene) == [("remark_mismatch", "signer_not_owner")]
    assert scene.payment(paid).consumed_by is None


def test_a_malformed_payload_is_refused_with_its_sentence_and_needs_no_node(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    found = commit(paid, payload=b"\xff{", evidence=None)
    number = scene.block(commits=(found,))
    assert scene.status(scene.identity(found, number)) == "refused"
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.codes == ("malformed_payload",)
    assert refused.detail.endswith(".")


def test_a_failed_commit_is_refused_even_where_the_node_gave_no_evidence(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    number = scene.block(commits=(commit(paid, succeeded=False, evidence=None),))
    assert scene.status(scene.identity(commit(paid), number)) == "refused"
    assert codes(scene) == [("commit_extrinsic_failed",)]
    assert scene.payment(paid).consumed_by is None


def test_a_node_that_cannot_answer_defers_and_the_answer_judges_once(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    found = commit(paid, evidence=None, unanswered="the node is down")
    identity = scene.identity(found, scene.block(commits=(found,)))
    assert scene.status(identity) == "deferred"
    scene.block()
    judge_deferred(scene.ledger, identity, paid.evidence)
    judge_deferred(scene.ledger, identity, PaymentEvidence())
    assert scene.status(identity) == "queued"
    assert scene.payment(paid).consumed_by == identity


def test_a_deferred_commit_whose_payment_block_is_unknown_is_refused_in_the_end(
    scene: Scene,
) -> None:
    paid = scene.pay("A", "a")
    found = commit(paid, evidence=None)
    identity = scene.identity(found, scene.block(commits=(found,)))
    judge_deferred(scene.ledger, identity, PaymentEvidence())
    assert codes(scene) == [("payment_block_unknown",)]


def test_a_payment_from_before_the_arena_opened_is_noted_and_taken(scene: Scene) -> None:
    paid = Paid("A", digest("a"), OPENED_AT - 5, 3, FEE_RAO)
    number = scene.block(commits=(commit(paid),))
    assert scene.status(scene.identity(commit(paid), number)) == "queued"
    (seen,) = scene.facts(PaymentSeen)
    assert (seen.block, seen.amount_rao) == (OPENED_AT - 5, FEE_RAO)


def test_an_expired_payment_is_refused(scene: Scene) -> None:
    paid = Paid("A", digest("a"), 1, 3, FEE_RAO)
    while scene.head < 51:
        scene.block()
    scene.block(commits=(commit(paid),))
    assert codes(scene) == [("payment_expired",)]


def test_a_flood_of_remarks_does_not_stop_the_log(scene: Scene) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO)
    flood = tuple(f"cacheon:{number}" + "x" * 5_000 for number in range(3_000))
    scene.block(deposits=(replace(paid.deposit, remarks=flood),))
    (seen,) = scene.facts(PaymentSeen)
    assert len(seen.remarks) == MAX_REMARKS


def test_two_burns_in_one_extrinsic_are_two_facts(scene: Scene) -> None:
    burn = AlphaBurned(4, block_hash(4, "tx"), "burn_alpha", "tc", "th", 14, None, 7)
    scene.block(burns=(burn, replace(burn, alpha=9)))
    assert [fact.alpha for fact in scene.facts(AlphaBurnSeen)] == [7, 9]


# -- who holds what ---------------------------------------------------------------------------


def crowned(scene: Scene) -> None:
    """A on the throne, B second."""
    scene.register((0, "o", None), (1, "A", None), (2, "B", None))
    first, second = scene.submit("A"), scene.submit("B")
    scene.contest({first: 400, second: 600})
    assert (scene.king(), scene.runner_up()) == ("A", "B")


def test_a_deregistered_king_is_followed_by_the_runner_up(scene: Scene) -> None:
    crowned(scene)
    scene.register((1, "C", "A"))
    assert (scene.king(), scene.runner_up()) == ("B", None)
    reign = scene.facts(KingCrowned)[-1]
    assert (reign.how, reign.hotkey) == ("succession", "B")


def test_a_deregistered_runner_up_leaves_the_king_alone(scene: Scene) -> None:
    crowned(scene)
    scene.register((2, "C", "B"))
    assert (scene.king(), scene.runner_up()) == ("A", None)


def test_king_and_runner_up_leaving_in_one_block_leave_the_throne_vacant(scene: Scene) -> None:
    crowned(scene)
    reigns = len(scene.facts(KingCrowned))
    scene.register((1, "C", "A"), (2, "D", "B"))
    assert (scene.king(), scene.runner_up()) == (None, None)
    assert len(scene.facts(KingCrowned)) == reigns


def test_hotkeys_that_swap_their_uids_do_not_leave(scene: Scene) -> None:
    crowned(scene)
    scene.register((1, "B", "A"), (2, "A", "B"))
    assert (scene.king(), scene.runner_up()) == ("A", "B")
    assert {uid: hotkey for uid, (hotkey, _) in scene.read(registry).items()} == {
        0: "o",
        1: "B",
        2: "A",
    }
    assert len(scene.facts(NeuronObserved)) == 5
