"""Whatever desks, providers, contests and the clock do: sweeps leave nothing unknown or unbooked.

Machines of others are never touched, nothing that an open contest owns is stopped before its
longest time, and each machine of ours that ran is booked exactly once.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from pathlib import Path
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evaluation.pods.desk import BudgetExceededError, NoMachineError, Waits
from evaluation.pods.port import tag_of
from ledger.codes import VoidCause
from ledger.commands.contests import void_contest
from ledger.commands.rentals import Wanted, request_rental
from ledger.decisions.rental import Rental, RentalCostBooked, RentalStarted
from tests.contract.stores import quick_engine
from tests.unit.rentals.memory_provider import HOUR_USD_MICROS, MemoryProvider, TurnedClock
from tests.unit.rentals.renting import CAP, GRACE_S, LONGEST_S, Renting

NAMES = ("shadeform", "lium")
ENOUGH = 4


class Sweeping(RuleBasedStateMachine):
    """Desks that live and die, over two providers with faults."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.engine = quick_engine(Path(self.folder.name))
        clock = TurnedClock()
        money = {"max_usd_micros_per_round": 10**12, "max_usd_micros_per_day": 10**12}
        providers = [MemoryProvider(clock, name=name) for name in NAMES]
        self.renting = Renting(self.engine, *providers, **money)
        self.strangers = [one.put("training-run") for one in providers]
        self.contest: UUID | None = None
        self.owned: tuple[UUID, str, MemoryProvider] | None = None
        submission = self.renting.scene.submit("alice")
        self.contest = self.renting.scene.plan(submission)

    def teardown(self) -> None:
        if not hasattr(self, "renting"):
            return
        self._well()
        if self.contest is not None:
            self._void()
        for _ in range(ENOUGH):
            self.renting.clock.now += GRACE_S + LONGEST_S
            swept = self.renting.sweep()
        assert (swept.lines, swept.unasked, self.renting.open()) == ((), (), [])
        self._all_is_booked_once()
        self.engine.dispose()
        self.folder.cleanup()

    # -- what happens -------------------------------------------------------------------------

    @rule(seconds=st.integers(1, GRACE_S))
    def time_passes(self, seconds: int) -> None:
        self.renting.clock.now += seconds

    @rule()
    def sweep(self) -> None:
        self.renting.sweep()

    @rule()
    def a_dry_sweep(self) -> None:
        before = len(self.renting.scene.log())
        self.renting.sweep(dry_run=True)
        assert len(self.renting.scene.log()) == before

    @rule(one=st.integers(0, 1), made=st.booleans())
    def a_desk_dies_in_its_call(self, one: int, made: bool) -> None:
        provider, request = self.renting.providers[one], uuid4()
        wanted = Wanted(provider.name, "8x H200", "h200x8", "e", HOUR_USD_MICROS, "r", None, "t")
        request_rental(self.renting.ledger, request, wanted, now_s=self.renting.clock.now)
        if made:
            provider.put(tag_of(request))

    @rule(one=st.integers(0, 1), known=st.booleans())
    def a_machine_turns_up(self, one: int, known: bool) -> None:
        rows = self.renting.rows()
        tag = rows[0]["rental_id"] if known and rows else str(uuid4())
        self.renting.providers[one].put(f"cacheon-{tag}")

    @rule()
    def a_desk_rents(self) -> None:
        with contextlib.suppress(NoMachineError, BudgetExceededError):
            self.renting.desk(waits=Waits(startup_s=60)).rent("r")

    @precondition(lambda self: self.contest is not None and self.owned is None)
    @rule()
    def a_contest_gets_a_machine(self) -> None:
        try:
            rented = self.renting.desk(waits=Waits(startup_s=60)).rent("r")
        except NoMachineError:
            return
        self.renting.desk().begin_contest(rented.rental, self.contest)
        provider = next(one for one in self.renting.providers if one.name == rented.provider)
        self.owned = (rented.rental, rented.instance, provider)

    @precondition(lambda self: self.owned is not None)
    @rule()
    def the_contest_ends(self) -> None:
        self._void()
        self.owned = None

    @rule(one=st.integers(0, 1), fault=st.sampled_from(["is_down", "refuses", "loses_answers"]))
    def a_fault_begins(self, one: int, fault: str) -> None:
        setattr(self.renting.providers[one], fault, True)

    @rule()
    def everything_is_well_again(self) -> None:
        self._well()

    @rule(one=st.integers(0, 1), linger=st.integers(0, 300), lists=st.integers(0, 5_000))
    def a_provider_is_slow(self, one: int, linger: int, lists: int) -> None:
        provider = self.renting.providers[one]
        provider.lists_the_dead_for_s = lists
        if not provider.stopped_at:
            provider.linger_s = linger

    @rule(one=st.integers(0, 1), price=st.sampled_from([HOUR_USD_MICROS // 2, CAP, CAP + 1]))
    def a_price_changes(self, one: int, price: int) -> None:
        self.renting.providers[one].usd_micros_per_hour = price

    # -- what always holds --------------------------------------------------------------------

    @invariant()
    def nobody_else_s_machine_is_touched(self) -> None:
        for provider, name in zip(self._providers(), getattr(self, "strangers", ()), strict=True):
            assert name not in provider.stopped_at

    @invariant()
    def what_an_open_contest_owns_runs(self) -> None:
        if getattr(self, "owned", None) is None:
            return
        rental, instance, provider = self.owned
        own = self.renting.rental(rental)
        begun = own.started.started_at_s if own.started else 0
        if self.renting.clock.now - begun < LONGEST_S and not self._is_dear(own):
            assert instance not in provider.stopped_at

    @invariant()
    def nothing_is_booked_twice(self) -> None:
        if hasattr(self, "renting"):
            booked = Counter(self._booked())
            assert not booked or max(booked.values()) == 1

    # -- inside -------------------------------------------------------------------------------

    def _providers(self) -> tuple[MemoryProvider, ...]:
        return self.renting.providers if hasattr(self, "renting") else ()

    def _is_dear(self, rental: Rental) -> bool:
        return bool(rental.prices) and rental.prices[-1].usd_micros_per_hour > CAP

    def _well(self) -> None:
        for provider in self.renting.providers:
            provider.is_down = provider.refuses = provider.loses_answers = False

    def _void(self) -> None:
        void_contest(
            self.renting.ledger, self.contest, cause=VoidCause.STOPPED, detail="it is over"
        )
        self.contest = None

    def _booked(self) -> list[UUID]:
        return [
            logged.fact.originator_id
            for logged in self.renting.scene.log()
            if isinstance(logged.fact, RentalCostBooked)
        ]

    def _all_is_booked_once(self) -> None:
        facts = [logged.fact for logged in self.renting.scene.log()]
        provider_of = {row["rental_id"]: row["provider"] for row in self.renting.rows()}
        started = {
            fact.originator_id: (provider_of[str(fact.originator_id)], fact.instance)
            for fact in facts
            if isinstance(fact, RentalStarted)
        }
        ours = Counter(
            (provider.name, name)
            for provider in self.renting.providers
            for name, one in provider.machines.items()
            if one.tag != "training-run"
        )
        assert Counter(started[rental] for rental in self._booked()) == ours
        for provider in self.renting.providers:
            running = set(provider.running()) - set(self.strangers)
            assert running == set()
        assert all(held.settled for held in self.renting.budget().held.values())


Sweeping.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSweeping = Sweeping.TestCase
