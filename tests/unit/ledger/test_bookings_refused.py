"""What no booking may say: a refund that was sold, money no view holds, a statement in silence."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.commands import treasury as book
from ledger.commands.block_facts import Withdrawal
from ledger.commands.claims import decide_refund
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.treasury import MAX_AMOUNT, TaoConverted
from ledger.decisions.unclaimed import PaymentRefunded
from ledger.observations import BalanceObserved
from ledger.queries.treasury import reconciliation
from tests.unit.ledger.scenes import Scene
from tests.unit.ledger.test_gifts_and_bills import account, close
from tests.unit.ledger.test_treasury_commands import BILL, FIX, GIFT, SALE, STATEMENT, TAO, USD


def send(scene: Scene, extrinsic: str, *amounts: int) -> int:
    outs = tuple(
        Withdrawal(number, 1, extrinsic, "exchange", rao)
        for number, rao in enumerate(amounts, start=1)
    )
    return scene.block(withdrawals=outs)


# -- sales ------------------------------------------------------------------------------------


def test_a_transfer_that_carried_a_refund_out_is_no_sale(scene: Scene) -> None:
    paid = scene.pay("a", "one", amount_rao=3 * TAO)
    decided = decide_refund(scene.ledger, paid.id, "ann", "asked for")
    out = Withdrawal(4, 1, SALE["reference"], decided.destination, 3 * TAO)
    scene.block(withdrawals=(out,))
    assert len(scene.facts(PaymentRefunded)) == 1
    with pytest.raises(DecisionRefusedError, match="carried out the refund of payment"):
        book.convert(scene.ledger, **SALE)
    assert not scene.facts(TaoConverted)


def test_a_sale_that_is_booked_is_found_again_whatever_came_later(scene: Scene) -> None:
    paid = scene.pay("a", "one", amount_rao=3 * TAO)
    block = scene.head + 1
    book_it = {**SALE, "about_block": scene.head}
    assert book.convert(scene.ledger, **book_it).new
    decided = decide_refund(scene.ledger, paid.id, "ann", "asked for")
    out = Withdrawal(4, 1, SALE["reference"], decided.destination, 3 * TAO)
    assert scene.block(withdrawals=(out,)) == block
    assert not scene.facts(PaymentRefunded)  # a booked extrinsic explains no refund


def test_a_sale_in_a_batch_is_held_against_all_that_left_in_it(scene: Scene) -> None:
    send(scene, SALE["reference"], 2 * TAO, TAO)
    assert book.convert(scene.ledger, **SALE).notes == ()


def test_a_hash_in_two_blocks_names_the_transfer_of_the_block_that_is_said(scene: Scene) -> None:
    first = send(scene, SALE["reference"], 3 * TAO)
    send(scene, SALE["reference"], TAO)
    booked = book.convert(scene.ledger, **{**SALE, "about_block": first})
    assert (booked.about_block, booked.notes) == (first, ())


@pytest.mark.parametrize("price", [0, MAX_AMOUNT + 1])
def test_a_sale_at_no_price_is_refused_however_small(scene: Scene, price: int) -> None:
    scene.block()
    small = {"sold_rao": 1, "bought_usd_micros": 1, "about_block": 11}
    with pytest.raises(DecisionRefusedError, match="give one above zero"):
        book.convert(scene.ledger, **{**SALE, **small, "usd_micros_per_tao": price})


@pytest.mark.parametrize(
    ("booking", "content", "field"),
    [
        (book.convert, {**SALE, "about_block": 11}, "provider"),
        (book.contribute, GIFT, "provider"),
        (book.adjust, FIX, "provider"),
        (book.pay, BILL, "provider"),
        (book.pay, BILL, "paid_from"),
    ],
)
def test_dollars_lie_at_a_provider_and_not_at_a_part_of_an_accounts_name(
    scene: Scene, booking: Any, content: dict[str, Any], field: str
) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="has no colon, and 'payable:lium' does"):
        booking(scene.ledger, **{**content, field: "payable:lium"})


# -- statements -------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [MAX_AMOUNT + 1, -MAX_AMOUNT - 1])
def test_a_statement_that_no_view_can_hold_is_refused(scene: Scene, shown: int) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="a statement shows up to"):
        book.observe_statement(scene.ledger, **{**STATEMENT, "usd_micros": shown})
    assert not scene.facts(BalanceObserved)


def test_a_bill_is_stated_of_the_payable_account(scene: Scene) -> None:
    scene.block()
    book.observe_statement(scene.ledger, **{**STATEMENT, "provider": "payable:lium"})
    found = scene.read(reconciliation)
    (line,) = [one for one in found.accounts if one.account == "liabilities:payable:lium"]
    assert line.closing == -12 * USD
    for name in ("payable:", "a:b"):
        with pytest.raises(DecisionRefusedError, match="a provider's name"):
            book.observe_statement(scene.ledger, **{**STATEMENT, "provider": name})


def test_a_correction_takes_a_statements_place_and_both_stay(scene: Scene) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="there is none to correct"):
        book.observe_statement(scene.ledger, **STATEMENT, correction="misread")
    book.observe_statement(scene.ledger, **STATEMENT)
    right = {**STATEMENT, "usd_micros": 21 * USD, "correction": "two digits swapped"}
    corrected = book.observe_statement(scene.ledger, **right)
    again = book.observe_statement(scene.ledger, **right)
    assert (corrected.new, again.new) == (True, False)
    assert corrected.notes == ("it takes the place of 12.000000 USD",)
    line = account(scene, "assets:provider:lium", "USD")
    assert line.closing == 21 * USD
    # What was recorded first is known again, and does not count again.
    first = book.observe_statement(scene.ledger, **STATEMENT)
    assert not first.new
    assert "21.000000 USD counts there now" in first.notes[0]
    # A correction can be wrong, too, and take back what it said.
    back = {**STATEMENT, "correction": "it was right at first"}
    assert book.observe_statement(scene.ledger, **back).new
    assert account(scene, "assets:provider:lium", "USD").closing == 12 * USD
    facts = scene.facts(BalanceObserved)
    assert [fact.reason for fact in facts] == [None, right["correction"], back["correction"]]
    assert facts[1].causation == facts[0].fact_key


def test_a_correction_leaves_a_closed_period_as_it_was(scene: Scene) -> None:
    opening = {**STATEMENT, "about_block": scene.head, "usd_micros": 0}
    book.observe_statement(scene.ledger, **opening)
    scene.block()
    book.observe_statement(scene.ledger, **STATEMENT)
    close(scene)
    right = {**STATEMENT, "usd_micros": 0, "correction": "another account's"}
    book.observe_statement(scene.ledger, **right)
    line = account(scene, "assets:provider:lium", "USD", period=1)
    assert (line.closing, line.residual, line.residual_now) == (12 * USD, 12 * USD, 0)
    for asked in (1, 2):  # the block ends the one period and begins the other
        (told,) = scene.read(lambda scope, at=asked: reconciliation(scope, period=at)).corrections
        assert (told.account, told.about_block) == (
            "assets:provider:lium",
            STATEMENT["about_block"],
        )
        assert (told.was, told.corrected_to) == (12 * USD, 0)
        assert (told.reason, told.actor) == ("another account's", "ann")
        assert told.fact_key.endswith(":11:2")
