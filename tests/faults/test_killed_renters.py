"""A renter killed with SIGKILL at any moment leaves no machine unknown, running or booked twice.

The moments are before and after every call to the provider and every fact, of one whole rental with
a volume and a contest. The provider is a stand-in's server behind the real client.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.application import Ledger
from ledger.codes import VoidCause
from ledger.commands.contests import void_contest
from ledger.commands.rentals import Billed, worst_usd_micros
from ledger.decisions.rental import RentalCostBooked, RentalStarted
from ledger.decisions.rental_budget import RentalBudget
from ledger.keys import rental_budget_id
from ledger.store.database import open_engine
from ledger.store.logs import facts_of
from tests.contract.stores import careless, migrated_url
from tests.faults.processes import barrier, ended, journal_of, pipe, received, start
from tests.faults.renters import rent_and_die, rent_until_refused, still_open, sweep_at
from tests.standins import lium, shadeform, targon
from tests.standins.serving import StandIn
from tests.unit.ledger.scenes import ARENA, Scene
from tests.unit.rentals.renting import GRACE_S, rules

pytestmark = pytest.mark.slow

STAND_INS = {"shadeform": shadeform.stand_in, "targon": targon.stand_in, "lium": lium.stand_in}
SLOWNESS = {
    "shadeform": {"boot_s": 60, "stop_s": 30, "volume_busy_s": 120},
    "targon": {"boot_s": 60, "stop_s": 30},
    "lium": {"boot_s": 60, "stop_s": 30},
}
MAX_SWEEPS = 12
SIGKILL = -9
MATTERS = re.compile("create|stop")


class Rented:
    """A database and a stand-in for one life of a renter."""

    def __init__(self, folder: Path, name: str, there: StandIn) -> None:
        folder.mkdir()
        self.name, self.there = name, there
        self.url = migrated_url("sqlite", folder)
        # It is the renter that is killed; who looks after it need not wait for the disk.
        self.engine = careless(open_engine(self.url))
        money = {"max_usd_micros_per_round": 10**12, "max_usd_micros_per_day": 10**12}
        scene = Scene(self.engine, rules=rules(volume_gigabytes=100, max_seconds=86_400, **money))
        self.contest = scene.plan(scene.submit("alice"))
        there.do("settings", **SLOWNESS[name])
        self.journal = folder / "journal"

    def renter(self, die_at: int | None) -> int | None:
        """Its exit code."""
        contest, journal = str(self.contest), str(self.journal)
        words = (self.url, self.name, self.there.url, contest, journal, die_at)
        return ended(start(rent_and_die, *words))

    def swept(self) -> None:
        """The evaluator's recovery, and sweeps of new programs until nothing is left to do."""
        contest = self.contest
        void_contest(Ledger(self.engine, ARENA), contest, cause=VoidCause.STOPPED, detail="it died")
        for _ in range(MAX_SWEEPS):
            self.there.do("advance", seconds=GRACE_S)
            found = sweep_at(self.engine, self.name, self.there.url).run()
            assert found.unasked == ()
            if not found.lines and not found.running and not still_open(self.engine):
                return

    def facts(self, kind: type[Any]) -> list[Any]:
        with self.engine.connect() as connection:
            log = facts_of(connection, Ledger(self.engine, ARENA).head().log_id)
            return [logged.fact for logged in log if isinstance(logged.fact, kind)]


@contextlib.contextmanager
def renting(folder: Path, name: str) -> Iterator[Rented]:
    with STAND_INS[name]() as there:
        found = Rented(folder, name, there)
        yield found
        found.engine.dispose()


def check(rented: Rented, moment: str) -> None:
    """Nothing runs, nothing is open, and what ran is booked once for what it cost at least."""
    machines = rented.there.do("machines")
    assert {one["state"] for one in machines.values()} <= {"gone"}, moment
    assert rented.there.do("volumes") == {}, moment
    assert still_open(rented.engine) == [], moment
    started = {fact.originator_id: fact.instance for fact in rented.facts(RentalStarted)}
    booked = rented.facts(RentalCostBooked)
    of_machine = Counter(started[fact.originator_id] for fact in booked)
    billed = {line["machine"]: line["usd_micros"] for line in rented.there.do("bill")}
    assert of_machine == Counter(billed.keys()), moment
    for fact in booked:
        assert fact.cost_usd_micros >= billed[started[fact.originator_id]], moment
    budget = Ledger(rented.engine, ARENA).load(RentalBudget, rental_budget_id(ARENA))
    assert all(held.settled for held in budget.held.values()), moment
    costs = sum(fact.cost_usd_micros for fact in booked)
    assert sum(held.usd_micros for held in budget.held.values()) == costs, moment


@pytest.mark.parametrize("name", list(STAND_INS))
def test_a_kill_at_any_moment_leaves_no_machine_unknown_running_or_booked_twice(
    tmp_path: Path, name: str
) -> None:
    with renting(tmp_path / "whole", name) as whole:
        assert whole.renter(None) == 0
        moments = [entry.key for entry in journal_of(whole.journal)]
        whole.swept()
        check(whole, "never killed")
    calls = {moment.removeprefix("before ") for moment in moments if moment.startswith("before")}
    assert {"a fact", "offers", "create", "state", "stop"} <= calls
    for number, moment in enumerate(moments):
        if name != "shadeform" and not MATTERS.search("; ".join(moments[number - 1 : number + 1])):
            continue  # the facts between are the same for all of them
        with renting(tmp_path / str(number), name) as killed:
            assert killed.renter(number) == SIGKILL, moment
            assert [entry.key for entry in journal_of(killed.journal)] == moments[: number + 1]
            killed.swept()
            check(killed, f"killed {moment}, the {number}th moment")


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_two_renters_at_once_never_get_more_than_the_budget_of_their_round(
    tmp_path: Path, store: str
) -> None:
    url = migrated_url(store, tmp_path)
    engine = open_engine(url)
    policy = rules()
    rental = policy.treasury.rental
    Scene(engine, rules=policy)
    together, pipes = barrier(2), [pipe(), pipe()]
    racers = [start(rent_until_refused, url, together, sending) for _, sending in pipes]
    got = sum(received(receiving) for receiving, _ in pipes)
    assert [ended(racer) for racer in racers] == [0, 0]
    assert got == 2
    budget = Ledger(engine, ARENA).load(RentalBudget, rental_budget_id(ARENA))
    worst = worst_usd_micros(rental.tiers[0], rental, Billed(60, 10_000))
    assert dict(budget.of_round.items()) == {"r": 2 * worst}
    assert 2 * worst <= rental.max_usd_micros_per_round < 3 * worst
    engine.dispose()
