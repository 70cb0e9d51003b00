"""A rental and the budget of rentals: what each allows, refuses and takes for said already."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.decisions.rental import Rental, RentalCostBooked
from ledger.decisions.rental_budget import BudgetRefused, BudgetReserved, RentalBudget
from ledger.facts import Context
from tests.unit.ledger.scenes import ARENA

AT = Context(ARENA, 100)
ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)
LIMITS = {"a_day": 100, "a_round": 60}


def refused(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(DecisionRefusedError, match=expected):
        call()


def requested() -> Rental:
    rental = Rental(ONE)
    rental.request(AT, provider="p", tier="t", max_usd_micros_per_hour=9_000, contest_id=None)
    return rental


def running() -> Rental:
    rental = requested()
    rental.create(AT, instance="i", usd_micros_per_hour=None, created_at_s=90)
    rental.start(AT, instance="i", usd_micros_per_hour=3_600, started_at_s=100)
    return rental


def ask(budget: RentalBudget, rental: UUID, usd_micros: int, day: int, round_: str) -> bool:
    return budget.reserve(AT, rental, day=day, round_=round_, usd_micros=usd_micros, **LIMITS)


def test_every_step_that_is_said_again_is_no_second_fact() -> None:
    rental = running()
    for _ in range(2):
        rental.reach(AT, "root@h:22", 101)
        rental.reach(AT, None, 102)
        rental.reprice(AT, 3_600, 103)
        rental.begin_contest(AT, TWO, 110)
        rental.request_volume(AT, 10, 111)
        rental.create_volume(AT, "v", 112)
    for _ in range(2):
        rental.end_contest(AT, TWO, 120)
        rental.delete_volume(AT, "v", 130)
        rental.end(AT, 140, "done")
        rental.book_cost(AT, 100)
    assert [fact.topic.rpartition(".")[0].removeprefix("rental.") for fact in rental.sink] == [
        *("requested", "created", "started", "reached", "contest_began", "volume_requested"),
        *("volume_created", "contest_ended", "volume_deleted", "ended", "cost_booked"),
    ]
    assert (rental.volumes_left, rental.is_open) == ((), False)


def test_an_address_that_changes_is_a_fact() -> None:
    rental = running()
    rental.reach(AT, None, 101)
    rental.reach(AT, "root@h:22", 102)
    assert rental.reached is not None and rental.reached.address == "root@h:22"


def test_a_refusal_ends_it_but_a_machine_that_is_seen_overrules_it() -> None:
    rental = requested()
    rental.refuse(AT, "no answer", 10, lost=True)
    assert not rental.is_open
    rental.create(AT, instance="i", usd_micros_per_hour=5, created_at_s=20)
    assert (rental.is_open, rental.refused, rental.instance) == (True, None, "i")
    refused(lambda: rental.refuse(AT, "no", 30), "it has a machine")


def test_what_does_not_run_serves_no_contest_and_has_no_price() -> None:
    rental = requested()
    refused(lambda: rental.begin_contest(AT, TWO, 5), "not running")
    refused(lambda: rental.reprice(AT, 5, 5), "does not run")
    refused(lambda: rental.reach(AT, None, 5), "does not run")
    refused(lambda: rental.delete_volume(AT, "v", 5), "which it never had")
    refused(lambda: Rental(TWO).send_stop(AT, "x", 5), "before it was requested")
    refused(lambda: Rental(TWO).create(AT, instance="i"), "before it was requested")


def test_two_contests_cannot_be_served_at_once_and_one_after_the_other_share_the_cost() -> None:
    rental = running()
    rental.begin_contest(AT, TWO, 110)
    refused(lambda: rental.begin_contest(AT, THREE, 111), "two contests at once")
    rental.end_contest(AT, TWO, 130)
    rental.begin_contest(AT, THREE, 120)  # by another clock: not before the last one ended
    rental.end(AT, 180, "done")
    rental.book_cost(AT, 100)
    cost = rental.sink[-1]
    assert isinstance(cost, RentalCostBooked)
    assert dict(zip(cost.contest_ids, cost.contest_usd_micros, strict=True)) == {TWO: 20, THREE: 50}
    assert cost.cost_usd_micros == 80  # 10 s before the first were used by none


def test_a_stop_can_be_sent_after_the_end_to_one_that_runs_on() -> None:
    rental = running()
    rental.send_stop(AT, "done", 110)
    rental.end(AT, 120, "done")
    rental.send_stop(AT, "it runs on", 130)
    assert rental.stops == 2


def test_a_budget_holds_day_and_round_and_refuses_with_a_fact_what_is_beyond() -> None:
    budget = RentalBudget(ONE)
    assert ask(budget, ONE, 60, 1, "a")
    assert ask(budget, ONE, 60, 1, "a")  # the same again holds nothing more
    assert not ask(budget, TWO, 1, 1, "a")
    assert not ask(budget, TWO, 41, 1, "b")
    assert ask(budget, TWO, 40, 1, "b")
    assert [fact.left_usd_micros for fact in budget.sink if isinstance(fact, BudgetRefused)] == [
        *(0, 40)
    ]
    assert (dict(budget.of_day.items()), dict(budget.of_round.items())) == (
        {1: 100},
        {"a": 60, "b": 40},
    )


def test_what_a_rental_cost_less_is_free_again_and_what_it_cost_more_is_counted() -> None:
    budget = RentalBudget(ONE)
    ask(budget, ONE, 60, 1, "a")
    for _ in range(2):
        budget.settle(AT, ONE, 10)
    assert budget.left(1, "a", a_day=100, a_round=60) == 50
    budget.settle(AT, ONE, 70)
    assert budget.left(1, "a", a_day=100, a_round=60) == -10
    budget.settle(AT, TWO, 5)  # never held anything
    assert len(budget.sink) == 3


def test_a_machine_that_is_found_after_all_holds_its_worst_again_whatever_is_left() -> None:
    budget = RentalBudget(ONE)
    ask(budget, ONE, 60, 1, "a")
    budget.settle(AT, ONE, 0)
    ask(budget, TWO, 60, 1, "a")
    for _ in range(2):
        budget.hold(AT, ONE, day=9, round_="z", usd_micros=60)
    assert dict(budget.of_round.items()) == {"a": 120}
    again = budget.sink[-1]
    assert isinstance(again, BudgetReserved) and (again.day, again.round) == (1, "a")
    budget.settle(AT, ONE, 20)
    assert dict(budget.of_day.items()) == {1: 80}
    assert len({fact.fact_key for fact in budget.sink}) == len(budget.sink)


@pytest.mark.parametrize("kind", [Rental, RentalBudget])
def test_it_refuses_the_facts_of_the_other(kind: type[Aggregate]) -> None:
    budget = RentalBudget(ONE)
    ask(budget, ONE, 1, 1, "a")
    with pytest.raises(TypeError, match="cannot take a"):
        for fact in (*requested().sink, *budget.sink):
            kind(ONE).take(fact)
