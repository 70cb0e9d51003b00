"""What a rented machine works for is recorded once, one contest after the other."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from ledger.application import Unit
from ledger.commands.rental_contests import begin_contest_on, end_contest_on, running_address
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import Rental, RentalContestBegan, RentalContestEnded
from tests.unit.ledger.scenes import Scene

ONE, TWO = uuid4(), uuid4()


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
        rental.reach(unit.context, address, 100)

    scene.ledger.decide(work)
    return rental_id


def test_contests_follow_each_other_and_each_is_recorded_once(scene: Scene) -> None:
    rental = rented(scene)
    for _ in range(2):
        begin_contest_on(scene.ledger, rental, ONE, 200)
    with pytest.raises(DecisionRefusedError, match="two contests at once"):
        begin_contest_on(scene.ledger, rental, TWO, 210)
    end_contest_on(scene.ledger, rental, TWO, 220)  # of another contest: nothing
    for _ in range(2):
        end_contest_on(scene.ledger, rental, ONE, 300)
    begin_contest_on(scene.ledger, rental, TWO, 250)  # a clock that went back
    end_contest_on(scene.ledger, rental, TWO, 400)
    began, ended = scene.facts(RentalContestBegan), scene.facts(RentalContestEnded)
    assert [(fact.contest_id, fact.from_s) for fact in began] == [(ONE, 200), (TWO, 300)]
    assert [(fact.from_s, fact.to_s) for fact in ended] == [(200, 300), (300, 400)]


def test_only_a_machine_that_runs_has_an_address_and_serves(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="is unknown here"):
        running_address(scene.ledger, uuid4())
    with pytest.raises(DecisionRefusedError, match="not running"):
        begin_contest_on(scene.ledger, uuid4(), ONE, 200)
    with pytest.raises(DecisionRefusedError, match="give its --host"):
        running_address(scene.ledger, rented(scene, None))
    rental = rented(scene)
    assert running_address(scene.ledger, rental) == "root@pod:22"
    scene.ledger.decide(lambda unit: unit.get(Rental, rental).end(unit.context, 900, "over"))
    with pytest.raises(DecisionRefusedError, match="does not run"):
        running_address(scene.ledger, rental)
    with pytest.raises(DecisionRefusedError, match="not running"):
        begin_contest_on(scene.ledger, rental, ONE, 950)
