"""The books of an arena: closed periods stay as closed, the open one shows what came late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from ledger.books import accounts
from ledger.books.lights import STALE_AFTER_BLOCKS
from ledger.commands.block_facts import Withdrawal
from ledger.commands.money import record_balances
from ledger.decisions.payment import Payment
from ledger.decisions.rental import Rental
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import InvoiceLineSeen
from ledger.queries.book_names import UnknownBookError
from ledger.queries.reconciling import UnknownPeriodError
from ledger.queries.scope import BlockOutOfRangeError
from ledger.queries.statements import treasury_statement
from ledger.queries.treasury import (
    Asked,
    Reconciliation,
    TreasuryLine,
    account_balances,
    journal,
    reconciliation,
    treasury_lines,
)
from tests.unit.ledger.scenes import FEE_RAO, OPENED_AT, TREASURY, Scene, block_hash

RENTAL = UUID(int=77)


@dataclass
class Books:
    """A treasurer at work in a scene."""

    scene: Scene

    def balance(self, amount: int, asset: str = "TAO", account: str = TREASURY) -> None:
        source = "provider" if asset == "USD" else "chain"
        stated = ((asset, account, amount, source),)
        record_balances(self.scene.ledger, stated, about_block=self.scene.head)

    def decide(self, work: Any) -> None:
        identity = treasury_id(self.scene.ledger.arena)
        self.scene.ledger.decide(lambda unit: work(unit.get(Treasury, identity), unit.context))

    def close(self) -> int:
        self.decide(
            lambda treasury, context: treasury.close_period(context, context.block, OPENED_AT, "op")
        )
        return self.scene.head

    def send(self, name: str, rao: int) -> str:
        """A transfer out of the treasury in a block of its own."""
        number = self.scene.head + 1
        extrinsic = block_hash(number, name)
        self.scene.block(withdrawals=(Withdrawal(1, 1, extrinsic, "exchange", rao),))
        return extrinsic

    def convert(self, reference: str, rao: int, usd: int, about_block: int) -> None:
        self.decide(
            lambda treasury, context: treasury.convert(
                context,
                reference=reference,
                sold_rao=rao,
                bought_usd_micros=usd,
                usd_micros_per_tao=1,
                provider="pods",
                source="desk",
                about_block=about_block,
                actor="op",
            )
        )

    def adjust(self, reference: str, rao: int, about_block: int, reason: str) -> None:
        self.decide(
            lambda treasury, context: treasury.adjust(
                context,
                reference=reference,
                asset="TAO",
                amount=rao,
                provider=None,
                reason=reason,
                about_block=about_block,
                actor="op",
            )
        )

    def give_usd(self, amount: int) -> None:
        self.decide(
            lambda treasury, context: treasury.contribute(
                context,
                reference=f"receipt {context.block}",
                asset="USD",
                amount=amount,
                provider="pods",
                contributor="op",
                about_block=context.block,
                actor="op",
            )
        )

    def rent(self, *, settlement: str = "prepaid") -> int:
        """A machine for an hour at 24 dollars; the block its cost is about."""

        def work(unit: Any) -> None:
            rental = unit.get(Rental, RENTAL)
            rental.request(
                unit.context,
                provider="pods",
                tier="8x H200",
                max_usd_micros_per_hour=30_000_000,
                contest_id=None,
            )
            rental.start(
                unit.context,
                instance="i-1",
                usd_micros_per_hour=24_000_000,
                started_at_s=1_000,
                settlement=settlement,
            )
            rental.end(unit.context, 4_600, "done")
            rental.book_cost(unit.context, unit.block)

        self.scene.ledger.decide(work)
        return self.scene.head

    def billed(self, usd_micros: int) -> None:
        def work(unit: Any) -> None:
            unit.observe(
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
                billed_usd_micros=usd_micros,
                about_block=unit.block,
            )
            unit.get(Rental, RENTAL).match_invoice(unit.context, "inv", "1", usd_micros)

        self.scene.ledger.decide(work)

    def ask(self, *, at: int | None = None, **asked: int) -> Reconciliation:
        found: Reconciliation = self.scene.read(lambda scope: reconciliation(scope, **asked), at=at)
        return found

    def tao(self, *, at: int | None = None, **asked: int) -> TreasuryLine:
        return self.account(accounts.TREASURY, accounts.TAO, at=at, **asked)

    def usd(self, *, at: int | None = None, **asked: int) -> TreasuryLine:
        return self.account(accounts.provider("pods"), accounts.USD, at=at, **asked)

    def account(
        self, name: str, asset: str, *, at: int | None = None, **asked: int
    ) -> TreasuryLine:
        found = self.ask(at=at, **asked)
        (line,) = [one for one in found.accounts if (one.account, one.asset) == (name, asset)]
        return line


@pytest.fixture
def books(scene: Scene) -> Books:
    return Books(scene)


# -- closed, late, open -----------------------------------------------------------------------


def test_what_came_late_leaves_a_closed_period_and_is_an_adjustment_of_the_open_one(
    books: Books,
) -> None:
    books.balance(1_000)
    trade = books.send("trade", 400)
    traded_at = books.scene.head
    books.balance(600)
    books.close()
    frozen = books.tao(period=1)
    assert (frozen.residual, frozen.outflows, frozen.status, frozen.light) == (
        -400,
        0,
        "explained",
        "yellow",
    )
    books.scene.block()
    books.convert(trade, 400, 5, traded_at)
    books.scene.pay("A", "a")
    books.balance(600 + FEE_RAO)

    line = books.tao(period=1)
    for name in ("opening", "inflows", "outflows", "residual", "closing", "status", "breaks"):
        assert getattr(line, name) == getattr(frozen, name)
    assert (line.late_outflows, line.residual_now, line.status_now) == (400, 0, "reconciled")
    assert (line.breaks_now, line.light) == ((), "green")

    now = books.tao()
    assert (now.period, now.from_block, now.opening) == (2, frozen.to_block, 600)
    assert (now.inflows, now.outflows, now.residual) == (FEE_RAO, 0, 0)
    (adjustment,) = now.adjustments
    assert (adjustment.period, adjustment.amount) == (1, -400)
    assert (adjustment.reference, adjustment.about_block) == (trade, traded_at)
    assert adjustment.event == "treasury.converted.v1"
    assert adjustment.fact_key.startswith("converted:")


def test_an_adjustment_stays_with_the_period_in_which_it_was_recorded(books: Books) -> None:
    books.balance(1_000)
    books.scene.block()
    about = books.scene.head
    books.balance(990)
    books.close()
    books.scene.block()
    books.adjust("audit-1", -10, about, "lost key")
    books.balance(990)
    books.close()
    books.scene.block()
    books.balance(990)
    lines = [books.tao(period=number) for number in (1, 2, 3)]
    assert [line.residual for line in lines] == [-10, 0, 0]
    assert [line.residual_now for line in lines] == [0, 0, 0]
    assert [[(one.period, one.reason) for one in line.adjustments] for line in lines] == [
        [],
        [(1, "lost key")],
        [],
    ]
    assert [line.light for line in lines] == ["green", "green", "green"]


def test_a_closed_period_can_be_asked_for_as_it_was_known_then(books: Books) -> None:
    books.balance(1_000)
    trade = books.send("trade", 400)
    books.balance(600)
    closed_at = books.close()
    about = books.scene.head
    books.scene.block()
    books.convert(trade, 400, 5, about)
    assert books.tao(period=1, at=closed_at).late_outflows == 0
    assert books.tao(period=1).late_outflows == 400

    def positions(scope: Any) -> list[int]:
        (close,) = [
            one.position
            for one in books.scene.log()
            if one.fact.topic.startswith("treasury.period_closed")
        ]
        return [
            line.late_outflows
            for known_at in (close, None)
            for line in treasury_lines(scope, known_at)
            if line.asset == accounts.TAO
        ]

    assert books.scene.read(positions) == [0, 400]


def test_the_statement_of_a_closed_period_stays_as_it_was_closed(books: Books) -> None:
    books.balance(1_000)
    trade = books.send("trade", 400)
    about = books.scene.head
    first_closed = books.close()
    books.scene.block()
    books.convert(trade, 400, 5, about)
    books.scene.block()
    second_closed = books.close()
    books.adjust("audit-1", -10, about, "lost key")

    def flows(at: int | None = None) -> list[tuple[Any, ...]]:
        found = books.scene.read(lambda scope: treasury_statement(scope).flows, at=at)
        names = ("period", "adjusts", "from_block", "to_block", "debits", "credits", "balance")
        return [
            tuple(getattr(line, name) for name in names)
            for line in found
            if (line.account, line.asset) == (accounts.TREASURY, accounts.TAO)
        ]

    # Nothing of the sale was known when the first period was closed, nor is it written there.
    second = (2, 1, first_closed, second_closed, 0, 400, -400)
    third = (None, 1, second_closed, second_closed, 0, 10, -410)
    assert flows() == [second, third]
    books.scene.block()
    assert flows() == [second, (None, 1, second_closed, books.scene.head, 0, 10, -410)]
    assert flows(second_closed) == [second, third]
    assert flows(first_closed) == []


def test_right_after_a_closing_the_open_period_stands_where_the_closed_one_ended(
    books: Books,
) -> None:
    books.balance(1_000)
    books.scene.block()
    books.balance(1_000)
    books.close()
    books.scene.pay("A", "a")
    line = books.tao()
    assert (line.opening, line.inflows, line.residual, line.closing) == (1_000, 0, 0, 1_000)
    assert (line.behind_blocks, line.light) == (1, "green")


def test_an_account_nobody_observed_is_unresolved_in_every_stretch(books: Books) -> None:
    books.balance(1_000)
    books.give_usd(5)
    books.scene.block()
    books.balance(1_000)
    for found in (books.ask(), books.ask(from_block=OPENED_AT, to_block=books.scene.head)):
        usd = [line for line in (*found.accounts, *found.totals) if line.asset == accounts.USD]
        assert [line.residual for line in usd] == [None, None]
        assert [line.light for line in usd] == ["unresolved", "unresolved"]
        assert found.light == "unresolved"


def test_the_open_total_ends_where_all_of_its_accounts_were_observed(books: Books) -> None:
    for name in ("pods", "bank"):
        books.balance(100, "USD", name)
    books.scene.block()
    common = books.scene.head
    books.balance(100, "USD", "pods")
    books.balance(70, "USD", "bank")
    books.scene.block()
    books.balance(100, "USD", "pods")
    found = books.ask()
    ends = {line.account: line.to_block for line in found.accounts if line.asset == accounts.USD}
    assert ends == {
        accounts.provider("pods"): books.scene.head,
        accounts.provider("bank"): common,
    }
    (total,) = [line for line in found.totals if line.asset == accounts.USD]
    assert (total.to_block, total.opening, total.closing, total.residual) == (
        common,
        200,
        170,
        -30,
    )
    assert (total.light, found.light) == ("red", "red")
    assert {one.account for one in total.breaks} == {accounts.provider("bank")}


def test_what_was_observed_long_ago_is_stale(books: Books) -> None:
    books.balance(1_000)
    while books.scene.head < OPENED_AT + 3:
        books.scene.block()
    fresh = books.tao()
    assert (fresh.behind_blocks, fresh.light) == (3, "green")
    assert STALE_AFTER_BLOCKS > 3


def test_a_stretch_or_period_that_is_none_is_refused(books: Books) -> None:
    books.scene.block()
    with pytest.raises(BlockOutOfRangeError, match="is no stretch"):
        books.ask(from_block=11, to_block=11)
    with pytest.raises(BlockOutOfRangeError, match="is no stretch"):
        books.ask(to_block=books.scene.head + 1)
    with pytest.raises(UnknownPeriodError, match="there is no period 7: 0 are closed and 1 is op"):
        books.ask(period=7)


# -- what the log itself holds against the books ----------------------------------------------


def test_a_gift_whose_payment_paid_a_fee_already_is_a_double_booking(books: Books) -> None:
    books.balance(0)
    books.scene.submit("A", "a")
    paid = next(fact for fact in books.scene.log() if fact.fact.topic == "payment.seen.v1").fact

    def give(treasury: Treasury, context: Any) -> None:
        for reference in (paid.extrinsic_hash, "0xnever"):  # type: ignore[attr-defined]  # PaymentSeen
            treasury.contribute(
                context,
                reference=reference,
                asset="TAO",
                amount=FEE_RAO,
                provider=None,
                contributor="op",
                about_block=context.block,
                actor="op",
            )

    books.decide(give)
    books.balance(FEE_RAO)
    line = books.tao()
    assert (line.residual, line.unexplained, line.light) == (0, 0, "yellow")
    said = {one.reference: (one.kind, one.amount, one.detail) for one in line.breaks}
    assert said["0xnever"][:2] == ("in_books_not_on_chain", 0)
    assert said[paid.extrinsic_hash][:2] == (  # type: ignore[attr-defined]  # PaymentSeen
        "in_books_not_on_chain",
        0,
    )
    assert "consumed already" in said[paid.extrinsic_hash][2]  # type: ignore[attr-defined]  # as above


def test_an_extrinsic_booked_as_conversion_and_as_refund_names_the_second(books: Books) -> None:
    books.balance(1_000)
    paid = books.scene.pay("A", "a", 400)
    extrinsic = books.send("one transfer", 400)
    books.convert(extrinsic, 400, 5, books.scene.head)

    def refund(unit: Any) -> None:
        payment = unit.get(Payment, paid.id)
        payment.decide_refund(unit.context, "op", "asked")
        payment.refund(unit.context, unit.block, extrinsic, "out:1")

    books.scene.ledger.decide(refund)
    books.balance(1_000)
    line = books.tao()
    (found,) = line.breaks
    assert (found.kind, found.amount, line.unexplained) == ("in_books_not_on_chain", 400, 0)
    assert found.facts == ("payment-refunded:out:1",)
    assert "converted:" in found.detail


# -- rentals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("bill", "amount"), [(24_000_000, 0), (25_000_000, -1_000_000)])
def test_a_bill_is_held_against_the_meter_of_a_prepaid_provider(
    books: Books, bill: int, amount: int
) -> None:
    books.balance(0, "USD", "pods")
    books.scene.block()
    books.give_usd(50_000_000)
    booked_at = books.rent()
    books.billed(bill)
    books.balance(50_000_000 - bill, "USD", "pods")
    line = books.usd()
    assert (line.inflows, line.outflows) == (50_000_000, 24_000_000)
    assert (line.residual, line.unexplained) == (amount, 0)
    named = [(one.kind, one.amount, one.to_block) for one in line.breaks]
    assert named == ([("amount_differs", amount, booked_at)] if amount else [])


def test_what_is_owed_stands_beside_the_totals_and_is_held_against_the_bill(books: Books) -> None:
    books.scene.block()
    books.rent(settlement="payable")
    books.billed(25_000_000)
    owed = books.account(accounts.payable("pods"), accounts.USD)
    assert (owed.outflows, owed.residual) == (24_000_000, None)
    assert [(one.kind, one.amount) for one in owed.breaks] == [("amount_differs", -1_000_000)]
    (total,) = [line for line in books.ask().totals if line.asset == accounts.USD]
    assert total.outflows == 0


def test_a_statement_of_what_is_owed_reconciles_a_payable(books: Books) -> None:
    books.balance(0, "USD", "payable:pods")
    books.scene.block()
    books.rent(settlement="payable")
    books.balance(24_000_000, "USD", "payable:pods")
    owed = books.account(accounts.payable("pods"), accounts.USD)
    assert (owed.opening, owed.closing, owed.residual) == (0, -24_000_000, 0)
    assert owed.light == "green"


# -- the journal ------------------------------------------------------------------------------


def test_every_posting_names_its_event_and_the_balance_after_it(books: Books) -> None:
    books.scene.submit("A", "a")
    trade = books.send("trade", 40)
    books.convert(trade, 40, 5, books.scene.head)
    rows, total = books.scene.read(lambda scope: journal(scope, Asked(), limit=100))
    by_position = {one.position: one.fact for one in books.scene.log()}
    assert total == len(rows) > 4
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        fact = by_position[row["position"]]
        assert (row["event"], row["fact_key"]) == (fact.topic, fact.fact_key)
        assert row["recorded_at_block"] == fact.effective_block
        key = (row["account"], row["asset"])
        sums[key] = sums.get(key, 0) + row["amount"]
        assert row["balance"] == sums[key]
    said = {
        (line["account"], line["asset"]): line["amount"]
        for line in books.scene.read(account_balances)
    }
    assert said == sums


def test_the_journal_is_narrowed_by_account_asset_and_block(books: Books) -> None:
    books.scene.pay("A", "a")
    first = books.scene.head
    books.scene.pay("B", "b", 250)
    trade = books.send("trade", 40)
    books.convert(trade, 40, 5, books.scene.head)

    def ask(limit: int = 100, offset: int = 0, **asked: Any) -> list[tuple[int, int]]:
        rows, _ = books.scene.read(
            lambda scope: journal(scope, Asked(**asked), limit=limit, offset=offset)
        )
        return [(row["amount"], row["balance"]) for row in rows]

    own = [(FEE_RAO, FEE_RAO), (250, FEE_RAO + 250), (-40, FEE_RAO + 210)]
    assert ask(account="assets:treasury") == own
    assert ask(account="assets:treasury", from_block=first + 1) == own[1:]
    assert ask(account="assets:treasury", to_block=first) == own[:1]
    assert ask(account="assets:treasury", limit=1, offset=1) == own[1:2]
    assert ask(account="assets", asset="USD") == [(5, 5)]
    assert ask(account="assets:treasury", asset="USD") == []
    for nothing_yet in (accounts.RENTAL, accounts.BUYBACK, "equity", "liabilities:payable"):
        assert ask(account=nothing_yet) == []
    assert ask(asset="ALPHA:14") == []
    for misspelt in (
        {"account": "assets:treas"},
        {"asset": "EUR"},
        {"account": "", "asset": "USD"},
        {"account": "assets:provider:pod"},
        {"account": "expenses:gpu_rental:1"},
        {"asset": "ALPHA:15"},
    ):
        with pytest.raises(UnknownBookError, match="by block"):
            ask(**misspelt)
    with pytest.raises(BlockOutOfRangeError, match="name the earlier block first"):
        ask(from_block=first + 2, to_block=first)
    assert ask(from_block=first + 1, to_block=first) == []
    assert ask(asset="USD", account="assets:provider:pods") == [(5, 5)]
