"""What the event store promises, held on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eventsourcing.persistence import IntegrityError, NotSupportedError
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from ledger.application import MAX_TRIES, ContentionError, Ledger, Unit
from ledger.commands.arena import open_arena, pause
from ledger.commands.block_facts import BlockFacts
from ledger.commands.blocks import record_block
from ledger.commands.contests import plan_contest
from ledger.decisions.arena import Arena, ArenaOpened, Paused
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest, ContestClaimed, Holder
from ledger.decisions.treasury import Treasury
from ledger.facts import MAX_FACT_BYTES, Context, Fact
from ledger.keys import arena_id, treasury_id
from ledger.observations import AlertRaised, FactConflictSeen, GapObserved
from ledger.store.codec import FactCodecError, FactMapper
from ledger.store.conflicts import BlockOrderError, FactConflictError, HeadMovedError
from ledger.store.logs import read_log
from ledger.store.recorder import ArenaRecorder
from tests.unit.ledger.scenes import ARENA, OPENED_AT, OTHER_ARENA, Scene, block_hash, policy


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return open_arena(
        engine, ARENA, network="test", at_block=OPENED_AT, policy=policy(), actor="op"
    )


def alert(name: str, detail: str = "", block: int = OPENED_AT) -> AlertRaised:
    context = Context(ARENA, block)
    return AlertRaised.seen(context, f"alert:{name}", kind=name, detail=detail, block=block)


def append(ledger: Ledger, *facts: Fact) -> Any:
    mapper = FactMapper()
    return ArenaRecorder(ledger.engine, ledger.arena).insert_events(
        [mapper.to_stored_event(fact) for fact in facts]
    )


def log(ledger: Ledger) -> list[tuple[int, Fact]]:
    with ledger.engine.connect() as connection:
        page = read_log(connection, ledger.head().log_id, after=0, limit=10_000)
    return [(logged.position, logged.fact) for logged in page]


def next_block(ledger: Ledger) -> int:
    number = ledger.head().effective_block + 1
    facts = BlockFacts(number, block_hash(number), block_hash(number - 1), None, 1)
    record_block(ledger, facts)
    return number


# -- append -----------------------------------------------------------------------------------


def test_positions_are_dense_and_the_head_follows(ledger: Ledger) -> None:
    assert append(ledger, alert("a"), alert("b")) == [2, 3]
    assert append(ledger, alert("c")) == [4]
    assert [position for position, _ in log(ledger)] == [1, 2, 3, 4]
    assert ledger.head().position == 4


def test_the_same_fact_again_is_a_no_op_that_returns_its_old_position(ledger: Ledger) -> None:
    append(ledger, alert("a"), alert("b"))
    assert append(ledger, alert("new"), alert("a"), alert("newer")) == [4, 2, 5]
    assert len(log(ledger)) == 5


def test_the_same_fact_twice_in_one_batch_is_written_once(ledger: Ledger) -> None:
    assert append(ledger, alert("a"), alert("a"), alert("b")) == [2, 2, 3]
    with pytest.raises(FactConflictError):
        append(ledger, alert("c"), alert("c", "otherwise"))
    assert len(log(ledger)) == 3


def test_another_content_under_a_known_key_writes_nothing_of_its_batch(ledger: Ledger) -> None:
    append(ledger, alert("a", "first"))
    before = log(ledger)
    with pytest.raises(FactConflictError, match="'first' is recorded, 'second' was offered"):
        append(ledger, alert("new"), alert("a", "second"), alert("newer"))
    assert log(ledger) == before


def test_the_same_words_about_another_thing_are_a_conflict(ledger: Ledger) -> None:
    first = alert("twin")
    append(ledger, first)
    other = msgspec.structs.replace(first, originator_id=UUID(int=14))
    with pytest.raises(FactConflictError, match=f"it is of {first.originator_id}, not of"):
        append(ledger, other)


def test_another_kind_of_fact_under_a_known_key_is_a_conflict(ledger: Ledger) -> None:
    append(ledger, alert("a"))
    gap = GapObserved.seen(
        Context(ARENA, OPENED_AT), "alert:a", from_block=1, to_block=2, reason="x"
    )
    with pytest.raises(FactConflictError, match=r"it is a seen\.alert\.v1, not a seen\.gap\.v1"):
        append(ledger, gap)


def test_a_conflict_is_itself_recorded_once_and_the_known_fact_stands(ledger: Ledger) -> None:
    append(ledger, alert("a", "first"))

    def contradict(unit: Unit) -> None:
        unit.observe(AlertRaised, "alert:a", kind="a", detail="second", block=OPENED_AT)

    for _ in range(2):
        with pytest.raises(FactConflictError):
            ledger.decide(contradict)
    (noted,) = [fact for _, fact in log(ledger) if isinstance(fact, FactConflictSeen)]
    assert (noted.conflicting_key, noted.topic_refused) == ("alert:a", "seen.alert.v1")
    known = ledger.known("alert:a")
    assert isinstance(known, AlertRaised)
    assert known.detail == "first"


def test_a_fault_in_the_middle_of_a_transaction_leaves_nothing(ledger: Ledger) -> None:
    before = log(ledger), ledger.head()

    def fail(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("UPDATE logs"):
            msg = "the disk is gone"
            raise OSError(msg)

    event.listen(ledger.engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="disk is gone"):
        append(ledger, *(alert(str(number)) for number in range(50)))
    event.remove(ledger.engine, "before_cursor_execute", fail)
    assert (log(ledger), ledger.head()) == before
    assert append(ledger, alert("0")) == [2]


def test_facts_of_another_arena_do_not_enter_a_log(ledger: Ledger) -> None:
    other = Ledger(ledger.engine, OTHER_ARENA)
    with pytest.raises(ValueError, match="cannot enter the log"):
        append(other, alert("a"))


def test_every_arena_has_a_dense_log_of_its_own(engine: Engine) -> None:
    one, two = Scene(engine), Scene(engine, OTHER_ARENA)
    for _ in range(3):
        one.submit("A")
        two.block()
    for scene in (one, two):
        positions = [logged.position for logged in scene.log()]
        assert positions == list(range(1, len(positions) + 1))
        assert {logged.fact.arena_key for logged in scene.log()} == {scene.ledger.arena}


def test_a_fact_beyond_the_limits_is_refused_before_anything_is_written(ledger: Ledger) -> None:
    for fact in (alert("big", "x" * MAX_FACT_BYTES), alert("k" * 300), alert("nul\0")):
        with pytest.raises(FactCodecError):
            append(ledger, alert("fine"), fact)
    assert len(log(ledger)) == 1


def test_recorded_events_can_neither_be_changed_nor_deleted(ledger: Ledger) -> None:
    for rewrite in ("UPDATE events SET topic = 'x'", "DELETE FROM events"):
        with (
            pytest.raises(DBAPIError, match="append-only"),
            ledger.engine.begin() as connection,
        ):
            connection.execute(text(rewrite))
    assert len(log(ledger)) == 1


# -- time -------------------------------------------------------------------------------------


def test_a_block_that_is_not_after_the_newest_is_refused(ledger: Ledger) -> None:
    for _ in range(3):
        next_block(ledger)
    facts = BlockFacts(12, block_hash(12, "fork"), block_hash(11), None, 1)
    with pytest.raises(FactConflictError):
        record_block(ledger, facts)

    def backwards(unit: Unit) -> None:
        unit.advance(9, hash="0x", parent_hash="0x", timestamp_ms=None, spec_version=1)

    with pytest.raises(BlockOrderError, match="block 9 cannot follow block 13"):
        ledger.decide(backwards)


def test_the_effective_block_never_decreases_and_is_the_last_block_ingested(
    ledger: Ledger,
) -> None:
    for number in range(4):
        next_block(ledger)
        ledger.decide(lambda unit, n=number: _raise(unit, str(n)))  # type: ignore[misc]
    blocks = [fact.effective_block for _, fact in log(ledger)]
    assert blocks == sorted(blocks) == [10, 11, 11, 12, 12, 13, 13, 14, 14]
    with pytest.raises(HeadMovedError):
        append(ledger, alert("late", block=13))


def _raise(unit: Unit, name: str) -> None:
    unit.observe(AlertRaised, f"alert:{name}", kind=name, detail="", block=unit.block)


# -- deciding again ---------------------------------------------------------------------------


def test_a_command_overtaken_by_a_block_is_decided_again_there(ledger: Ledger) -> None:
    tries = []

    def work(unit: Unit) -> None:
        tries.append(unit.block)
        if len(tries) == 1:
            next_block(ledger)
        _raise(unit, "a")

    ledger.decide(work)
    assert tries == [10, 11]
    assert log(ledger)[-1][1].effective_block == 11


def test_a_command_whose_aggregate_was_written_meanwhile_is_decided_again(ledger: Ledger) -> None:
    """Two operators pause at once, for other reasons: one pause, no alarm."""
    raced: list[bool] = []

    def work(unit: Unit) -> None:
        arena = unit.arena
        if not raced:
            raced.append(True)
            pause(ledger, "emission", reason="first", actor="one")
        arena.pause(unit.context, "emission", "second", "two")

    ledger.decide(work)
    facts = [fact for _, fact in log(ledger)]
    assert [fact.reason for fact in facts if isinstance(fact, Paused)] == ["first"]
    assert not [fact for fact in facts if isinstance(fact, FactConflictSeen)]


def test_a_command_rests_on_what_it_only_read(engine: Engine) -> None:
    """A pause between reading the arena and planning a contest: the contest does not start."""
    scene = Scene(engine)
    waiting, seed = scene.submit("A"), scene.block()
    armed = [True]
    load = Ledger.load

    class Racing(Ledger):
        def load(self, kind: Any, aggregate_id: Any) -> Any:
            found = load(self, kind, aggregate_id)
            if kind is Arena and armed:
                armed.clear()
                pause(scene.ledger, "evaluation", reason="exploit", actor="op")
            return found

    scene.ledger.memory.forget([arena_id(ARENA)])  # so that it is read from the log
    with pytest.raises(DecisionRefusedError, match="evaluation is paused"):
        plan_contest(
            Racing(engine, ARENA), track="qwen", challengers=[waiting], seed_block=seed, attempt=1
        )


def test_of_two_workers_that_claim_a_contest_at_once_one_gets_it(engine: Engine) -> None:
    scene = Scene(engine)
    contest = scene.plan(scene.submit("A"))
    raced: list[bool] = []

    def claim(unit: Unit, worker: str) -> None:
        found = unit.get(Contest, contest)
        if not raced:
            raced.append(True)
            scene.ledger.decide(lambda other: claim(other, "first"))
        found.claim_for(unit.context, Holder(worker, "1"), scene.head + 10)

    with pytest.raises(DecisionRefusedError, match="is claimed by first"):
        scene.ledger.decide(lambda unit: claim(unit, "second"))
    assert [fact.worker for fact in scene.facts(ContestClaimed)] == ["first"]
    assert scene.facts(FactConflictSeen) == []


def test_a_version_that_is_taken_is_the_library_s_integrity_error(ledger: Ledger) -> None:
    opened = log(ledger)[0][1]
    assert isinstance(opened, ArenaOpened)
    arena = Arena(arena_id(ARENA))
    stale = Paused(
        originator_id=arena.id,
        originator_version=1,
        arena=str(ARENA),
        fact_key="paused:elsewhere",
        effective_block=OPENED_AT,
        switch="emission",
        reason="x",
        actor="op",
    )
    with pytest.raises(IntegrityError):
        append(ledger, alert("a"), stale)
    assert len(log(ledger)) == 1


def test_losing_every_time_is_said_and_records_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own name for the clock: the threads of the store go on waiting as they do.
    monkeypatch.setattr("ledger.application.time", SimpleNamespace(sleep=lambda _s: None))
    tries = []

    def work(unit: Unit) -> None:
        tries.append(1)
        next_block(ledger)
        _raise(unit, "never")

    with pytest.raises(ContentionError, match="nothing was recorded"):
        ledger.decide(work)
    assert len(tries) == MAX_TRIES
    assert ledger.known("alert:never") is None


def test_threads_of_one_process_lose_nothing(ledger: Ledger) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(15):
                ledger.decide(lambda unit, n=number: _raise(unit, f"{name}{n}"))  # type: ignore[misc]
                ledger.decide(_plan)
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert [position for position, _ in log(ledger)] == list(range(1, 92))
    treasury = ledger.load(Treasury, treasury_id(ARENA))
    assert sorted(treasury.buybacks) == list(range(1, 46))
    assert treasury.version == 45


def _plan(unit: Unit) -> None:
    unit.get(Treasury, treasury_id(ARENA)).plan_buyback(unit.context, 1, 1, "op")


# -- the library's reading interface ----------------------------------------------------------


def ids(ledger: Ledger, *args: Any, **kwargs: Any) -> list[int]:
    return [found.id for found in ledger.recorder.select_notifications(*args, **kwargs)]


def test_notifications_are_read_by_dense_ids_from_start_to_stop(ledger: Ledger) -> None:
    append(ledger, alert("a"), alert("b"), alert("c"))
    assert ids(ledger, None, 10) == [1, 2, 3, 4]
    assert ids(ledger, 2, 10) == [2, 3, 4]
    assert ids(ledger, 2, 10, inclusive_of_start=False) == [3, 4]
    assert ids(ledger, 2, 2) == [2, 3]
    assert ids(ledger, 1, 10, stop=2) == [1, 2]
    assert ids(ledger, 1, 10, topics=["arena.opened.v1"]) == [1]
    assert ids(ledger, 5, 10) == []
    assert ids(ledger, None, 1, topics=["seen.alert.v1"]) == [2]
    assert ledger.recorder.max_notification_id() == 4
    page = ledger.recorder.select_notifications(3, 1)
    assert ledger.mapper.to_domain_event(page[0]) == log(ledger)[2][1]


def test_an_unknown_arena_has_no_notifications(ledger: Ledger) -> None:
    other = Ledger(ledger.engine, OTHER_ARENA)
    assert ids(other, None, 10) == []
    assert other.recorder.max_notification_id() is None
    assert ledger.recorder.insert_events([]) == []
    with pytest.raises(NotSupportedError):
        ledger.recorder.subscribe()


def test_an_aggregate_is_read_by_version(ledger: Ledger) -> None:
    for number in range(3):
        pause(ledger, "emission", reason="x", actor=str(number))
        ledger.decide(lambda unit: unit.arena.resume(unit.context, "emission", "y", "op"))
    select = ledger.recorder.select_events
    identity = arena_id(ARENA)
    assert [found.originator_version for found in select(identity)] == [1, 2, 3, 4, 5, 6, 7]
    assert [found.originator_version for found in select(identity, gt=2, lte=5)] == [3, 4, 5]
    latest = select(identity, desc=True, limit=2)
    assert [found.originator_version for found in latest] == [7, 6]
