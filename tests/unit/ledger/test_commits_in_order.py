"""Who takes a payment, where several name it: over waits, treasuries, extrinsics and credits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.block_facts import Deposit, Gap, SealedFound, SeenAnew
from ledger.commands.blocks import record_block
from ledger.commands.commits import judge_deferred
from ledger.commands.contests import void_contest
from ledger.commands.gaps import fill_block
from ledger.decisions.payment import Payment, PaymentConsumed, PaymentSeen
from ledger.decisions.submission import SubmissionAccepted, SubmissionRefused
from ledger.observations import SealedCommitSeen
from ledger.queries.submissions import every_commit, sealed_commits, submissions
from ledger.queries.treasury import payments
from ledger.rules.payments import PaymentEvidence, PaymentExtrinsic, TransferSeen
from tests.unit.ledger.scenes import (
    FEE_RAO,
    OPENED_AT,
    OTHER_ARENA,
    Paid,
    Scene,
    commit,
    digest,
    treasury_of,
)


def test_a_commit_does_not_overtake_an_earlier_one_that_waits_for_the_same_payment(
    scene: Scene,
) -> None:
    paid = scene.pay("A", "a")
    first, second = commit(paid, evidence=None, unanswered="down"), commit(paid)
    early = scene.identity(first, scene.block(commits=(first,)))
    late = scene.identity(second, scene.block(commits=(second,)))
    assert (scene.status(early), scene.status(late)) == ("deferred", "deferred")
    assert judge_deferred(scene.ledger, late, paid.evidence) is False
    assert judge_deferred(scene.ledger, early, paid.evidence) is True
    assert judge_deferred(scene.ledger, late, paid.evidence) is True
    assert (scene.status(early), scene.status(late)) == ("queued", "refused")
    assert scene.payment(paid).consumed_by == early


def test_a_commit_does_not_wait_behind_one_that_names_another_payment(scene: Scene) -> None:
    waits = scene.pay("A", "a")
    found = commit(waits, evidence=None, unanswered="down")
    scene.block(commits=(found,))
    assert scene.status(scene.submit("B")) == "queued"
    again = commit(waits, index=4)
    identity = scene.identity(again, scene.block(commits=(again,)))
    assert scene.status(identity) == "deferred"


def test_where_the_earlier_one_is_refused_the_later_takes_the_payment(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    other = commit(paid, payload=paid.payload(digest("b")), evidence=None, unanswered="down")
    early = scene.identity(other, scene.block(commits=(other,)))
    late = scene.identity(commit(paid), scene.block(commits=(commit(paid),)))
    assert judge_deferred(scene.ledger, early, paid.evidence)
    assert judge_deferred(scene.ledger, late, paid.evidence)
    assert (scene.status(early), scene.status(late)) == ("refused", "queued")


def test_two_commits_of_one_extrinsic_are_two_and_the_one_that_was_made_is_paid(
    scene: Scene,
) -> None:
    paid = scene.pay("A", "a")
    refused, made = commit(paid, index=3, succeeded=False), commit(paid, index=3, nth=1)
    number = scene.block(commits=(made, refused))
    assert scene.status(scene.identity(refused, number)) == "refused"
    assert scene.status(scene.identity(made, number)) == "queued"
    assert [(line["place"], line["nth"], line["status"]) for line in scene.read(submissions)] == [
        (3, 0, "refused"),
        (3, 1, "queued"),
    ]


def paying_two(block: int) -> tuple[Paid, PaymentExtrinsic]:
    """One extrinsic that pays the treasuries of both arenas, the second one more."""
    paid = Paid("A", digest("a"), block, 3, FEE_RAO)
    transfers = (
        TransferSeen(treasury_of(14), FEE_RAO, executed=True),
        TransferSeen(treasury_of(15), FEE_RAO + 7, executed=True),
    )
    extrinsic = PaymentExtrinsic(3, "Utility.batch_all", True, "cold-A", transfers, (paid.remark,))
    return paid, extrinsic


def test_an_extrinsic_that_pays_two_treasuries_pays_one_submission_and_is_money_to_both(
    scene: Scene, engine: Engine
) -> None:
    other = Scene(engine, OTHER_ARENA)
    paid, extrinsic = paying_two(OPENED_AT + 1)
    evidence = PaymentEvidence(paid.block, extrinsic, "cold-A")
    scene.block(deposits=(paid.deposit,))
    other.block(deposits=(replace(paid.deposit, amount_rao=FEE_RAO + 7),))
    found = commit(paid, evidence=evidence)
    there = other.identity(found, other.block(commits=(found,)))
    here = scene.identity(found, scene.block(commits=(found,)))
    assert (other.status(there), scene.status(here)) == ("queued", "refused")
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.codes == ("payment_already_used",)
    (accepted,), (consumed,) = other.facts(SubmissionAccepted), other.facts(PaymentConsumed)
    assert accepted.overpaid_rao == consumed.overpaid_rao == 7
    assert [line["amount_rao"] for line in scene.read(payments)] == [FEE_RAO]
    assert [line["status"] for line in scene.read(payments)] == ["unclaimed"]
    assert [line["amount_rao"] for line in other.read(payments)] == [FEE_RAO + 7]


def test_what_other_calls_of_the_extrinsic_paid_is_overpaid_in_both_records(scene: Scene) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO)
    deposit = replace(paid.deposit, amount_rao=FEE_RAO + 30)  # a transfer_allow_death beside it
    scene.block(deposits=(deposit,))
    scene.block(commits=(commit(paid),))
    (accepted,), (consumed,) = scene.facts(SubmissionAccepted), scene.facts(PaymentConsumed)
    assert accepted.overpaid_rao == consumed.overpaid_rao == 30


def test_all_that_an_older_extrinsic_brought_is_seen_when_a_commit_names_it(scene: Scene) -> None:
    paid = Paid("A", digest("a"), OPENED_AT - 5, 3, FEE_RAO)
    assert paid.evidence.extrinsic is not None
    extrinsic = replace(paid.evidence.extrinsic, received=((paid.treasury, FEE_RAO + 30),))
    scene.block(commits=(commit(paid, evidence=replace(paid.evidence, extrinsic=extrinsic)),))
    (seen,) = scene.facts(PaymentSeen)
    (accepted,) = scene.facts(SubmissionAccepted)
    assert (seen.amount_rao, accepted.overpaid_rao) == (FEE_RAO + 30, 30)


def test_a_refunded_payment_is_used_and_the_other_rules_are_still_named(scene: Scene) -> None:
    paid = scene.pay("A", "a")

    def send_back(unit: Unit) -> None:
        payment = unit.get(Payment, paid.id)
        payment.decide_refund(unit.context, "op", "asked for")
        payment.refund(unit.context, scene.head, "0x", "out:1")

    scene.ledger.decide(send_back)
    scene.block(commits=(commit(paid, payload=paid.payload(digest("b"))),))
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.codes == ("remark_mismatch", "payment_already_used")


# -- sealed commits ---------------------------------------------------------------------------


def sealed_by(hotkey: str, *, index: int = 2, succeeded: bool = True) -> SealedFound:
    return SealedFound(hotkey, f"cold-{hotkey}", 5, index, 0, "0xab", 1_000, succeeded)


def states(scene: Scene) -> list[tuple[str, str, int | None]]:
    return [
        (line["hotkey"], line["state"], line["reveal_block"]) for line in scene.read(every_commit)
    ]


def test_a_sealed_commit_is_listed_until_its_reveal_takes_its_place(scene: Scene) -> None:
    scene.block(sealed=(sealed_by("A"), sealed_by("B", index=3)))
    assert states(scene) == [("A", "sealed", None), ("B", "sealed", None)]
    (line, _) = scene.read(every_commit)
    assert (line["uid"], line["coldkey"], line["image"], line["refusals"]) == (
        5,
        "cold-A",
        None,
        [],
    )
    paid = scene.pay("A", "a")
    number = scene.block(commits=(commit(paid, form="timelocked", index=0),))
    assert states(scene) == [("B", "sealed", None), ("A", "queued", number)]
    assert [one["hotkey"] for one in scene.read(sealed_commits)] == ["B"]
    assert scene.read(every_commit, at=number - 2) == scene.read(every_commit, at=number - 1)


@pytest.mark.parametrize("again", ["plain", "sealed"])
def test_a_sealed_commit_in_whose_place_another_came_is_overwritten(
    scene: Scene, again: str
) -> None:
    paid = scene.pay("A", "a")
    scene.block(sealed=(sealed_by("A"),))
    if again == "plain":
        number = scene.block(commits=(commit(paid),))
        assert states(scene) == [("A", "overwritten", None), ("A", "queued", number)]
    else:
        scene.block(sealed=(sealed_by("A"),))
        assert states(scene) == [("A", "overwritten", None), ("A", "sealed", None)]
        number = scene.block(commits=(commit(paid, form="timelocked", index=0),))
        assert states(scene) == [("A", "overwritten", None), ("A", "queued", number)]


def test_what_the_chain_refused_overwrites_nothing_and_is_listed_as_refused(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    scene.block(sealed=(sealed_by("A"),))
    number = scene.block(
        commits=(commit(paid, succeeded=False, index=1),),
        sealed=(sealed_by("A", index=4, succeeded=False),),
    )
    assert states(scene) == [
        ("A", "sealed", None),
        ("A", "refused", number),
        ("A", "refused", None),
    ]
    assert scene.read(every_commit)[2]["refusals"] == ["commit_extrinsic_failed"]
    assert len(scene.facts(SealedCommitSeen)) == 2


def test_a_deposit_s_remarks_and_place_are_shown_with_unclaimed_money(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    deposit = Deposit(9, "0xee", "cold-Z", 5, "Balances.transfer_all", ("hello", "0xff"))
    number = scene.block(deposits=(deposit,), commits=(commit(paid),))
    (line,) = scene.read(lambda scope: payments(scope, unclaimed_only=True))
    assert (line["block"], line["extrinsic_index"], line["extrinsic_hash"]) == (number, 9, "0xee")
    assert (line["sender"], line["amount_rao"]) == ("cold-Z", 5)
    assert line["remarks"] == ["hello", "0xff"]
    assert line["outer_call"] == "Balances.transfer_all"


UNREAD = "the node no longer holds the state of the block"


def unread(paid: Paid) -> PaymentEvidence:
    return PaymentEvidence(paid.block, unread=UNREAD)


def test_an_expired_payment_that_nobody_can_show_is_refused_and_a_younger_one_waits(
    scene: Scene,
) -> None:
    paid = scene.pay("A", "a")
    found = commit(paid, evidence=unread(paid))
    young = scene.identity(found, scene.block(commits=(found,)))
    assert scene.status(young) == "deferred"
    assert judge_deferred(scene.ledger, young, unread(paid)) is False
    assert judge_deferred(scene.ledger, young, paid.evidence) is True
    spent = scene.pay("B", "b")
    for _ in range(51):
        scene.block()
    found = commit(spent, evidence=unread(spent))
    old = scene.identity(found, scene.block(commits=(found,)))
    assert (scene.status(young), scene.status(old)) == ("queued", "refused")
    assert scene.facts(SubmissionRefused)[-1].codes == ("payment_expired",)


def test_an_expired_payment_that_nobody_can_show_may_still_be_a_credit(scene: Scene) -> None:
    paid = scene.pay("A", "a")
    waiting = scene.identity(commit(paid), scene.block(commits=(commit(paid),)))
    for attempt in (1, 2):
        contest = scene.plan(waiting, attempt=attempt)
        void_contest(scene.ledger, contest, cause=VoidCause.BASELINE_FAILED, detail="x")
    assert scene.status(waiting) == "credited"
    for _ in range(51):
        scene.block()
    again = commit(paid, payload=paid.payload(digest("a2")), evidence=unread(paid))
    late = scene.identity(again, scene.block(commits=(again,)))
    assert scene.status(late) == "deferred"
    assert judge_deferred(scene.ledger, late, paid.evidence) is True
    assert scene.status(late) == "queued"


def test_an_expired_payment_in_a_gap_waits_until_its_block_is_read(scene: Scene) -> None:
    first = scene.head + 1
    gap = SeenAnew(Gap(first, first, "pruned"))
    record_block(scene.ledger, scene.facts_of(first + 1, seen_anew=gap))
    paid = Paid("A", digest("a"), first, 3, FEE_RAO)
    for _ in range(51):
        scene.block()
    found = commit(paid, evidence=unread(paid))
    late = scene.identity(found, scene.block(commits=(found,)))
    assert judge_deferred(scene.ledger, late, unread(paid)) is False
    assert scene.status(late) == "deferred"
    fill_block(scene.ledger, scene.facts_of(first, deposits=(paid.deposit,)))
    assert judge_deferred(scene.ledger, late, paid.evidence) is True
    assert scene.facts(SubmissionRefused)[-1].codes == ("payment_expired",)
