"""Money that nobody consumed: claimed, credited, sent back, expired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from chain.simulated.accounts import account
from ledger.application import Ledger, Unit
from ledger.books import accounts
from ledger.codes import RefusalCode
from ledger.commands.block_facts import Deposit, Gap, SeenAnew, Withdrawal
from ledger.commands.blocks import record_block
from ledger.commands.claims import (
    credit_payment,
    credit_submission,
    decide_refund,
    grant_claim,
    record_claim,
    refuse_claim,
)
from ledger.commands.expiry import EXPIRY_BLOCKS
from ledger.commands.refunds import match_refunds, refunds_sent_in
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.credits import CreditRedeemed, PaymentCredited
from ledger.decisions.payment import Payment, PaymentConsumed
from ledger.decisions.submission import SubmissionAccepted, SubmissionRefused
from ledger.decisions.treasury import Treasury
from ledger.decisions.unclaimed import (
    PaymentClaimed,
    PaymentExpired,
    PaymentRefunded,
    RefundDecided,
)
from ledger.keys import treasury_id
from ledger.observations import AlertRaised
from ledger.queries.payments import claims, payment_named, payments, unused_credits
from ledger.queries.treasury import account_balances
from ledger.rules.claims import SignedClaim
from ledger.rules.payments import PaymentEvidence, PaymentExtrinsic
from tests.unit.ledger.scenes import ARENA, FEE_RAO, OTHER_ARENA, Paid, Scene, commit, digest

MINER, OTHER = account("miner"), account("other")


def claimed(
    paid: Paid,
    wants: Literal["refund", "credit"] = "refund",
    hotkey: str | None = None,
    **changes: Any,
) -> SignedClaim:
    """A claim whose signature nobody checks here: that is the chain's side."""
    claim = SignedClaim(ARENA, paid.tx, wants, hotkey, f"cold-{paid.hotkey}", "0xaa")
    return replace(claim, **changes)


def sent(scene: Scene, destination: str, amount_rao: int, event: int = 1) -> int:
    """A block in which the treasury sends money."""
    out = Withdrawal(event, 2, f"0x{scene.head:064x}", destination, amount_rao)
    return scene.block(withdrawals=(out,))


def plain_transfer(paid: Paid) -> PaymentEvidence:
    """What the chain says of a lone transfer by anybody: no batch, no remark, no fee of R5."""
    return PaymentEvidence(
        paid.block,
        PaymentExtrinsic(
            paid.index,
            "Balances.transfer_allow_death",
            True,
            f"cold-{paid.hotkey}",
            received=((paid.treasury, paid.amount_rao),),
        ),
        None,
    )


def unclaimed_rao(scene: Scene) -> int:
    lines = scene.read(account_balances)
    return -sum(line["amount"] for line in lines if line["account"] == accounts.UNCLAIMED)


# -- claims -----------------------------------------------------------------------------------


def test_who_paid_claims_once_at_a_time_and_the_same_claim_is_no_new_one(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    first = record_claim(scene.ledger, paid.id, claimed(paid))
    assert record_claim(scene.ledger, paid.id, claimed(paid)) == first
    assert record_claim(scene.ledger, paid.id, claimed(paid, signature="0xbb")) == first
    with pytest.raises(DecisionRefusedError, match="not decided yet"):
        record_claim(scene.ledger, paid.id, claimed(paid, "credit", MINER, signature="0xcc"))
    refuse_claim(scene.ledger, paid.id, "ann", "no")
    assert record_claim(scene.ledger, paid.id, claimed(paid)).number == 1, "it was handed in before"
    second = record_claim(scene.ledger, paid.id, claimed(paid, "credit", MINER, signature="0xcc"))
    assert second.number == 2
    assert [fact.number for fact in scene.facts(PaymentClaimed)] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"claimant": "thief"}, "so thief cannot claim it"),
        ({"payment": "0xother"}, "the claim is of payment 0xother"),
        ({"arena": OTHER_ARENA}, "hand it in there"),
        ({"hotkey": MINER}, "and a claim of a refund none"),
        ({"wants": "credit"}, "names the hotkey"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused(
    scene: Scene, changes: dict[str, Any], sentence: str
) -> None:
    paid = scene.pay(MINER, "a")
    with pytest.raises(DecisionRefusedError, match=sentence):
        record_claim(scene.ledger, paid.id, claimed(paid, **changes))
    assert not scene.facts(PaymentClaimed)


def test_money_that_serves_something_is_not_claimed(scene: Scene) -> None:
    ledger = scene.ledger
    consumed = scene.pay(MINER, "a")
    scene.block(commits=(commit(consumed),))
    refunded, credited = scene.pay(MINER, "b"), scene.pay(MINER, "c")
    given = scene.pay(MINER, "d")
    decide_refund(ledger, refunded.id, "ann", "asked")
    credit_payment(ledger, credited.id, MINER, "ann", "asked")
    _contribute(ledger, given)
    for paid in (consumed, refunded, credited, given):
        with pytest.raises(DecisionRefusedError, match="cannot be claimed"):
            record_claim(ledger, paid.id, claimed(paid))
        with pytest.raises(DecisionRefusedError):
            credit_payment(ledger, paid.id, OTHER, "ann", "again")
        if paid is not refunded:  # deciding that again is a no-op
            with pytest.raises(DecisionRefusedError):
                decide_refund(ledger, paid.id, "ann", "again")


def _contribute(ledger: Ledger, paid: Paid) -> None:
    def work(unit: Unit) -> None:
        unit.get(Payment, paid.id).contribute(
            unit.context,
            amount_rao=paid.amount_rao,
            contributor="a friend",
            reference=paid.tx,
            actor="ann",
        )

    ledger.decide(work)
    ledger.decide(work)  # once is enough


def test_a_decision_wants_a_person_a_reason_and_an_open_claim(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    with pytest.raises(DecisionRefusedError, match="has no open claim"):
        grant_claim(scene.ledger, paid.id, "ann", "yes")
    record_claim(scene.ledger, paid.id, claimed(paid))
    with pytest.raises(DecisionRefusedError, match="an actor's name"):
        grant_claim(scene.ledger, paid.id, " ", "yes")
    with pytest.raises(DecisionRefusedError, match="a reason must be"):
        refuse_claim(scene.ledger, paid.id, "ann", "")
    with pytest.raises(DecisionRefusedError, match="is number 1, not 2"):
        grant_claim(scene.ledger, paid.id, "ann", "yes", number=2)
    decided = grant_claim(scene.ledger, paid.id, "ann", "yes", number=1)
    assert isinstance(decided, RefundDecided)
    assert (decided.amount_rao, decided.destination) == (FEE_RAO, f"cold-{MINER}")
    assert (decided.decided_by, decided.reason) == ("ann", "yes")


def test_an_open_claim_is_decided_before_anything_else_is(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    record_claim(scene.ledger, paid.id, claimed(paid, "credit", MINER))
    with pytest.raises(DecisionRefusedError, match="grant or refuse it first"):
        decide_refund(scene.ledger, paid.id, "ann", "why")
    with pytest.raises(DecisionRefusedError, match="grant or refuse it first"):
        credit_payment(scene.ledger, paid.id, OTHER, "ann", "why")


def test_a_commit_takes_money_whose_claim_is_open_and_the_claim_lapses(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    record_claim(scene.ledger, paid.id, claimed(paid))
    scene.block(commits=(commit(paid),))
    assert len(scene.facts(SubmissionAccepted)) == 1
    with pytest.raises(DecisionRefusedError, match="has no open claim"):
        grant_claim(scene.ledger, paid.id, "ann", "yes")
    (line,) = scene.read(claims)
    assert (line["claim_state"], line["status"]) == ("lapsed", "consumed")


# -- credits ----------------------------------------------------------------------------------


def test_a_granted_credit_pays_for_the_next_commit_however_the_money_came(scene: Scene) -> None:
    paid = scene.pay(MINER, "a", amount_rao=FEE_RAO + 5)
    record_claim(scene.ledger, paid.id, claimed(paid, "credit", OTHER))
    credit = grant_claim(scene.ledger, paid.id, "ann", "it was sent by hand")
    assert isinstance(credit, PaymentCredited)
    assert (credit.submission_id, credit.fee_rao, credit.hotkey) == (None, 0, OTHER)
    assert unclaimed_rao(scene) == FEE_RAO + 5, "a credit out of unclaimed money moves none"
    evidence = plain_transfer(paid)
    scene.block(commits=(commit(paid, hotkey=MINER, evidence=evidence),))
    (refused,) = scene.facts(SubmissionRefused)
    assert RefusalCode.PAYMENT_ALREADY_USED.value in refused.codes
    payload = paid.payload(digest("b"))
    found = commit(paid, hotkey=OTHER, evidence=evidence, payload=payload)
    scene.block(commits=(found,))
    (accepted,) = scene.facts(SubmissionAccepted)
    (consumed,) = scene.facts(PaymentConsumed)
    assert (consumed.fee_rao, consumed.overpaid_rao) == (FEE_RAO, 5)
    assert accepted.fee_rao == FEE_RAO
    assert unclaimed_rao(scene) == 0
    scene.block(commits=(commit(paid, hotkey=OTHER, evidence=evidence, index=9, payload=payload),))
    assert len(scene.facts(SubmissionAccepted)) == 1, "once only"


def test_a_payment_below_the_fee_is_no_credit(scene: Scene) -> None:
    paid = scene.pay(MINER, "a", amount_rao=FEE_RAO - 1)
    for act in (
        lambda: credit_payment(scene.ledger, paid.id, MINER, "ann", "why"),
        lambda: record_claim(scene.ledger, paid.id, claimed(paid, "credit", MINER)),
    ):
        with pytest.raises(DecisionRefusedError, match="less than the fee"):
            act()
    assert decide_refund(scene.ledger, paid.id, "ann", "why").amount_rao == FEE_RAO - 1


def test_what_a_credit_cannot_make_good_is_still_refused(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    credit_payment(scene.ledger, paid.id, MINER, "ann", "why")
    scene.block(commits=(commit(paid, evidence=PaymentEvidence(paid.block)),))
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.codes == (RefusalCode.PAYMENT_TX_NOT_IN_BLOCK.value,)
    assert not scene.facts(PaymentConsumed)


def test_a_submission_that_ended_is_credited_by_hand_once_and_for_its_own_hotkey(
    scene: Scene,
) -> None:
    scene.register((1, MINER, None))
    submission = scene.submit(MINER)
    with pytest.raises(DecisionRefusedError, match="only one that ended"):
        credit_submission(scene.ledger, submission, MINER, "ann", "the host broke")
    scene.contest({submission: 500})
    with pytest.raises(DecisionRefusedError, match="gets no credit"):
        credit_submission(scene.ledger, submission, OTHER, "ann", "the host broke")
    given = credit_submission(scene.ledger, submission, MINER, "ann", "the host broke")
    assert (given.decided_by, given.reason, given.fee_rao) == ("ann", "the host broke", FEE_RAO)
    assert credit_submission(scene.ledger, submission, MINER, "bob", "again") == given
    assert len(scene.facts(PaymentCredited)) == 1
    (unused,) = scene.read(unused_credits, MINER)
    assert unused["decided_by"] == "ann"
    assert not scene.read(unused_credits, OTHER)


# -- refunds ----------------------------------------------------------------------------------


def test_a_refund_is_matched_with_the_one_transfer_that_carried_it_out(scene: Scene) -> None:
    first, second = scene.pay(MINER, "a"), scene.pay(MINER, "b")
    for paid in (first, second):
        decide_refund(scene.ledger, paid.id, "ann", "asked")
    sent(scene, OTHER, FEE_RAO)
    sent(scene, f"cold-{MINER}", FEE_RAO - 1)
    assert not scene.facts(PaymentRefunded)
    scene.block(commits=(commit(first),))
    (refused,) = scene.facts(SubmissionRefused)
    assert refused.codes == ("payment_already_used",), "promised money pays for nothing"
    number = sent(scene, f"cold-{MINER}", FEE_RAO)
    (refunded,) = scene.facts(PaymentRefunded)
    assert (refunded.originator_id, refunded.block) == (first.id, number)
    assert (refunded.actor, refunded.reason) == ("ann", "asked")
    assert refunds_sent_in(scene.ledger, refunded.extrinsic_hash) == [refunded]
    assert match_refunds(scene.ledger) == [], "one transfer explains one refund"
    sent(scene, f"cold-{MINER}", FEE_RAO)
    assert [fact.originator_id for fact in scene.facts(PaymentRefunded)] == [first.id, second.id]
    assert unclaimed_rao(scene) == 0
    assert not scene.facts(AlertRaised)


def test_two_refunds_of_one_block_are_two(scene: Scene) -> None:
    first, second = scene.pay(MINER, "a"), scene.pay(MINER, "b")
    for paid in (first, second):
        decide_refund(scene.ledger, paid.id, "ann", "asked")
    outs = [Withdrawal(event, 2, "0xout", f"cold-{MINER}", FEE_RAO) for event in (1, 2)]
    scene.block(withdrawals=tuple(outs))
    assert [fact.originator_id for fact in scene.facts(PaymentRefunded)] == [first.id, second.id]


def test_a_refund_that_is_sent_twice_raises_an_alert(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    decide_refund(scene.ledger, paid.id, "ann", "asked")
    sent(scene, f"cold-{MINER}", FEE_RAO)
    sent(scene, f"cold-{MINER}", FEE_RAO)
    assert len(scene.facts(PaymentRefunded)) == 1
    (alert,) = scene.facts(AlertRaised)
    assert alert.kind == "refund_sent_twice"
    assert f"cold-{MINER}" in alert.detail


def test_a_transfer_before_the_decision_is_no_refund(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    sent(scene, f"cold-{MINER}", FEE_RAO)
    decide_refund(scene.ledger, paid.id, "ann", "asked")
    assert match_refunds(scene.ledger) == []
    assert not scene.facts(PaymentRefunded)


def test_an_extrinsic_that_was_booked_as_a_conversion_is_no_refund(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    decide_refund(scene.ledger, paid.id, "ann", "asked")
    scene.ledger.decide(
        lambda unit: unit.get(Treasury, treasury_id(ARENA)).convert(
            unit.context,
            reference=f"0x{scene.head:064x}",
            sold_rao=FEE_RAO,
            bought_usd_micros=1,
            usd_micros_per_tao=1,
            provider="shadeform",
            source="exchange",
            about_block=scene.head + 1,
            actor="ann",
        )
    )
    sent(scene, f"cold-{MINER}", FEE_RAO)
    assert not scene.facts(PaymentRefunded)
    assert match_refunds(scene.ledger) == []


# -- expiry -----------------------------------------------------------------------------------


def jump(scene: Scene, number: int, **content: Any) -> None:
    """The block of that number, as after a gap: the blocks before it are not in the log."""
    gap = SeenAnew(Gap(scene.head + 1, number - 1, "pruned"))
    record_block(scene.ledger, scene.facts_of(number, seen_anew=gap, **content))


def test_what_nobody_claimed_expires_once_with_a_block(scene: Scene) -> None:
    max_age = scene.rules.fee.payment_max_age_blocks
    unused, used = scene.pay(MINER, "a"), scene.pay(MINER, "b")
    scene.block(commits=(commit(used),))
    jump(scene, used.block + max_age)
    assert not scene.facts(PaymentExpired), "a commit may name it still"
    jump(scene, 2 * EXPIRY_BLOCKS)
    (expired,) = scene.facts(PaymentExpired)
    assert expired.originator_id == unused.id
    assert expired.age_blocks == 2 * EXPIRY_BLOCKS - unused.block
    jump(scene, 3 * EXPIRY_BLOCKS)
    jump(scene, 9 * EXPIRY_BLOCKS)
    assert len(scene.facts(PaymentExpired)) == 1
    line = scene.read(payment_named, unused.tx)
    assert line["status"] == "expired"
    assert record_claim(scene.ledger, unused.id, claimed(unused)).number == 1


def test_every_payment_expires_wherever_the_blocks_of_its_stretch_end(scene: Scene) -> None:
    paid = [scene.pay(MINER, f"{number}") for number in range(EXPIRY_BLOCKS + 20)]
    while scene.head < paid[-1].block + scene.rules.fee.payment_max_age_blocks + EXPIRY_BLOCKS:
        scene.block()
    expired = scene.facts(PaymentExpired)
    assert [fact.originator_id for fact in expired] == [one.id for one in paid]
    max_age = scene.rules.fee.payment_max_age_blocks
    assert min(fact.age_blocks for fact in expired) > max_age
    assert max(fact.age_blocks for fact in expired) <= max_age + EXPIRY_BLOCKS


# -- the view ---------------------------------------------------------------------------------


def test_a_payment_is_found_by_its_names(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    by_hash = scene.read(payment_named, paid.tx.upper().replace("0X", "0x"))
    assert scene.read(payment_named, f"{paid.block}-{paid.index}") == by_hash
    assert scene.read(payment_named, str(paid.id)) == by_hash
    for name in ("0x" + "00" * 32, "9-9", "nothing"):
        with pytest.raises(DecisionRefusedError, match="no payment to the treasury is named"):
            scene.read(payment_named, name)


def test_two_payments_of_one_hash_are_named_by_their_place(scene: Scene) -> None:
    twin = Deposit(4, "0x" + "11" * 32, f"cold-{MINER}", 5, "x", ())
    scene.block(deposits=(twin, replace(twin, extrinsic_index=5)))
    with pytest.raises(DecisionRefusedError, match=f"name one of {scene.head}-4, {scene.head}-5"):
        scene.read(payment_named, twin.extrinsic_hash)


def test_the_view_says_what_was_claimed_and_decided(scene: Scene) -> None:
    paid = scene.pay(MINER, "a")
    record_claim(scene.ledger, paid.id, claimed(paid))
    (line,) = scene.read(claims)
    assert (line["claim_state"], line["claim_wants"], line["status"]) == (
        "open",
        "refund",
        "unclaimed",
    )
    refuse_claim(scene.ledger, paid.id, "ann", "too early")
    (line,) = scene.read(claims)
    assert (line["claim_state"], line["decided_by"], line["reason"]) == (
        "refused",
        "ann",
        "too early",
    )
    record_claim(scene.ledger, paid.id, claimed(paid, signature="0xbb"))
    grant_claim(scene.ledger, paid.id, "bob", "now")
    (line,) = scene.read(payments)
    assert (line["claim_state"], line["status"], line["claim_number"]) == (
        "granted",
        "refund decided",
        2,
    )
    sent(scene, f"cold-{MINER}", FEE_RAO)
    (line,) = scene.read(payments)
    assert line["status"] == "refunded"
    assert line["refund_extrinsic_hash"] is not None
    assert not scene.facts(CreditRedeemed)
