"""A process that rents a machine from a stand-in's server and dies at a moment it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Engine

from evaluation.pods.desk import BudgetExceededError, RentalDesk, Waits
from evaluation.pods.lium import Lium
from evaluation.pods.port import Provider
from evaluation.pods.shadeform import Shadeform
from evaluation.pods.sweep import Sweep
from evaluation.pods.targon import Targon
from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.queries.rentals import open_rentals
from ledger.queries.scope import scope_at
from ledger.store.database import open_engine
from tests.faults.processes import Journal
from tests.standins.serving import KEY, Remote
from tests.unit.ledger.scenes import ARENA
from tests.unit.rentals.memory_provider import MemoryProvider, TurnedClock
from tests.unit.rentals.renting import cheapest

ResultT = TypeVar("ResultT")

CALLS = ("offers", "create", "state", "stop", "listed", "create_volume", "delete_volume", "volumes")
PUBLIC_KEY = "ssh-ed25519 AAAA test"
WAITS = Waits(look_every_s=10, startup_s=600, stop_s=60)


@dataclass(frozen=True)
class WorldClock:
    """The stand-in's own time: waiting lets it pass."""

    there: Remote

    def now_s(self) -> int:
        return int(self.there.do("now_s"))

    def sleep(self, seconds: float) -> None:
        self.there.do("advance", seconds=int(seconds))


class Moments:
    """Counts the moments before and after every call and every fact, and dies at one of them."""

    def __init__(self, die_at: int | None, journal: Journal) -> None:
        self._left = die_at
        self._journal = journal

    def around(self, what: str, call: Callable[..., ResultT]) -> Callable[..., ResultT]:
        """``call`` with a moment before it and one after it."""

        def told(*args: Any, **named: Any) -> ResultT:
            self._pass(f"before {what}")
            result = call(*args, **named)
            self._pass(f"after {what}")
            return result

        return told

    def _pass(self, what: str) -> None:
        self._journal.write("moment", what)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._left is not None:
            self._left -= 1


def provider_at(name: str, url: str) -> Provider:
    """The real client of a provider, at a stand-in."""
    if name == "targon":
        return Targon(url, KEY, sleep=lambda _: None)
    if name == "lium":
        return Lium(url, KEY, template="t", public_keys=[PUBLIC_KEY], sleep=lambda _: None)
    return Shadeform(url, KEY, sleep=lambda _: None)


def rent_and_die(
    database: str, name: str, url: str, contest: str, journal: str, die_at: int | None
) -> None:
    """Rent a machine, let a contest work on it, give it back; dead after ``die_at`` moments."""
    moments = Moments(die_at, Journal(Path(journal)))
    there = Remote(url)
    provider = provider_at(name, url)
    for call in CALLS:
        setattr(provider, call, moments.around(call, getattr(provider, call)))
    ledger = Ledger(open_engine(database), ARENA)
    ledger.decide = moments.around("a fact", ledger.decide)  # type: ignore[method-assign]  moments of it
    desk = RentalDesk(
        ledger, [provider], choose=cheapest, by="renter", clock=WorldClock(there), waits=WAITS
    )
    rented = desk.rent("r")
    there.do("advance", seconds=100)
    desk.begin_contest(rented.rental, UUID(contest))
    there.do("advance", seconds=1_000)
    desk.end_contest(rented.rental, UUID(contest))
    desk.stop(rented.rental, "the round is over")


def still_open(engine: Engine) -> list[UUID]:
    """The rentals that may cost something, by a view brought up to date."""
    catch_up(engine, PROJECTIONS)
    with engine.connect() as connection:
        return open_rentals(scope_at(connection, Ledger(engine, ARENA).head(), None))


def sweep_at(engine: Engine, name: str, url: str) -> Sweep:
    """A sweep of a program that starts anew."""
    providers, clock = [provider_at(name, url)], WorldClock(Remote(url))
    return Sweep(Ledger(engine, ARENA), providers, lambda: still_open(engine), clock=clock)


def rent_until_refused(database: str, together: Any, sending: Any) -> None:
    """Rent machines of one round as fast as can be until the budget says no; how many it got."""
    ledger = Ledger(open_engine(database), ARENA)
    clock = TurnedClock()
    desk = RentalDesk(ledger, [MemoryProvider(clock)], choose=cheapest, by="racer", clock=clock)
    together.wait()
    got = 0
    try:
        while True:
            desk.rent("r")
            got += 1
    except BudgetExceededError:
        sending.send(got)
