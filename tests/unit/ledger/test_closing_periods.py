"""Closing a period: rental first, frozen for ever, and what comes late counts where it came."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest

from ledger.commands import treasury as book
from ledger.commands.block_facts import Gap, SeenAnew
from ledger.commands.blocks import record_block
from ledger.commands.causes import after
from ledger.commands.money import record_balances
from ledger.commands.said import MAX_ACTOR_CHARS
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment, PaymentConsumed
from ledger.decisions.rental import Rental, Settlement
from ledger.decisions.treasury import PeriodClosed, Treasury
from ledger.keys import NAMESPACE, treasury_id
from ledger.policy import TreasuryPolicy
from ledger.queries.periods import PeriodLine, closing_at, line_of, periods
from tests.unit.ledger.scenes import FEE_RAO, OPENED_AT, TREASURY, Scene, block_hash, policy

USD = 10**6
PRICE = 10**9 * USD
"""A billion dollars a TAO: a dollar is a rao, so that the sums stay small."""


def rent(
    scene: Scene,
    name: str,
    usd_micros: int,
    about_block: int | None = None,
    settlement: Settlement = "prepaid",
) -> UUID:
    """A machine that ran for an hour and cost so much, about a block."""
    identity = uuid5(NAMESPACE, name)

    def work(unit: Any) -> None:
        rental = unit.get(Rental, identity)
        rental.request(
            unit.context,
            provider="pods",
            tier="8x H200",
            max_usd_micros_per_hour=usd_micros,
            contest_id=None,
        )
        rental.start(
            after(unit, rental),
            instance=name,
            usd_micros_per_hour=usd_micros,
            started_at_s=0,
            settlement=settlement,
        )
        rental.end(after(unit, rental), 3_600, "done")
        rental.book_cost(after(unit, rental), about_block or unit.block)

    scene.ledger.decide(work)
    return identity


def price(scene: Scene, at: int, usd_micros: int = PRICE, source: str = "exchange") -> None:
    book.observe_price(scene.ledger, usd_micros_per_tao=usd_micros, source=source, about_block=at)


def balance(scene: Scene, amount: int, at: int) -> None:
    record_balances(scene.ledger, (("TAO", TREASURY, amount, "chain"),), about_block=at)


def close(scene: Scene, at: int | None = None) -> PeriodLine:
    at = scene.head if at is None else at
    found = scene.read(closing_at, at)
    assert book.close_period(scene.ledger, found, "ann")
    (line,) = [one for one in lines(scene) if one.to_block == at]
    assert line == line_of(found, "ann", scene.head)
    return line


def lines(scene: Scene, at: int | None = None) -> list[PeriodLine]:
    found: list[PeriodLine] = scene.read(periods, at=at)
    return found


@pytest.fixture
def fees(scene: Scene) -> Scene:
    """Three fees, of which the last payment is claimed by nobody, and a price."""
    scene.register((1, "a", None), (2, "b", None))
    scene.submit("a")
    scene.submit("b")
    scene.pay("c", "unclaimed", amount_rao=30)
    price(scene, scene.head)
    return scene


def test_fees_pay_for_the_rental_first(fees: Scene) -> None:
    rent(fees, "one", 50 * USD)
    balance(fees, 1_000, fees.head)
    line = close(fees)
    assert (line.fees_rao, line.rental_due_usd_micros, line.rental_due_rao) == (200, 50 * USD, 50)
    assert (line.surplus_rao, line.deficit_rao, line.carried_in_rao) == (150, 0, 0)
    assert (line.price_usd_micros_per_tao, line.price_source) == (PRICE, "exchange")
    assert (line.proposed_buyback_rao, line.status) == (150, "counted")


def test_a_proposal_leaves_the_reserve_the_unclaimed_and_the_credits(engine: Any) -> None:
    rules = policy()
    kept = TreasuryPolicy(reserve_ppm=100_001)
    scene = Scene(engine, rules=msgspec.structs.replace(rules, treasury=kept))
    scene.register((1, "a", None), (2, "b", None))
    scene.submit("a")
    credited = scene.submit("b")
    scene.pay("c", "unclaimed", amount_rao=30)
    paid = next(fact for fact in scene.facts(PaymentConsumed) if fact.submission_id == credited)

    def credit(unit: Any) -> None:
        unit.get(Payment, paid.originator_id).credit(unit.context, credited, "b", "pull_failed")

    scene.ledger.decide(credit)
    balance(scene, 230, scene.head)
    line = close(scene)
    # One fee is income, one is promised back; 10.0001 % of 230 is 24 when rounded up.
    assert (line.fees_rao, line.surplus_rao, line.reserve_rao) == (FEE_RAO, FEE_RAO, 24)
    assert line.proposed_buyback_rao == 230 - 24 - 30 - FEE_RAO


def treasurers(scene: Scene, *works: Any) -> None:
    """What people decide about buybacks, each in a unit of its own."""
    identity = treasury_id(scene.ledger.arena)
    for work in works:
        scene.ledger.decide(
            lambda unit, work=work: work(unit.get(Treasury, identity), unit.context)
        )


def plan_150(treasury: Treasury, context: Any) -> None:
    treasury.plan_buyback(context, 150, 10, "one")


def approve(treasury: Treasury, context: Any) -> None:
    treasury.approve_buyback(context, 1, "two")


def send_100(treasury: Treasury, context: Any) -> None:
    treasury.send_buyback(context, 1, 100, 0)


def buy_90(treasury: Treasury, context: Any) -> None:
    treasury.buy_for_buyback(
        context,
        1,
        block_hash=block_hash(1),
        extrinsic_index=1,
        extrinsic_hash=block_hash(2),
        spent_rao=90,
        bought_alpha=5,
        netuid=14,
        about_block=context.block,
        block=context.block,
    )


def test_a_proposal_leaves_to_other_buybacks_what_they_may_still_spend(fees: Scene) -> None:
    balance(fees, 230, fees.head)  # 30 of it nobody claimed; 200 are surplus
    end = fees.head
    for work in (plan_150, approve, send_100):
        treasurers(fees, work)
        found = fees.read(closing_at, end)
        assert (found.held.buybacks_rao, found.proposed_buyback_rao) == (150, 50)
        assert "buyback 1 is planned and not executed" in found.warnings[0]
    fees.block()
    treasurers(fees, buy_90)
    # Bought after the end: no plan any more, and gone from what was there.
    found = fees.read(closing_at, end)
    assert (found.held.buybacks_rao, found.proposed_buyback_rao) == (90, 110)
    assert f"after block {end}" in found.warnings[0]
    # Bought before the end: the balance there lacks it already.
    balance(fees, 140, fees.head)
    found = fees.read(closing_at, fees.head)
    assert (found.held.buybacks_rao, found.proposed_buyback_rao) == (0, 110)


def test_a_buyback_that_failed_takes_nothing_of_a_proposal(fees: Scene) -> None:
    balance(fees, 230, fees.head)
    treasurers(
        fees,
        plan_150,
        approve,
        send_100,
        lambda treasury, at: treasury.fail_buyback(at, 1, "price"),
    )
    assert fees.read(closing_at, fees.head).proposed_buyback_rao == 200


def test_a_deficit_is_carried_on_until_fees_paid_it(fees: Scene) -> None:
    rent(fees, "one", 250 * USD)
    first = close(fees)
    assert (first.surplus_rao, first.deficit_rao) == (0, 50)
    fees.submit("a")
    second = close(fees)
    assert (second.carried_in_rao, second.surplus_rao, second.deficit_rao) == (50, 50, 0)


def test_an_unobserved_balance_leaves_the_proposal_unresolved_and_not_zero(fees: Scene) -> None:
    found = fees.read(closing_at, fees.head)
    assert "was not observed" in found.warnings[0]
    line = close(fees)
    assert (line.reserve_rao, line.proposed_buyback_rao, line.status) == (None, None, "unresolved")
    assert line.surplus_rao == 200


def test_a_balance_of_a_node_stands_in_for_one_that_is_not_recorded(fees: Scene) -> None:
    def rehearsed(scope: Any) -> Any:
        return closing_at(scope, scope.block, closing_rao=140)

    assert fees.read(rehearsed).proposed_buyback_rao == 110
    balance(fees, 100, fees.head)
    assert fees.read(rehearsed).proposed_buyback_rao == 70


def test_the_newest_price_counts_and_a_conversion_where_none_was_observed(fees: Scene) -> None:
    rent(fees, "one", 50 * USD)
    price(fees, fees.block(), 2 * PRICE)
    price(fees, OPENED_AT, 7 * PRICE, "late about long ago")
    price(fees, fees.block(), 9 * PRICE, "after the end")
    found = fees.read(closing_at, fees.head - 1)
    assert (found.price.usd_micros_per_tao, found.rental_due_rao) == (2 * PRICE, 25)


def test_without_an_observed_price_a_conversions_counts(scene: Scene) -> None:
    scene.block()
    rent(scene, "one", 50 * USD)
    book.convert(
        scene.ledger,
        sold_rao=1_000,
        bought_usd_micros=1_000 * USD,
        usd_micros_per_tao=PRICE,
        provider="pods",
        source="exchange",
        reference="0x01",
        about_block=11,
        actor="ann",
    )
    found = scene.read(closing_at, scene.head)
    assert (found.price.stated, found.rental_due_rao, found.deficit_rao) == ("converted", 50, 50)


# -- what comes late --------------------------------------------------------------------------


def test_a_closed_period_is_frozen_and_late_facts_count_in_the_open_one(fees: Scene) -> None:
    rent(fees, "one", 50 * USD)
    end = fees.head
    frozen, closed_at = close(fees), fees.head
    fees.block()
    rent(fees, "late", 30 * USD, about_block=end - 1)
    rent(fees, "own", 20 * USD)
    assert lines(fees) == [frozen]
    second = close(fees)
    assert lines(fees) == [frozen, second]
    assert (second.rental_due_usd_micros, second.late_rental_usd_micros) == (50 * USD, 30 * USD)
    assert (second.fees_rao, second.late_fees_rao) == (0, 0)
    assert second.deficit_rao == 50
    assert lines(fees, closed_at) == [frozen]


def test_what_is_recorded_before_a_closing_about_a_later_block_counts_in_its_own(
    fees: Scene,
) -> None:
    end = fees.head
    fees.submit("a")
    first, second = close(fees, end), close(fees)
    assert (first.fees_rao, second.fees_rao, second.late_fees_rao) == (200, 100, 0)


def test_every_rao_and_dollar_is_counted_in_exactly_one_period(fees: Scene) -> None:
    for number in range(4):
        end = fees.head
        fees.submit("a")
        rent(fees, f"own {number}", (number + 1) * USD)
        rent(fees, f"late {number}", (number + 5) * USD, about_block=OPENED_AT + 1)
        close(fees, end)
    close(fees)
    found = lines(fees)
    assert sum(line.fees_rao or 0 for line in found) == 6 * FEE_RAO
    assert sum(line.rental_due_usd_micros or 0 for line in found) == (10 + 26) * USD
    surplus = sum(line.surplus_rao or 0 for line in found)
    assert surplus - (found[-1].deficit_rao or 0) == 6 * FEE_RAO - 36


def test_what_was_recorded_since_the_figures_were_made_counts_next_time(fees: Scene) -> None:
    found = fees.read(closing_at, fees.head)
    rent(fees, "meanwhile", 40 * USD)
    assert book.close_period(fees.ledger, found, "ann")
    fees.block()
    second = close(fees)
    assert (second.rental_due_usd_micros, second.late_rental_usd_micros) == (40 * USD, 40 * USD)


def test_periods_that_did_not_say_what_they_came_to_count_in_the_first_that_does(
    fees: Scene,
) -> None:
    def draw_a_line(unit: Any) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.close_period(unit.context, unit.block, OPENED_AT, "ann")

    fees.ledger.decide(draw_a_line)
    (line,) = lines(fees)
    assert (line.status, line.fees_rao, line.surplus_rao) == ("not counted", None, None)
    fees.submit("a")
    second = close(fees)
    assert (second.number, second.fees_rao, second.late_fees_rao) == (2, 300, 0)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [OPENED_AT - 1, OPENED_AT, 1_000])
def test_a_period_ends_after_the_last_one_and_at_a_block_of_the_log(
    fees: Scene, block: int
) -> None:
    with pytest.raises(DecisionRefusedError, match=f"cannot end at block {block}"):
        fees.read(closing_at, block)


def test_a_period_does_not_end_at_or_before_the_last_one(fees: Scene) -> None:
    end = close(fees).to_block
    for block in (end, end - 1):
        with pytest.raises(DecisionRefusedError, match=f"the last one ended at {end}"):
            fees.read(closing_at, block)


def test_closing_twice_with_the_same_figures_is_one_closing(fees: Scene) -> None:
    found = fees.read(closing_at, fees.head)
    assert book.close_period(fees.ledger, found, "ann")
    assert not book.close_period(fees.ledger, found, "bob")
    assert len(fees.facts(PeriodClosed)) == 1


def test_figures_made_before_another_period_was_closed_are_refused(fees: Scene) -> None:
    old = fees.read(closing_at, fees.head)
    close(fees, fees.head - 1)
    with pytest.raises(DecisionRefusedError, match="meanwhile period 1 was closed"):
        book.close_period(fees.ledger, old, "ann")


def test_rental_due_without_a_price_is_refused(scene: Scene) -> None:
    scene.block()
    rent(scene, "one", 50 * USD)
    price(scene, scene.block())
    with pytest.raises(DecisionRefusedError, match="record one with 'treasury price'"):
        scene.read(closing_at, scene.head - 1)
    assert scene.read(closing_at, scene.head).deficit_rao == 50


def test_no_rental_needs_no_price(scene: Scene) -> None:
    scene.block()
    line = close(scene)
    assert (line.price_usd_micros_per_tao, line.rental_due_rao, line.surplus_rao) == (None, 0, 0)


def test_a_period_does_not_end_inside_a_gap_and_says_what_it_lacks(fees: Scene) -> None:
    before = fees.head
    after_it = before + 4
    gap = Gap(before + 1, after_it - 1, "pruned")
    record_block(fees.ledger, fees.facts_of(after_it, seen_anew=SeenAnew(gap)))
    with pytest.raises(DecisionRefusedError, match=f"blocks {before + 1} to {after_it - 1} are"):
        fees.read(closing_at, before + 2)
    said = {end: fees.read(closing_at, end).warnings for end in (before, after_it)}
    lacks = {end: [one for one in found if "are filled" in one] for end, found in said.items()}
    assert lacks[before] == []
    assert f"blocks {before + 1} to {after_it - 1} are not in the log" in lacks[after_it][0]


def test_rentals_that_are_not_booked_and_missing_statements_are_warned_of(fees: Scene) -> None:
    rent(fees, "booked", USD)

    def start(unit: Any) -> None:
        rental = unit.get(Rental, uuid5(NAMESPACE, "running"))
        rental.request(
            unit.context,
            provider="pods",
            tier="8x H200",
            max_usd_micros_per_hour=1,
            contest_id=None,
        )
        rental.start(after(unit, rental), instance="r", usd_micros_per_hour=1, started_at_s=0)

    fees.ledger.decide(start)
    said = fees.read(closing_at, fees.head).warnings
    assert [one for one in said if "at pods still runs" in one]
    assert not [one for one in said if str(uuid5(NAMESPACE, "booked")) in one]
    assert [one for one in said if "no statement of pods at block" in one]
    book.observe_statement(
        fees.ledger,
        provider="pods",
        usd_micros=0,
        statement="June",
        about_block=fees.head,
        actor="ann",
    )
    said = fees.read(closing_at, fees.head).warnings
    assert not [one for one in said if "no statement" in one]


@pytest.mark.parametrize("actor", ["", "x" * (MAX_ACTOR_CHARS + 1)])
def test_somebody_closes(fees: Scene, actor: str) -> None:
    found = fees.read(closing_at, fees.head)
    with pytest.raises(DecisionRefusedError, match="an actor's name"):
        book.close_period(fees.ledger, found, actor)
