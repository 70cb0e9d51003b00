"""One writer per process: many callers, one transaction, and each its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from eventsourcing.persistence import IntegrityError
from sqlalchemy import Engine, event
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import OperationalError

from ledger.application import Ledger, Unit
from ledger.decisions.arena import ArenaOpened
from ledger.decisions.buybacks import BuybackPlanned
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import AlertRaised
from ledger.store import draft as drafting
from ledger.store import writer as writing
from ledger.store.codec import stored
from ledger.store.conflicts import FactConflictError
from ledger.store.draft import Append
from ledger.store.logs import head_of, read_log
from ledger.store.writer import GroupWriter, OutcomeUnknownError, WriterBusyError, writer_of
from tests.unit.ledger.scenes import ARENA, OPENED_AT, OTHER_ARENA, Scene, policy

CALLERS = 24


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Scene(engine).ledger


def alert(key: str, detail: str = "") -> Callable[[Unit], None]:
    def work(unit: Unit) -> None:
        unit.observe(AlertRaised, f"alert:{key}", kind="test", detail=detail, block=unit.block)

    return work


def together(ledger: Ledger, works: list[Callable[[Unit], None]]) -> list[BaseException | None]:
    """Run each command in a thread of its own, all let go at once; what each raised, in order."""
    answers: list[BaseException | None] = [None] * len(works)
    start = threading.Barrier(len(works))

    def run(number: int) -> None:
        start.wait()
        try:
            ledger.decide(works[number])
        except BaseException as error:  # noqa: BLE001  the test looks at it
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return answers


def commits_of(engine: Engine) -> list[int]:
    counted: list[int] = []
    event.listen(engine, "commit", lambda _connection: counted.append(1))
    return counted


def keys(ledger: Ledger) -> list[str]:
    with ledger.engine.connect() as connection:
        head = head_of(connection, ARENA)
        assert head is not None
        page = read_log(connection, head.log_id, after=0, limit=10_000)
    assert [logged.position for logged in page] == list(range(1, len(page) + 1))
    return [logged.fact.fact_key for logged in page]


def test_a_bad_command_fails_alone(ledger: Ledger) -> None:
    ledger.decide(alert("taken", "first"))
    works = [alert(f"good {number}") for number in range(CALLERS)]
    works[CALLERS // 2] = alert("taken", "second")
    answers = together(ledger, works)
    refused = answers.pop(CALLERS // 2)
    assert isinstance(refused, FactConflictError)
    assert answers == [None] * (CALLERS - 1)
    recorded = keys(ledger)
    good = {f"alert:good {number}" for number in range(CALLERS)} - {f"alert:good {CALLERS // 2}"}
    assert good <= set(recorded)


def test_the_same_fact_from_many_callers_is_recorded_once(ledger: Ledger) -> None:
    answers = together(ledger, [alert("one", "same") for _ in range(CALLERS)])
    assert answers == [None] * CALLERS
    assert keys(ledger).count("alert:one") == 1


def test_who_waits_is_written_in_one_transaction(
    ledger: Ledger, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, entered = threading.Event(), threading.Event()
    write = GroupWriter._write

    def slowly(self: GroupWriter, batch: list[writing.Append]) -> None:
        if not entered.is_set():
            entered.set()
            assert held.wait(timeout=30)
        write(self, batch)

    monkeypatch.setattr(GroupWriter, "_write", slowly)
    threads = [
        threading.Thread(target=ledger.decide, args=(alert(f"waits {number}"),))
        for number in range(CALLERS)
    ]
    threads[0].start()
    assert entered.wait(timeout=30)
    for thread in threads[1:]:
        thread.start()
    own = writer_of(engine)
    while len(own._line) < CALLERS:
        threading.Event().wait(0.005)
    commits = commits_of(engine)
    held.set()
    for thread in threads:
        thread.join(timeout=60)
    assert len([key for key in keys(ledger) if key.startswith("alert:waits")]) == CALLERS
    written = len(commits)
    assert written < CALLERS  # reads commit nothing; the first alone, then the rest in line


def test_a_failing_database_fails_everybody_in_the_batch_and_nobody_after(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, Exception("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(drafting, "insert_facts", broken)
        answers = together(ledger, [alert(f"lost {number}") for number in range(CALLERS)])
    assert all(isinstance(answer, OperationalError) for answer in answers)
    assert not any(key.startswith("alert:lost") for key in keys(ledger))
    ledger.decide(alert("after"))
    assert keys(ledger)[-1] == "alert:after"


def test_a_line_that_is_full_refuses_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_WAITING", 0)
    with pytest.raises(WriterBusyError, match="try again later"):
        ledger.decide(alert("refused"))


def test_a_batch_is_bounded_and_nobody_is_left_out(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_BATCH_FACTS", 2)
    sizes: list[int] = []
    write = GroupWriter._write

    def slowly(self: GroupWriter, batch: Sequence[Append]) -> None:
        threading.Event().wait(0.01)  # long enough for a line to form
        sizes.append(sum(len(request.facts) for request in batch))
        write(self, batch)

    monkeypatch.setattr(GroupWriter, "_write", slowly)
    answers = together(ledger, [alert(f"bounded {number}") for number in range(CALLERS)])
    assert max(sizes) == 2
    assert answers == [None] * CALLERS
    assert len([key for key in keys(ledger) if "bounded" in key]) == CALLERS


def test_waiting_for_an_append_wakes_with_it(ledger: Ledger, engine: Engine) -> None:
    own = writer_of(engine)
    seen = own.wait_for_append(-1, 0)
    woken: list[int] = []
    waiter = threading.Thread(target=lambda: woken.append(own.wait_for_append(seen, 30)))
    waiter.start()
    ledger.decide(alert("wakes"))
    waiter.join(timeout=30)
    assert woken == [seen + 1]


def test_an_interrupted_leader_takes_nobody_along(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, entered = threading.Event(), threading.Event()
    write = GroupWriter._write

    def interrupted(self: GroupWriter, batch: list[writing.Append]) -> None:
        if not entered.is_set():
            entered.set()
            assert held.wait(timeout=30)
            raise KeyboardInterrupt
        write(self, batch)

    monkeypatch.setattr(GroupWriter, "_write", interrupted)
    stopped: list[BaseException] = []

    def first() -> None:
        try:
            ledger.decide(alert("stopped"))
        except KeyboardInterrupt as error:
            stopped.append(error)

    leader = threading.Thread(target=first)
    leader.start()
    assert entered.wait(timeout=30)
    others = [
        threading.Thread(target=ledger.decide, args=(alert(f"goes on {number}"),))
        for number in range(CALLERS)
    ]
    for thread in others:
        thread.start()
    own = writer_of(ledger.engine)
    while len(own._line) <= CALLERS:
        threading.Event().wait(0.005)
    held.set()
    for thread in (leader, *others):
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert len(stopped) == 1
    recorded = keys(ledger)
    assert "alert:stopped" not in recorded
    assert len([key for key in recorded if "goes on" in key]) == CALLERS


def test_an_interrupted_waiter_leaves_the_line_and_stops_nobody(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, entered = threading.Event(), threading.Event()
    write = GroupWriter._write

    def slowly(self: GroupWriter, batch: list[writing.Append]) -> None:
        if not entered.is_set():
            entered.set()
            assert held.wait(timeout=30)
        write(self, batch)

    class Interrupted:
        def __init__(self, lock: threading.Lock) -> None:
            self.release, self._acquire = lock.release, lock.acquire

        def acquire(self, timeout: float) -> bool:
            if threading.current_thread().name == "interrupted":
                raise KeyboardInterrupt
            return self._acquire(timeout=timeout)

    class Waiting(writing.Append):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            self.wake = Interrupted(self.wake)  # type: ignore[assignment]

    monkeypatch.setattr(GroupWriter, "_write", slowly)
    monkeypatch.setattr(writing, "Append", Waiting)
    leader = threading.Thread(target=ledger.decide, args=(alert("leads"),))
    leader.start()
    assert entered.wait(timeout=30)

    def waiter() -> None:
        with pytest.raises(KeyboardInterrupt):
            ledger.decide(alert("interrupted"))

    gone = threading.Thread(target=waiter, name="interrupted")
    gone.start()
    gone.join(timeout=30)
    last = threading.Thread(target=ledger.decide, args=(alert("comes after"),))
    last.start()
    held.set()
    for thread in (leader, gone, last):
        thread.join(timeout=60)
        assert not thread.is_alive()
    recorded = keys(ledger)
    assert recorded[-2:] == ["alert:leads", "alert:comes after"]


def test_what_the_database_cannot_take_fails_alone(ledger: Ledger) -> None:
    def beyond(unit: Unit) -> None:
        fact = AlertRaised.seen(unit.context, "alert:beyond", kind="t", detail="", block=unit.block)
        unit.facts.append(msgspec.structs.replace(fact, originator_version=2**70))

    works = [alert(f"neighbour {number}") for number in range(CALLERS)]
    works[3] = beyond
    answers = together(ledger, works)
    assert answers.pop(3) is not None
    assert answers == [None] * (CALLERS - 1)
    assert len([key for key in keys(ledger) if "neighbour" in key]) == CALLERS - 1


def test_of_two_openings_in_one_batch_the_accepted_one_names_the_log(engine: Engine) -> None:
    other = Ledger(engine, OTHER_ARENA)

    def opening(network: str) -> Callable[[Unit], None]:
        return lambda unit: unit.arena.open(
            unit.context, network, policy(), "test", at_block=OPENED_AT
        )

    answers: list[BaseException | None] = []
    start = threading.Barrier(4)

    def run(network: str) -> None:
        start.wait()
        try:
            other.decide(opening(network), opening_at=OPENED_AT)
            answers.append(None)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            answers.append(error)

    threads = [threading.Thread(target=run, args=(f"net{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers.count(None) == 1
    opened = other.newest(ArenaOpened)
    assert opened is not None
    assert other.head().network == opened.network


def test_a_refused_opening_leaves_no_log(engine: Engine, ledger: Ledger) -> None:
    ledger.decide(alert("shared", "first"))
    other = Ledger(engine, OTHER_ARENA)

    def work(unit: Unit) -> None:
        unit.arena.open(unit.context, "elsewhere", policy(), "test", at_block=OPENED_AT)
        alert("shared", "second")(unit)

    with pytest.raises(FactConflictError):
        other.decide(work, opening_at=OPENED_AT)
    with engine.connect() as connection:
        assert head_of(connection, OTHER_ARENA) is None


def test_a_batch_is_bounded_in_bytes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_BATCH_BYTES", 1)
    commits = commits_of(ledger.engine)
    answers = together(ledger, [alert(f"large {number}") for number in range(CALLERS)])
    assert answers == [None] * CALLERS
    assert len(commits) >= CALLERS


def test_who_may_be_recorded_already_is_not_decided_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader is interrupted right behind the commit: a plan must not be made twice."""
    commit, held, entered, stopped = RootTransaction.commit, *_events(2), []
    write = GroupWriter._write

    def slowly(self: GroupWriter, batch: Sequence[Append]) -> None:
        if not entered.is_set():
            entered.set()
            assert held.wait(timeout=30)
        write(self, batch)

    def interrupted(self: RootTransaction) -> None:
        commit(self)
        if held.is_set() and not stopped and len(own._batch) > 1:
            stopped.append(1)
            raise KeyboardInterrupt

    def plan(actor: str) -> Callable[[Unit], Any]:
        return lambda unit: unit.get(Treasury, treasury_id(ARENA)).plan_buyback(
            unit.context, 1, 1, actor
        )

    own = writer_of(ledger.engine)
    monkeypatch.setattr(GroupWriter, "_write", slowly)
    monkeypatch.setattr(RootTransaction, "commit", interrupted)
    answers: dict[str, BaseException | None] = {}

    def run(actor: str, work: Callable[[Unit], Any]) -> None:
        try:
            ledger.decide(work)
            answers[actor] = None
        except BaseException as error:  # noqa: BLE001  the test looks at it
            answers[actor] = error

    works = {"first": alert("first"), "planner": plan("planner")}
    works |= {f"other {number}": alert(f"other {number}") for number in range(4)}
    threads = [threading.Thread(target=run, args=item) for item in works.items()]
    threads[0].start()
    assert entered.wait(timeout=30)
    for thread in threads[1:]:
        thread.start()
    while len(own._line) < len(works):
        threading.Event().wait(0.005)
    held.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert len(stopped) == 1
    planned = ledger.load(Treasury, treasury_id(ARENA)).buybacks
    assert len(planned) == 1
    kinds = {type(answer) for answer in answers.values() if answer is not None}
    assert kinds == {KeyboardInterrupt, OutcomeUnknownError}


def _events(count: int) -> list[threading.Event]:
    return [threading.Event() for _ in range(count)]


def test_a_deadlock_is_decided_again_and_fails_no_neighbour(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeadlockError(Exception):
        sqlstate = "40P01"

    transaction, met = GroupWriter._transaction, []

    def deadlocked(self: GroupWriter, batch: Sequence[Append], *, careful: bool) -> list[Append]:
        if len(met) < 3:
            met.append(len(batch))
            raise OperationalError("INSERT", None, DeadlockError("deadlock detected"))
        return transaction(self, batch, careful=careful)

    monkeypatch.setattr(GroupWriter, "_transaction", deadlocked)
    answers = together(ledger, [alert(f"met {number}") for number in range(CALLERS)])
    assert answers == [None] * CALLERS
    assert len([key for key in keys(ledger) if "alert:met" in key]) == CALLERS
    assert len(met) == 3


def test_a_decision_whose_first_fact_was_known_leaves_no_hole_in_its_aggregate(
    ledger: Ledger,
) -> None:
    treasury = treasury_id(ARENA)
    for _ in range(2):
        ledger.decide(
            lambda unit: unit.get(Treasury, treasury).plan_buyback(unit.context, 1, 1, "a")
        )
    known = ledger.newest(BuybackPlanned)
    assert known is not None
    again = msgspec.structs.replace(known, originator_version=3)
    after = msgspec.structs.replace(
        known, originator_version=4, fact_key=f"buyback-planned:{ARENA}:3", number=3
    )
    with pytest.raises(IntegrityError, match="recorded for something else"):
        ledger.recorder.insert_events([stored(again), stored(after)], read_at={treasury: 2})
    assert ledger.load(Treasury, treasury).version == 2
