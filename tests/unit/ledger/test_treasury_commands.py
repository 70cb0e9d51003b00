"""Bookings by a person: checked against the log, booked once, and said where the log lacks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger.commands import treasury as book
from ledger.commands import treasury_checks as checks
from ledger.commands.block_facts import AlphaBurned, Withdrawal
from ledger.commands.said import MAX_ACTOR_CHARS
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.treasury import (
    MAX_AMOUNT,
    Adjusted,
    AlphaDestroyed,
    Contributed,
    PayablePaid,
    TaoConverted,
    Treasury,
)
from ledger.decisions.unclaimed import PaymentContributed
from ledger.keys import treasury_id
from ledger.observations import BalanceObserved, PriceObserved
from ledger.queries.treasury import account_balances, payments
from ledger.store.conflicts import FactConflictError
from tests.unit.ledger.scenes import FEE_RAO, TREASURY, Scene, block_hash, commit

TAO = 10**9
USD = 10**6
SALE = {
    "sold_rao": 3 * TAO,
    "bought_usd_micros": 945 * USD,
    "usd_micros_per_tao": 315 * USD,
    "provider": "shadeform",
    "source": "exchange",
    "reference": block_hash(1, "sale"),
    "about_block": None,
    "actor": "ann",
}
GIFT = {
    "asset": "USD",
    "amount": 50 * USD,
    "provider": "lium",
    "contributor": "bob",
    "reference": "wire 7",
    "about_block": 11,
    "actor": "ann",
}
FIX = {
    "asset": "USD",
    "amount": -5,
    "provider": "lium",
    "reason": "a fee of the bank",
    "reference": "fix 1",
    "about_block": 11,
    "actor": "ann",
}
BILL = {
    "provider": "lium",
    "paid_from": "shadeform",
    "usd_micros": 7 * USD,
    "invoice": "inv-1",
    "reference": "wire 8",
    "about_block": 11,
    "actor": "ann",
}
GONE = {
    "how": "burned",
    "alpha": 2 * TAO,
    "reason": "a promise",
    "reference": block_hash(2, "burn"),
    "about_block": None,
    "actor": "ann",
}
STATEMENT = {
    "provider": "lium",
    "usd_micros": 12 * USD,
    "statement": "June, page 2",
    "about_block": 11,
    "actor": "ann",
}
PRICE = {"usd_micros_per_tao": 315 * USD, "source": "exchange", "about_block": 11}

BOOKINGS: list[tuple[Callable[..., book.Booked], dict[str, Any], type[Any]]] = [
    (book.convert, {**SALE, "about_block": 11}, TaoConverted),
    (book.contribute, GIFT, Contributed),
    (book.adjust, FIX, Adjusted),
    (book.pay, BILL, PayablePaid),
    (book.destroy_alpha, {**GONE, "about_block": 11}, AlphaDestroyed),
    (book.observe_statement, STATEMENT, BalanceObserved),
    (book.observe_price, PRICE, PriceObserved),
]
NAMES = [one[0].__name__ for one in BOOKINGS]


def sums(scene: Scene) -> dict[tuple[str, str], int]:
    found = scene.read(account_balances)
    return {(line["account"], line["asset"]): line["amount"] for line in found}


@pytest.mark.parametrize(("booking", "content", "kind"), BOOKINGS, ids=NAMES)
def test_a_booking_is_recorded_once(
    scene: Scene, booking: Any, content: dict[str, Any], kind: type[Any]
) -> None:
    scene.block()
    first = booking(scene.ledger, **content)
    again = booking(scene.ledger, **content)
    assert (first.new, again.new) == (True, False)
    assert first.about_block == again.about_block == 11
    assert len(scene.facts(kind)) == 1


@pytest.mark.parametrize(("booking", "content", "kind"), BOOKINGS, ids=NAMES)
@pytest.mark.parametrize("block", [9, 12])
def test_a_block_outside_of_the_log_is_refused(
    scene: Scene, booking: Any, content: dict[str, Any], kind: type[Any], block: int
) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="goes from block 10 to 11"):
        booking(scene.ledger, **{**content, "about_block": block})
    assert not scene.facts(kind)


@pytest.mark.parametrize(
    ("booking", "content", "field", "limit"),
    [
        (booking, content, field, limit)
        for booking, content, _ in BOOKINGS
        for field, limit in (
            ("actor", MAX_ACTOR_CHARS),
            ("reference", checks.MAX_REFERENCE_CHARS),
            ("provider", checks.MAX_NAME_CHARS),
            ("paid_from", checks.MAX_NAME_CHARS),
            ("invoice", checks.MAX_NAME_CHARS),
            ("contributor", checks.MAX_NAME_CHARS),
            ("reason", checks.MAX_TEXT_CHARS),
            ("source", checks.MAX_TEXT_CHARS),
        )
        if field in content and booking is not book.observe_price
    ]
    + [
        (book.observe_statement, STATEMENT, "statement", checks.MAX_REFERENCE_CHARS),
        (book.observe_price, PRICE, "source", book.MAX_PRICE_SOURCE_CHARS),
    ],
)
def test_texts_are_one_bounded_line(
    scene: Scene, booking: Any, content: dict[str, Any], field: str, limit: int
) -> None:
    scene.block()
    for text in ("", " ", "two\nlines", "x" * (limit + 1)):
        with pytest.raises(DecisionRefusedError, match=f"1 to {limit} printable"):
            booking(scene.ledger, **{**content, field: text})
    longest = {**content, field: "x" * limit}
    if field == "provider":
        longest["new_provider"] = True
    if field == "paid_from":
        there = {"provider": "x" * limit, "new_provider": True}
        book.contribute(scene.ledger, **{**GIFT, **there})
    assert booking(scene.ledger, **longest).new


def test_the_same_reference_with_other_content_is_a_conflict(scene: Scene) -> None:
    scene.block()
    book.pay(scene.ledger, **BILL)
    with pytest.raises(FactConflictError):
        book.pay(scene.ledger, **{**BILL, "usd_micros": 1})
    with pytest.raises(DecisionRefusedError, match="is booked already"):
        book.adjust(scene.ledger, **{**FIX, "reference": BILL["reference"]})


# -- conversions ------------------------------------------------------------------------------


def sold(scene: Scene, amount_rao: int = 3 * TAO) -> int:
    out = Withdrawal(4, 1, SALE["reference"], "exchange", amount_rao)
    return scene.block(withdrawals=(out,))


def test_a_sale_takes_the_block_of_its_transfer_and_follows_from_it(scene: Scene) -> None:
    block = sold(scene)
    scene.block()
    booked = book.convert(scene.ledger, **SALE)
    assert (booked.about_block, booked.notes) == (block, ())
    (fact,) = scene.facts(TaoConverted)
    assert fact.causation.startswith("out:")


def test_a_sale_that_the_log_does_not_know_is_booked_and_said(scene: Scene) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="say the block that it is about"):
        book.convert(scene.ledger, **SALE)
    booked = book.convert(scene.ledger, **{**SALE, "about_block": 11})
    assert "is in the log yet" in booked.notes[0]
    assert "in_books_not_on_chain" in booked.notes[0]


def test_a_sale_of_another_amount_than_its_transfer_is_said(scene: Scene) -> None:
    sold(scene, 2 * TAO)
    booked = book.convert(scene.ledger, **SALE)
    assert "2.000000000 TAO to have left in it, not 3.000000000 TAO" in booked.notes[0]


def test_a_sale_is_not_about_another_block_than_its_transfer(scene: Scene) -> None:
    block = sold(scene)
    scene.block()
    with pytest.raises(DecisionRefusedError, match=f"in the log at block {block}, so it is not"):
        book.convert(scene.ledger, **{**SALE, "about_block": block + 1})


@pytest.mark.parametrize(
    ("bought", "fits"),
    [(0, True), (10_003, True), (-10_003, True), (10_004, False), (-10_004, False)],
)
def test_the_stated_price_gives_the_dollars_within_a_cent_and_its_last_place(
    scene: Scene, bought: int, fits: bool
) -> None:
    scene.block()
    sale = {**SALE, "about_block": 11, "bought_usd_micros": 945 * USD + bought}
    if fits:
        assert book.convert(scene.ledger, **sale).new
    else:
        with pytest.raises(DecisionRefusedError, match="per TAO is not"):
            book.convert(scene.ledger, **sale)


# -- contributions ----------------------------------------------------------------------------


def gift_of(reference: str, amount: int = FEE_RAO) -> dict[str, Any]:
    return {
        **GIFT,
        "asset": "TAO",
        "amount": amount,
        "provider": None,
        "reference": reference,
        "about_block": None,
    }


def test_tao_that_was_given_is_a_payment_that_nobody_claimed(scene: Scene) -> None:
    paid = scene.pay("a", "one")
    booked = book.contribute(scene.ledger, **gift_of(paid.tx))
    again = book.contribute(scene.ledger, **gift_of(paid.tx))
    assert (booked.new, again.new, booked.about_block) == (True, False, paid.block)
    assert sums(scene)["liabilities:unclaimed_payments", "TAO"] == 0
    assert sums(scene)["equity:contributions", "TAO"] == -FEE_RAO
    (line,) = scene.read(payments)
    assert line["status"] == "contributed"
    assert len(scene.facts(PaymentContributed)) == 1


def test_a_gift_pays_no_fee_any_more(scene: Scene) -> None:
    scene.register((1, "a", None))
    paid = scene.pay("a", "one")
    book.contribute(scene.ledger, **gift_of(paid.tx))
    found = commit(paid)
    number = scene.block(commits=(found,))
    assert scene.status(scene.identity(found, number)) == "refused"
    assert sums(scene)["liabilities:unclaimed_payments", "TAO"] == 0


def test_a_payment_that_paid_a_fee_is_no_gift(scene: Scene) -> None:
    scene.register((1, "a", None))
    paid = scene.pay("a", "one")
    scene.block(commits=(commit(paid),))
    with pytest.raises(DecisionRefusedError, match="cannot be a contribution"):
        book.contribute(scene.ledger, **gift_of(paid.tx))
    assert not scene.facts(Contributed)


def test_a_gift_is_all_of_a_payment_that_is_in_the_log(scene: Scene) -> None:
    paid = scene.pay("a", "one")
    with pytest.raises(DecisionRefusedError, match="book all of it"):
        book.contribute(scene.ledger, **gift_of(paid.tx, FEE_RAO - 1))
    with pytest.raises(DecisionRefusedError, match="no payment to the treasury in extrinsic 0xab"):
        book.contribute(scene.ledger, **gift_of("0xab"))


@pytest.mark.parametrize(("asset", "provider"), [("USD", None), ("TAO", "lium"), ("ALPHA", "lium")])
@pytest.mark.parametrize(("booking", "content"), [(book.contribute, GIFT), (book.adjust, FIX)])
def test_dollars_and_only_dollars_lie_at_a_provider(
    scene: Scene, booking: Any, content: dict[str, Any], asset: str, provider: str | None
) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="name one for dollars only"):
        booking(scene.ledger, **{**content, "asset": asset, "provider": provider})


@pytest.mark.parametrize("amount", [0, MAX_AMOUNT + 1, -MAX_AMOUNT - 1])
def test_an_adjustment_changes_something_that_fits(scene: Scene, amount: int) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="needs an amount above or below zero"):
        book.adjust(scene.ledger, **{**FIX, "amount": amount})


# -- alpha ------------------------------------------------------------------------------------


def burned(scene: Scene, how: str, alpha: int = 2 * TAO, by: str = TREASURY) -> int:
    spent = TAO if how == "add_stake_burn" else None
    burn = AlphaBurned(2, GONE["reference"], how, by, "h", 14, spent, alpha)
    return scene.block(burns=(burn,))


@pytest.mark.parametrize(
    ("how", "call", "account"),
    [
        ("burned", "burn_alpha", "expenses:alpha_burned"),
        ("recycled", "recycle_alpha", "expenses:alpha_recycled"),
    ],
)
def test_burned_and_recycled_are_booked_apart(
    scene: Scene, how: str, call: str, account: str
) -> None:
    block = burned(scene, call)
    booked = book.destroy_alpha(scene.ledger, **{**GONE, "how": how})
    assert (booked.about_block, booked.notes) == (block, ())
    assert sums(scene)[account, "ALPHA:14"] == 2 * TAO


def test_a_burn_is_no_recycling_and_no_purchase(scene: Scene) -> None:
    burned(scene, "burn_alpha")
    with pytest.raises(DecisionRefusedError, match="as burn_alpha, which is not"):
        book.destroy_alpha(scene.ledger, **{**GONE, "how": "recycled"})


def test_what_bought_and_burned_is_no_burn_of_what_was_held(scene: Scene) -> None:
    burned(scene, "add_stake_burn")
    with pytest.raises(DecisionRefusedError, match="as add_stake_burn"):
        book.destroy_alpha(scene.ledger, **GONE)


def test_a_buybacks_burn_is_booked_already(scene: Scene) -> None:
    block = burned(scene, "burn_alpha")

    def buyback(unit: Any) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.plan_buyback(unit.context, 10, 10, "ann")
        treasury.approve_buyback(unit.context, 1, "bob")
        treasury.send_buyback(unit.context, 1, 5, 0)
        treasury.execute_buyback(
            unit.context,
            1,
            block=block,
            block_hash=block_hash(block),
            extrinsic_index=2,
            extrinsic_hash=GONE["reference"],
            netuid=14,
            spent_rao=1,
            burned_alpha=2 * TAO,
            about_block=block,
        )

    scene.ledger.decide(buyback)
    with pytest.raises(DecisionRefusedError, match="is buyback 1's, which is booked"):
        book.destroy_alpha(scene.ledger, **GONE)


def test_a_burn_that_the_log_does_not_know_is_booked_and_said(scene: Scene) -> None:
    scene.block()
    burned(scene, "burn_alpha", by="somebody")
    booked = book.destroy_alpha(scene.ledger, **{**GONE, "about_block": 11})
    assert "no burn by the treasury" in booked.notes[0]


def test_another_amount_than_the_log_knows_is_said(scene: Scene) -> None:
    burned(scene, "burn_alpha", alpha=TAO)
    booked = book.destroy_alpha(scene.ledger, **GONE)
    assert "amount_differs" in booked.notes[0]


# -- what the outside states ------------------------------------------------------------------


def test_a_statement_says_where_it_stands_and_who_read_it(scene: Scene) -> None:
    scene.block()
    book.observe_statement(scene.ledger, **STATEMENT)
    (fact,) = scene.facts(BalanceObserved)
    assert (fact.statement, fact.actor, fact.source) == ("June, page 2", "ann", "provider")
    with pytest.raises(DecisionRefusedError, match="say why it is wrong with --correction"):
        book.observe_statement(scene.ledger, **{**STATEMENT, "usd_micros": 1})


@pytest.mark.parametrize("price", [0, -1, MAX_AMOUNT + 1])
def test_a_price_is_above_zero(scene: Scene, price: int) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="give one above zero"):
        book.observe_price(scene.ledger, **{**PRICE, "usd_micros_per_tao": price})
