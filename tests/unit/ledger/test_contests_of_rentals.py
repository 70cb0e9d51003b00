"""What a rented machine works for is recorded once, one contest after the other."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.blocks import record_block
from ledger.commands.contests import void_contest
from ledger.commands.rental_contests import (
    begin_contest_on,
    end_contest_if_over,
    end_contest_on,
    host_key_of,
    note_host_key,
    running_address,
)
from ledger.commands.rentals import send_stop
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import (
    Rental,
    RentalContestBegan,
    RentalContestEnded,
    RentalHostKeySeen,
)
from tests.unit.ledger.scenes import Scene


def planned(scene: Scene) -> tuple[UUID, UUID]:
    """Two contests of the log, one after the other."""
    one = scene.plan(scene.submit("alice"))
    void_contest(scene.ledger, one, cause=VoidCause.STOPPED, detail="the first")
    return one, scene.plan(scene.submit("bob"), attempt=2)


def rented(scene: Scene, address: str | None = "root@pod:22") -> UUID:
    rental_id = uuid4()

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.request(
            unit.context,
            provider="lium",
            tier="h100",
            max_usd_micros_per_hour=2_000_000,
            contest_id=None,
        )
        rental.start(
            unit.context,
            instance="one",
            usd_micros_per_hour=2_000_000,
            started_at_s=100,
        )
        rental.reach(unit.context, address, 160)

    scene.ledger.decide(work)
    return rental_id


def test_contests_follow_each_other_and_each_is_recorded_once(scene: Scene) -> None:
    rental, (other, one) = rented(scene), planned(scene)
    for _ in range(2):
        begin_contest_on(scene.ledger, rental, one, 200)
    with pytest.raises(DecisionRefusedError, match="two contests at once"):
        begin_contest_on(scene.ledger, rental, other, 210)
    end_contest_on(scene.ledger, rental, other, 220)  # of another contest: nothing
    for _ in range(2):
        end_contest_on(scene.ledger, rental, one, 300)
    begin_contest_on(scene.ledger, rental, other, 250)  # a clock that went back
    end_contest_on(scene.ledger, rental, other, 400)
    began, ended = scene.facts(RentalContestBegan), scene.facts(RentalContestEnded)
    assert [(fact.contest_id, fact.from_s) for fact in began] == [(one, 200), (other, 300)]
    assert [(fact.from_s, fact.to_s) for fact in ended] == [(200, 300), (300, 400)]


def test_one_that_is_over_ends_at_its_block_s_time_before_the_next_begins(scene: Scene) -> None:
    rental, contest = rented(scene), scene.plan(scene.submit("alice"))
    begin_contest_on(scene.ledger, rental, contest, 200)
    number = scene.head + 1
    record_block(scene.ledger, replace(scene.facts_of(number), timestamp_ms=500_999))
    void_contest(scene.ledger, contest, cause=VoidCause.STOPPED, detail="its machine was lost")
    scene.block()
    following = scene.plan(scene.submit("bob"), attempt=2)
    begin_contest_on(scene.ledger, rental, following, 9_000)
    (ended,) = scene.facts(RentalContestEnded)
    assert (ended.contest_id, ended.from_s, ended.to_s) == (contest, 200, 500)
    # Without a time of its block it is over when that is noticed.
    void_contest(scene.ledger, following, cause=VoidCause.STOPPED, detail="again")
    end_contest_if_over(scene.ledger, rental, 9_900)
    assert [fact.to_s for fact in scene.facts(RentalContestEnded)] == [500, 9_900]


def test_a_contest_that_the_log_does_not_know_is_charged_with_nothing(scene: Scene) -> None:
    rental = rented(scene)
    with pytest.raises(DecisionRefusedError, match="is unknown here"):
        begin_contest_on(scene.ledger, rental, uuid4(), 200)
    assert scene.facts(RentalContestBegan) == []


def test_a_machine_that_was_asked_to_stop_serves_no_contest(scene: Scene) -> None:
    rental, (_, contest) = rented(scene), planned(scene)
    send_stop(scene.ledger, rental, "nothing owns it", now_s=150)
    with pytest.raises(DecisionRefusedError, match="asked to stop"):
        begin_contest_on(scene.ledger, rental, contest, 200)


def test_only_a_machine_that_runs_has_an_address_and_serves(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="is unknown here"):
        running_address(scene.ledger, uuid4())
    contest, _ = planned(scene)
    with pytest.raises(DecisionRefusedError, match="not running"):
        begin_contest_on(scene.ledger, uuid4(), contest, 200)
    with pytest.raises(DecisionRefusedError, match="give its --host"):
        running_address(scene.ledger, rented(scene, None))
    rental = rented(scene)
    assert running_address(scene.ledger, rental) == "root@pod:22"
    scene.ledger.decide(lambda unit: unit.get(Rental, rental).end(unit.context, 900, "over"))
    with pytest.raises(DecisionRefusedError, match="does not run"):
        running_address(scene.ledger, rental)
    with pytest.raises(DecisionRefusedError, match="not running"):
        begin_contest_on(scene.ledger, rental, contest, 950)


def test_the_key_a_machine_first_showed_is_a_fact_and_another_is_refused(scene: Scene) -> None:
    rental = rented(scene)
    assert host_key_of(scene.ledger, rental) is None
    for _ in range(2):
        note_host_key(scene.ledger, rental, "SHA256:one", 120)
    with pytest.raises(DecisionRefusedError, match="it showed another before"):
        note_host_key(scene.ledger, rental, "SHA256:two", 130)
    assert host_key_of(scene.ledger, rental) == "SHA256:one"
    assert len(scene.facts(RentalHostKeySeen)) == 1
