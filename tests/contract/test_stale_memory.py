"""What a process remembers may be stale, for others write too; no answer ever rests on it alone.

Two engines on one database stand for two processes: each has a memory and a writer of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from ledger.application import Ledger, Unit
from ledger.commands.arena import pause, resume
from ledger.commands.block_facts import BlockFacts
from ledger.commands.blocks import record_block
from ledger.commands.contests import plan_contest
from ledger.decisions.arena import Paused
from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.decisions.payment import Payment, PaymentConsumed, PaymentSeen
from ledger.decisions.treasury import Adjusted, Treasury
from ledger.keys import arena_id, payment_id, treasury_id
from ledger.observations import AlertRaised, FactConflictSeen
from ledger.store import memory as memories
from ledger.store import writer as writing
from ledger.store.conflicts import FactConflictError
from ledger.store.database import open_engine
from ledger.store.writer import writer_of
from tests.unit.ledger.scenes import ARENA, Scene, block_hash

PAYMENT = payment_id(ARENA.genesis, block_hash(1), 1)
ONE, TWO = payment_id("one", "", 0), payment_id("two", "", 0)


@pytest.fixture
def scene(engine: Engine) -> Scene:
    return Scene(engine)


@pytest.fixture
def ledger(scene: Scene) -> Ledger:
    return scene.ledger


@pytest.fixture
def other(url: str, scene: Scene) -> Iterator[Ledger]:
    """The same arena in another process."""
    made = open_engine(url)
    yield Ledger(made, ARENA)
    made.dispose()


def see(unit: Unit, *, amount_rao: int = 5, expected_new: bool = True) -> None:
    payment = (unit.begin if expected_new else unit.get)(Payment, PAYMENT)
    payment.see(
        unit.context,
        "payment-seen:x",
        block=1,
        block_hash=block_hash(1),
        extrinsic_index=1,
        extrinsic_hash="0x",
        sender="S",
        treasury="T",
        amount_rao=amount_rao,
        outer_call="x",
        remarks=(),
    )


def consume(unit: Unit, submission: Any) -> None:
    unit.get(Payment, PAYMENT).consume(unit.context, submission, "A", 5)


def alert(unit: Unit, name: str) -> None:
    unit.observe(AlertRaised, f"alert:{name}", kind=name, detail="", block=unit.block)


def next_block(ledger: Ledger) -> int:
    number = ledger.head().effective_block + 1
    record_block(ledger, BlockFacts(number, block_hash(number), block_hash(number - 1), None, 1))
    return number


# -- aggregates ---------------------------------------------------------------------------------


def test_a_decision_over_a_stale_aggregate_is_taken_again(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(see)
    other.decide(lambda unit: consume(unit, ONE))
    with pytest.raises(DecisionRefusedError, match="paid for submission"):
        ledger.decide(lambda unit: consume(unit, TWO))
    assert [fact.submission_id for fact in scene.facts(PaymentConsumed)] == [ONE]
    assert scene.facts(FactConflictSeen) == []


def test_a_no_op_over_a_stale_aggregate_is_taken_again(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    pause(ledger, "emission", reason="first", actor="one")
    resume(other, "emission", reason="fixed", actor="two")
    pause(ledger, "emission", reason="second", actor="one")  # no longer paused, whatever it recalls
    assert [fact.reason for fact in scene.facts(Paused)] == ["first", "second"]


def test_a_refusal_over_a_stale_aggregate_is_taken_again(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    waiting, seed = scene.submit("A"), scene.block()
    pause(ledger, "evaluation", reason="exploit", actor="op")
    resume(other, "evaluation", reason="fixed", actor="op")
    plan_contest(ledger, track="qwen", challengers=[waiting], seed_block=seed, attempt=1)


def test_a_decision_over_an_aggregate_it_only_read_is_taken_again(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    waiting, seed = scene.submit("A"), scene.block()
    assert "evaluation" not in ledger.arena_state().paused
    pause(other, "evaluation", reason="exploit", actor="op")
    with pytest.raises(DecisionRefusedError, match="evaluation is paused"):
        plan_contest(ledger, track="qwen", challengers=[waiting], seed_block=seed, attempt=1)


def test_what_was_expected_new_and_is_known_is_loaded_after_all(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(see)
    other.decide(see)
    assert len(scene.facts(PaymentSeen)) == 1
    assert scene.facts(FactConflictSeen) == []
    assert other.memory.aggregate(PAYMENT) is not None


def test_what_was_expected_new_and_only_read_is_looked_for_before_it_counts(
    ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(see)

    def is_unknown(unit: Unit) -> bool:
        return not unit.begin(Payment, PAYMENT).deposits

    assert not other.decide(is_unknown)


def test_a_fact_that_was_known_leaves_nobody_ahead_of_the_log(ledger: Ledger) -> None:
    treasury = treasury_id(ARENA)

    def adjust(unit: Unit) -> None:
        content = {"asset": "TAO", "amount": 1, "provider": None, "reason": "x", "actor": "op"}
        unit.get(Treasury, treasury).adjust(unit.context, reference="r", about_block=1, **content)

    def again(unit: Unit) -> None:
        """As a rule that does not look would: the same fact, under the next version."""
        found = unit.get(Treasury, treasury)
        assert found.last is not None
        found.record(unit.context, Adjusted, found.last.fact_key, **found.last.content())

    ledger.decide(adjust)
    ledger.decide(again)
    assert ledger.load(Treasury, treasury).version == 1
    ledger.decide(lambda unit: unit.get(Treasury, treasury).plan_buyback(unit.context, 1, 1, "op"))
    assert ledger.load(Treasury, treasury).version == 2


def test_what_is_remembered_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "MAX_AGGREGATES", 2)
    kept = [Aggregate(payment_id("", str(number), 0)) for number in range(4)]
    for aggregate in kept:
        aggregate.version = 1
        ledger.memory.keep([aggregate])
    assert [ledger.memory.aggregate(one.id) for one in kept] == [None, None, *kept[2:]]


def test_an_older_state_does_not_replace_a_newer_one(ledger: Ledger) -> None:
    newer, older = Aggregate(PAYMENT), Aggregate(PAYMENT)
    newer.version, older.version = 2, 1
    ledger.memory.keep([newer])
    ledger.memory.keep([older])
    assert ledger.memory.aggregate(PAYMENT) is newer


def test_nobody_decides_on_an_aggregate_whose_unit_has_ended(ledger: Ledger) -> None:
    arena, context = ledger.decide(lambda unit: (unit.arena, unit.context))
    with pytest.raises(RuntimeError, match="after its unit of work had ended"):
        arena.pause(context, "emission", "r", "op")
    assert ledger.arena_state().paused == frozenset()


# -- blocks -------------------------------------------------------------------------------------


def test_a_fact_is_stamped_with_the_block_that_another_process_recorded(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    number = next_block(other)
    ledger.decide(lambda unit: alert(unit, "after"))
    last = scene.facts(AlertRaised)[-1]
    assert (last.block, last.effective_block) == (number, number)


def test_who_only_asks_sees_the_block_that_another_process_recorded(
    ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    number = next_block(other)
    assert ledger.decide(lambda unit: unit.block) == number


def test_a_block_that_another_process_recorded_is_known(
    scene: Scene, ledger: Ledger, other: Ledger
) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    numbers = [next_block(other) for _ in range(3)]
    for number in numbers:
        facts = BlockFacts(number, block_hash(number), block_hash(number - 1), None, 1)
        record_block(ledger, facts)  # recorded: a no-op, not a block out of order
    with pytest.raises(FactConflictError):
        record_block(ledger, BlockFacts(numbers[0], "0xfork", block_hash(1), None, 1))


# -- the writer's own connection ----------------------------------------------------------------


def drop_connection(engine: Engine) -> None:
    """As if the server had closed it, or somebody pulled the plug between two commands."""
    connection = writer_of(engine)._connection
    assert connection is not None
    if engine.dialect.name == "sqlite":
        connection.connection.driver_connection.close()  # type: ignore[union-attr]
        return
    number = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    with engine.begin() as own:
        own.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})


def test_a_connection_that_broke_meanwhile_is_replaced(
    scene: Scene, ledger: Ledger, engine: Engine
) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    drop_connection(engine)
    ledger.decide(lambda unit: alert(unit, "after"))
    assert [fact.kind for fact in scene.facts(AlertRaised)] == ["before", "after"]


def test_a_break_at_the_commit_is_told_and_not_tried_again(
    scene: Scene, ledger: Ledger, engine: Engine
) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    commits: list[int] = []

    def broken(_connection: object) -> None:
        commits.append(1)
        raise OperationalError("COMMIT", None, Exception("gone"), connection_invalidated=True)

    event.listen(engine, "commit", broken)
    with pytest.raises(OperationalError, match="gone"):
        ledger.decide(lambda unit: alert(unit, "unsure"))
    event.remove(engine, "commit", broken)
    assert commits == [1]
    assert ledger.memory.aggregate(arena_id(ARENA)) is None  # who answers next may lag behind
    ledger.decide(lambda unit: alert(unit, "unsure"))
    assert [fact.kind for fact in scene.facts(AlertRaised)] == ["before", "unsure"]


def test_a_disposed_engine_keeps_no_connection(ledger: Ledger, engine: Engine) -> None:
    ledger.decide(lambda unit: alert(unit, "before"))
    assert writer_of(engine)._connection is not None
    engine.dispose()
    assert writer_of(engine)._connection is None
    ledger.decide(lambda unit: alert(unit, "after"))
    assert ledger.known("alert:after") is not None


# -- waiting ------------------------------------------------------------------------------------


def test_a_lone_caller_waits_for_nobody(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waits:
        def acquire(self, timeout: float) -> bool:
            raise AssertionError

    class Alone(writing.Append):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.wake = Waits()  # type: ignore[assignment]

    monkeypatch.setattr(writing, "Append", Alone)
    ledger.decide(lambda unit: alert(unit, "alone"))
    assert ledger.known("alert:alone") is not None


def test_a_caller_that_nobody_wakes_finds_its_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is woken by the one before; an interrupt on the very spot would let the rest sleep."""
    monkeypatch.setattr(writing, "_wake_following", lambda _own: None)
    monkeypatch.setattr(writing, "LOOK_AGAIN_S", 0.01)
    threads = [
        threading.Thread(target=ledger.decide, args=(lambda unit, n=n: alert(unit, f"n{n}"),))  # type: ignore[misc]
        for n in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert all(ledger.known(f"alert:n{number}") is not None for number in range(24))
