"""The sweep: no machine of ours is unknown, none runs that nothing owns, each is booked once."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from evaluation.pods.desk import NoMachineError
from evaluation.pods.machines import NEW_S
from evaluation.pods.port import Instance, UnansweredError, Volume, tag_of
from ledger.application import Ledger
from ledger.codes import VoidCause
from ledger.commands import rentals as record
from ledger.commands.contests import void_contest
from ledger.commands.rentals import Billed, Found, Wanted, request_rental
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import RentalOrphanStopped
from ledger.observations import AlertRaised
from ledger.queries.rentals import reliability
from tests.unit.ledger.scenes import OTHER_ARENA, Scene, treasury_of
from tests.unit.rentals.memory_provider import HOUR_USD_MICROS, MemoryProvider, TurnedClock
from tests.unit.rentals.renting import CAP, GRACE_S, LONGEST_S, Renting, rules


def requested(ledger: Ledger, now_s: int, provider: str = "shadeform") -> UUID:
    """A request in the log, of a desk that died before its call."""
    request = uuid4()
    wanted = Wanted(provider, "8x H200", "h200x8", "us-east", HOUR_USD_MICROS, "r", None, "test")
    assert request_rental(ledger, request, wanted, now_s=now_s) is None
    return request


def whats(renting: Renting) -> list[str]:
    return [line.what for line in renting.sweep().lines]


def test_a_machine_whose_answer_died_with_its_desk_is_found_and_later_stopped(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    request = requested(renting.ledger, renting.clock.now)
    renting.provider.put(tag_of(request))
    assert whats(renting) == ["found by its tag"]
    assert renting.rows()[0]["status"] == "running"
    renting.clock.now += GRACE_S
    assert whats(renting) == ["stopped and booked"]
    assert renting.booked() == [-(-GRACE_S * HOUR_USD_MICROS // 36_000_000) * 10_000]
    assert (renting.open(), renting.provider.running()) == ([], [])
    assert renting.sweep().lines == ()
    found = [log.fact for log in renting.scene.log() if isinstance(log.fact, RentalOrphanStopped)]
    assert [fact.found_by for fact in found] == ["sweep"]


def test_a_request_without_a_machine_counts_as_lost_after_the_grace_and_not_before(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    requested(renting.ledger, renting.clock.now)
    renting.clock.now += GRACE_S - 1
    assert whats(renting) == []
    renting.clock.now += 1
    assert whats(renting) == ["counts as lost"]
    assert [held.usd_micros for held in renting.budget().held.values()] == [0]
    (one,) = renting.scene.read(reliability)
    assert (one.requests, one.stopped, one.lost) == (1, 0, 1)


def test_a_machine_of_a_lost_request_that_turns_up_is_metered_stopped_and_booked(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    request = requested(renting.ledger, renting.clock.now)
    renting.clock.now += GRACE_S
    renting.sweep()
    renting.provider.put(tag_of(request))
    renting.provider.linger_s = 120
    assert whats(renting) == ["found by its tag", "asked to stop"]
    # It holds its worst again until it is over.
    assert [held.settled for held in renting.budget().held.values()] == [False]
    renting.clock.now += 120
    assert whats(renting) == ["ended and booked"]
    assert len(renting.booked()) == 1
    assert [held.settled for held in renting.budget().held.values()] == [True]


def test_a_machine_under_our_tag_that_nobody_requested_is_adopted_stopped_and_booked(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    renting.provider.put(tag_of(uuid4()))
    renting.clock.now += 600
    assert whats(renting) == ["found without a request", "stopped and booked"]
    (row,) = renting.rows()
    assert (row["adopted"], row["status"], row["found_by"]) == (True, "booked", "sweep")
    assert renting.booked() == [-(-600 * HOUR_USD_MICROS // 36_000_000) * 10_000]


def test_a_second_machine_under_one_tag_is_a_rental_of_its_own(engine: Engine) -> None:
    renting = Renting(engine)
    rented = renting.desk().rent("r")
    renting.provider.put(tag_of(rented.rental))
    assert whats(renting) == ["found without a request", "stopped and booked"]
    assert renting.provider.running() == [rented.instance]
    renting.desk().stop(rented.rental, "done")
    assert len(renting.booked()) == 2


def test_machines_of_others_and_of_other_arenas_are_never_touched(engine: Engine) -> None:
    renting = Renting(engine)
    treasury = treasury_of(OTHER_ARENA.netuid)
    other = Scene(engine, OTHER_ARENA, rules=rules(treasury=treasury))
    theirs = requested(other.ledger, renting.clock.now)
    for tag in (None, "training-run", "cacheon-no-uuid", tag_of(theirs)):
        renting.provider.put(tag)
    renting.clock.now += 10 * LONGEST_S
    assert renting.sweep().lines == ()
    assert (renting.provider.stopped_at, renting.topics()) == ({}, [])


def test_an_open_contest_owns_its_machine_beyond_the_grace_but_not_beyond_its_longest(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    submission = renting.scene.submit("alice")
    contest = renting.scene.plan(submission)
    desk = renting.desk()
    rented = desk.rent("r")
    desk.begin_contest(rented.rental, contest)
    renting.clock.now += LONGEST_S - 1
    assert (renting.sweep().lines, renting.sweep().running) == ((), 1)
    renting.clock.now += 1
    assert whats(renting) == ["stopped and booked"]
    own = renting.rental(rented.rental)
    assert own.cost is not None and own.cost.contest_ids == (contest,)


def test_a_contest_that_ended_without_a_word_gives_its_machine_up_after_the_grace(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    submission = renting.scene.submit("alice")
    contest = renting.scene.plan(submission)
    desk = renting.desk()
    rented = desk.rent("r")
    desk.begin_contest(rented.rental, contest)
    renting.clock.now += 2 * GRACE_S
    void_contest(renting.ledger, contest, cause=VoidCause.INTERRUPTED, detail="it died")
    assert (whats(renting), renting.rows()[0]["works_for"]) == ([], None)
    renting.clock.now += GRACE_S
    assert whats(renting) == ["stopped and booked"]


def test_a_price_that_rose_above_its_cap_ends_a_machine(engine: Engine) -> None:
    renting = Renting(engine)
    rented = renting.desk().rent("r")
    old = renting.provider.machines[rented.instance]
    changed = {name: getattr(old, name) for name in old.__slots__}
    renting.provider.machines[rented.instance] = type(old)(
        **changed | {"usd_micros_per_hour": CAP + 1}
    )
    assert whats(renting) == ["has another price", "stopped and booked"]


def test_a_machine_that_is_gone_by_itself_is_ended_when_its_provider_says(engine: Engine) -> None:
    renting = Renting(engine)
    rented = renting.desk().rent("r")
    renting.provider.stopped_at[rented.instance] = renting.clock.now + 90
    renting.clock.now += 500
    assert whats(renting) == ["ended and booked"]
    own = renting.rental(rented.rental)
    assert own.cost is not None and own.cost.seconds == 90


def test_without_a_stated_end_it_ended_at_the_first_look_at_which_it_is_gone(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    renting.provider.states_ends = False
    rented = renting.desk().rent("r")
    renting.provider.stopped_at[rented.instance] = renting.clock.now + 90
    renting.clock.now += 100
    renting.sweep()
    renting.clock.now += 100
    renting.sweep()
    own = renting.rental(rented.rental)
    assert own.cost is not None and own.cost.seconds == 100


def test_deleted_but_still_listed_is_ended_once_and_booked_once(engine: Engine) -> None:
    renting = Renting(engine)
    renting.provider.lists_the_dead_for_s = 10**6
    desk = renting.desk()
    rented = desk.rent("r")
    renting.clock.now += 60
    assert desk.stop(rented.rental, "done").over
    before = renting.topics()
    renting.clock.now += 600
    assert renting.sweep().lines == ()
    assert (renting.topics(), len(renting.booked())) == (before, 1)


def test_a_machine_that_runs_on_after_its_end_is_said_and_stopped_again(engine: Engine) -> None:
    renting = Renting(engine)
    desk = renting.desk()
    rented = desk.rent("r")
    desk.stop(rented.rental, "done")
    del renting.provider.stopped_at[rented.instance]  # its provider took it back to life
    assert whats(renting) == ["asked to stop again"]
    assert renting.sweep().lines == ()
    assert len(renting.booked()) == 1
    alerts = [log.fact for log in renting.scene.log() if isinstance(log.fact, AlertRaised)]
    assert ["runs on after it ended" in alert.detail for alert in alerts] == [True]


def test_a_provider_that_cannot_be_asked_is_said_alarms_and_keeps_nobody_waiting(
    engine: Engine,
) -> None:
    clock = TurnedClock()
    down, up = MemoryProvider(clock, is_down=True), MemoryProvider(clock, name="lium")
    renting = Renting(engine, down, up)
    up.put(tag_of(uuid4()))
    swept = renting.sweep()
    assert [one.provider for one in swept.unasked] == ["shadeform"]
    assert [line.what for line in swept.lines] == ["found without a request", "stopped and booked"]
    alerts = [log.fact for log in renting.scene.log() if isinstance(log.fact, AlertRaised)]
    assert [alert.kind for alert in alerts] == ["rental-provider:shadeform"]
    renting.sweep()
    assert len([log for log in renting.scene.log() if isinstance(log.fact, AlertRaised)]) == 1


def test_a_rental_at_a_provider_without_a_key_is_said(engine: Engine) -> None:
    renting = Renting(engine)
    requested(renting.ledger, renting.clock.now, provider="targon")
    (line,) = renting.sweep().lines
    assert not line.over
    assert "LEDGER_TARGON_KEY" in line.detail


def test_a_stop_that_its_provider_does_not_hear_is_said_and_sent_again(engine: Engine) -> None:
    renting = Renting(engine)
    rented = renting.desk().rent("r")
    renting.clock.now += GRACE_S
    heard, deaf = renting.provider.stop, [True]

    def stop(instance: str) -> None:
        if deaf[0]:
            msg = "shadeform gave no answer to a stop"
            raise UnansweredError(msg)
        heard(instance)

    renting.provider.stop = stop  # type: ignore[method-assign]  a fault of this one
    swept = renting.sweep()
    assert not swept.is_over
    assert "no answer to a stop" in swept.lines[-1].detail
    deaf[0] = False
    assert whats(renting) == ["stopped and booked"]
    assert renting.rental(rented.rental).stops == 2


def test_a_machine_of_which_nobody_ever_states_a_price_stays_open_and_is_said(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    renting.provider.states_prices = False
    renting.provider.put(tag_of(uuid4()))
    swept = renting.sweep()
    assert not swept.is_over
    assert "its cost is unknown" in swept.lines[-1].detail
    assert renting.provider.running() == []
    assert (renting.booked(), len(renting.open())) == ([], 1)
    # It has ended, so it is not stopped again, and its meter does not run on.
    (rental,) = renting.open()
    before = renting.topics()
    renting.clock.now += 5_000
    swept = renting.sweep()
    assert [(line.what, line.over) for line in swept.lines] == [("cannot be booked", False)]
    assert "rentals price" in swept.lines[0].detail
    assert not renting.desk().stop(rental, "again").over
    assert renting.topics() == before


def test_a_price_that_a_person_states_books_what_has_ended_and_is_stated_no_more(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    renting.provider.states_prices = False
    renting.provider.put(tag_of(uuid4()))
    renting.clock.now += 3_600  # it ran so long before it was found
    renting.sweep()
    (rental,) = renting.open()
    renting.clock.now += 5_000
    with pytest.raises(DecisionRefusedError, match="above 0"):
        renting.desk().state_price(rental, 0, "the page says so")
    renting.desk().state_price(rental, 10_000_000, "the page says so")
    assert (renting.booked(), renting.open()) == ([10_000_000], [])
    (row,) = renting.rows()
    assert (row["status"], row["assumed"], row["seconds"]) == ("booked", "price", 3_600)
    (held,) = renting.budget().held.values()
    assert (held.usd_micros, held.settled) == (10_000_000, True)
    with pytest.raises(DecisionRefusedError, match="its price is known"):
        renting.desk().state_price(rental, 20_000_000, "no, this")
    assert renting.sweep().is_over


@pytest.mark.parametrize("by", ["desk", "sweep"])
def test_a_machine_its_provider_does_not_know_yet_is_not_gone(engine: Engine, by: str) -> None:
    renting = Renting(engine)
    renting.provider.boot_s = 60
    unknown_until = renting.clock.now + 120
    state, listed = renting.provider.state, renting.provider.listed

    def not_yet(instance: str) -> Instance:
        if renting.clock.now < unknown_until:
            return Instance("shadeform", instance, None, "gone", None, None, None, None)
        return state(instance)

    provider = renting.provider
    provider.state = not_yet  # type: ignore[method-assign]  a fault of this one
    provider.listed = lambda: listed() if renting.clock.now >= unknown_until else []  # type: ignore[method-assign]
    if by == "desk":
        rented = renting.desk().rent("r")
        assert renting.clock.now >= unknown_until
        assert provider.running() == [rented.instance]
    else:
        request = requested(renting.ledger, renting.clock.now)
        found = Found(provider.put(tag_of(request)), None, None)
        record.note_machine(renting.ledger, request, found, Billed(), now_s=renting.clock.now)
        assert (renting.sweep().lines, renting.sweep().running) == ((), 1)
    assert renting.booked() == []
    assert "rental.ended" not in renting.topics()


def test_a_machine_that_is_unknown_for_long_is_gone_though_it_never_came_up(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    request = requested(renting.ledger, renting.clock.now)
    record.note_machine(
        renting.ledger, request, Found("i-9", None, None), Billed(), now_s=renting.clock.now
    )
    renting.clock.now += NEW_S - 1
    assert whats(renting) == []
    renting.clock.now += 1
    assert whats(renting) == ["ended and booked"]


@pytest.mark.parametrize("stated", [1, 10**11])
def test_a_start_that_cannot_be_is_taken_for_none(engine: Engine, stated: int) -> None:
    renting = Renting(engine)
    request = requested(renting.ledger, renting.clock.now)
    found = Found("i-9", HOUR_USD_MICROS, stated, runs=True)
    record.note_machine(renting.ledger, request, found, Billed(), now_s=renting.clock.now + 60)
    started = renting.rental(request).started
    assert started is not None
    assert (started.started_at_s, started.assumed) == (renting.clock.now, ("start",))


def test_an_end_that_is_to_come_is_taken_for_none(engine: Engine) -> None:
    renting = Renting(engine)
    rented = renting.desk().rent("r")
    now_s = renting.clock.now + 60
    record.end_rental(
        renting.ledger, rented.rental, Billed(), stated_end_s=10**11, now_s=now_s, reason="over"
    )
    own = renting.rental(rented.rental)
    assert own.cost is not None and own.cost.seconds == 60


def test_what_a_provider_never_states_is_taken_from_the_request_and_named(engine: Engine) -> None:
    renting = Renting(engine)
    renting.provider.states_prices = renting.provider.states_starts = False
    rented = renting.desk().rent("r")
    renting.clock.now += 60
    renting.desk().stop(rented.rental, "done")
    (row,) = renting.rows()
    assert row["assumed"] == "price, start"
    assert row["cost_usd_micros"] == -(-60 * HOUR_USD_MICROS // 36_000_000) * 10_000


def test_a_volume_under_our_tag_that_no_rental_has_is_deleted(engine: Engine) -> None:
    renting = Renting(engine)
    renting.provider.has_volumes = True
    ours, theirs = Volume("shadeform", "v-9", tag_of(uuid4()), 10), Volume("s", "v-8", "x", 10)
    renting.provider.made_volumes = {"v-9": ours, "v-8": theirs}
    assert whats(renting) == ["volume found by its tag"]
    renting.clock.now += GRACE_S
    assert whats(renting) == ["counts as lost", "volume deleted"]
    assert list(renting.provider.made_volumes) == ["v-8"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(engine: Engine) -> None:
    renting = Renting(engine)
    old = requested(renting.ledger, renting.clock.now)
    renting.clock.now += GRACE_S
    rented = renting.desk().rent("r")
    renting.provider.put(tag_of(uuid4()))
    renting.clock.now += GRACE_S
    before = len(renting.scene.log())
    swept = renting.sweep(dry_run=True)
    assert (swept.lines[0].rental_id, swept.lines[0].what) == (
        str(rented.rental),
        "would be stopped",
    )
    assert [line.what for line in swept.lines][1:] == [
        *("found without a request", "would be stopped", "would count as lost"),
    ]
    assert swept.lines[-1].rental_id == str(old)
    assert (len(renting.scene.log()), renting.provider.stopped_at) == (before, {})


def test_a_desk_that_finds_nothing_leaves_nothing_running(engine: Engine) -> None:
    renting = Renting(engine)
    renting.provider.refuses = True
    with pytest.raises(NoMachineError):
        renting.desk().rent("r")
    assert (renting.open(), renting.sweep().lines) == ([], ())


def test_a_list_of_volumes_that_fails_keeps_no_machine_from_being_stopped(engine: Engine) -> None:
    renting = Renting(engine)
    renting.provider.has_volumes = True
    renting.provider.put(tag_of(uuid4()))

    def volumes() -> list[Volume]:
        msg = "shadeform answered HTTP 500 to GET /volumes"
        raise UnansweredError(msg)

    renting.provider.volumes = volumes  # type: ignore[method-assign]  a fault of this one
    swept = renting.sweep()
    assert [line.what for line in swept.lines] == ["found without a request", "stopped and booked"]
    assert [one.why for one in swept.unasked] == ["shadeform answered HTTP 500 to GET /volumes"]
    assert renting.provider.running() == []


def test_a_volume_that_is_still_there_after_it_was_deleted_is_deleted_again(
    engine: Engine,
) -> None:
    renting = Renting(engine, volume_gigabytes=100)
    renting.provider.has_volumes = True
    desk = renting.desk()
    rented = desk.rent("r")
    assert desk.stop(rented.rental, "done").over
    (name,) = renting.provider.deleted
    renting.provider.made_volumes[name] = Volume("shadeform", name, tag_of(rented.rental), 100)
    assert not renting.sweep(dry_run=True).is_over
    assert list(renting.provider.made_volumes) == [name]
    swept = renting.sweep()
    assert ([line.what for line in swept.lines], swept.is_over) == (["volume deleted again"], False)
    assert renting.provider.made_volumes == {}
    assert renting.sweep().lines == ()


def test_what_the_log_refuses_of_one_machine_keeps_no_other_running(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    renting = Renting(engine)
    first, second = uuid4(), uuid4()
    for tag in (first, second):
        renting.provider.put(tag_of(tag))
    end = record.end_rental

    def refused_once(ledger: Ledger, rental: UUID, *args: Any, **named: Any) -> bool:
        if rental == first:
            msg = f"rental {rental} cannot end"
            raise DecisionRefusedError(msg)
        return end(ledger, rental, *args, **named)

    monkeypatch.setattr(record, "end_rental", refused_once)
    found = {(line.rental_id, line.what) for line in renting.sweep().lines}
    assert (str(first), "cannot be recorded") in found
    assert (str(second), "stopped and booked") in found
