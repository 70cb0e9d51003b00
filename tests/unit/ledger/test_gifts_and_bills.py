"""What is held against a contribution or a bill is what was known, of the deposit that is meant."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.books.invoices import billed_to
from ledger.books.lines import InvoicedLine, MeteredCost
from ledger.commands import treasury as book
from ledger.commands.money import record_balances
from ledger.decisions.payment import Payment
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import InvoiceLineSeen
from ledger.queries.treasury import TreasuryLine, reconciliation
from tests.unit.ledger.scenes import OPENED_AT, TREASURY, Paid, Scene
from tests.unit.ledger.test_closing_periods import rent


def balance(scene: Scene, amount: int) -> None:
    record_balances(scene.ledger, (("TAO", TREASURY, amount, "chain"),), about_block=scene.head)


def close(scene: Scene) -> None:
    def work(unit: Any) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.close_period(unit.context, unit.block, OPENED_AT, "op")

    scene.ledger.decide(work)


def account(scene: Scene, name: str, asset: str, **asked: int) -> TreasuryLine:
    found = scene.read(lambda scope: reconciliation(scope, **asked))
    (line,) = [one for one in found.accounts if (one.account, one.asset) == (name, asset)]
    return line


def give(scene: Scene, paid: Paid) -> None:
    book.contribute(
        scene.ledger,
        asset="TAO",
        amount=30,
        provider=None,
        contributor="bob",
        reference=paid.tx,
        about_block=None,
        actor="ann",
    )


def test_a_gift_of_a_payment_that_served_nothing_else_is_no_break(scene: Scene) -> None:
    balance(scene, 0)
    paid = scene.pay("c", "gift", amount_rao=30)
    give(scene, paid)
    balance(scene, 30)
    line = account(scene, "assets:treasury", "TAO")
    assert (line.residual, line.breaks, line.light) == (0, (), "green")


def test_what_becomes_of_a_deposit_later_is_not_held_against_a_closed_period(
    scene: Scene,
) -> None:
    balance(scene, 0)
    paid = scene.pay("c", "gift", amount_rao=30)

    def claim(unit: Any) -> None:
        # As a log holds it that another program wrote: the payment itself knows of no gift.
        unit.get(Treasury, treasury_id(unit.context.arena)).contribute(
            unit.context,
            reference=paid.tx,
            asset="TAO",
            amount=30,
            provider=None,
            contributor="bob",
            about_block=unit.block,
            actor="ann",
        )

    scene.ledger.decide(claim)
    balance(scene, 30)
    close(scene)
    scene.ledger.decide(
        lambda unit: unit.get(Payment, paid.id).decide_refund(unit.context, "ann", "asked")
    )
    line = account(scene, "assets:treasury", "TAO", period=1)
    assert line.breaks == ()
    (now,) = line.breaks_now
    assert "refund decided already" in now.detail


def test_a_bill_stays_where_a_closing_found_it(scene: Scene) -> None:
    statement: dict[str, Any] = {"provider": "pods", "statement": "page 1", "actor": "ann"}
    scene.block()
    scene.ledger.decide(
        lambda unit: unit.observe(
            InvoiceLineSeen,
            f"invoice:{unit.context.arena}:pods:inv:1",
            provider="pods",
            invoice="inv",
            line="1",
            instance="i-1",
            tag=None,
            seconds=None,
            from_s=None,
            to_s=None,
            billed_usd_micros=7,
            about_block=unit.block,
        )
    )
    book.observe_statement(scene.ledger, usd_micros=7, about_block=scene.head, **statement)
    close(scene)
    before = account(scene, "assets:provider:pods", "USD", period=1)
    assert [one.kind for one in before.breaks] == ["invoice_without_rental"]
    scene.block()
    rent(scene, "billed afterwards", 5, settlement="payable")
    after = account(scene, "assets:provider:pods", "USD", period=1)
    assert after.breaks == before.breaks


def line(rental: str | None) -> InvoicedLine:
    return InvoicedLine("pods", "inv", "1", "i", 7, 11, rental)


def cost(rental: str, position: int) -> MeteredCost:
    return MeteredCost(rental, "pods", 7, 11, position)


@pytest.mark.parametrize(
    ("rental", "prepaid", "owed", "counts_for"),
    [
        (None, [], [], "prepaid"),
        (None, [cost("a", 1)], [cost("b", 2)], "prepaid"),
        (None, [], [cost("b", 2)], "payable"),
        ("a", [cost("a", 1)], [cost("b", 2)], "prepaid"),
        ("b", [cost("a", 1)], [cost("b", 2)], "payable"),
        ("b", [cost("b", 3)], [cost("b", 2)], "payable"),
        ("b", [cost("b", 1)], [cost("b", 2)], "prepaid"),
        ("of no cost", [cost("a", 1)], [], "prepaid"),
    ],
)
def test_a_bill_counts_for_one_account_of_its_provider(
    rental: str | None, prepaid: list[MeteredCost], owed: list[MeteredCost], counts_for: str
) -> None:
    lines = [line(rental)]
    found = {
        "prepaid": billed_to(lines, prepaid, owed, payable=False),
        "payable": billed_to(lines, owed, prepaid, payable=True),
    }
    assert [name for name, own in found.items() if own] == [counts_for]
