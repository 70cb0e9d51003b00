"""Four writer processes, 100,000 events, one tailing reader that misses nothing.

Positions are handed out under the arena's locked head and committed with the facts, so whoever
reads position n knows that nothing before it can still come. That it is this lock which does it was
seen by hand: with writers that move the head in a transaction of its own, ahead of their facts, the
reader of this test misses facts within the first seconds, on both databases. The second test does
the same step by step, so that the reader's own eyes are tested, too.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, insert, update

from ledger.application import Ledger
from ledger.facts import Context
from ledger.observations import AlertRaised
from ledger.store.codec import encode
from ledger.store.database import open_engine, writing
from ledger.store.schema import events, logs
from tests.contract.stores import SHARED_STORES, migrated_url
from tests.faults.conftest import arena_url
from tests.faults.load import write_share
from tests.faults.processes import ended, journal_of, start
from tests.faults.tail import Tail
from tests.unit.ledger.scenes import ARENA, OPENED_AT, Scene

WRITERS = 4
EVENTS = 100_000
BATCH = (100, 250)
LARGEST_PAGE = 2_000


@pytest.mark.slow
@pytest.mark.parametrize("store", SHARED_STORES)
def test_a_tailing_reader_misses_nothing_of_four_writers(
    store: str, tmp_path: Path, seed: str
) -> None:
    url = arena_url(store, tmp_path)
    engine = open_engine(url)
    before = Ledger(engine, ARENA).head()
    journals = {f"writer{number}": tmp_path / f"writer{number}" for number in range(WRITERS)}
    share = EVENTS // WRITERS
    writers = [
        start(write_share, url, path, name, share, BATCH, seed) for name, path in journals.items()
    ]
    tail, chance = Tail(before.log_id), random.Random(seed)
    while any(writer.is_alive() for writer in writers) and not tail.faults:
        with engine.connect() as connection:
            tail.follow(connection, chance.randint(1, LARGEST_PAGE))
    with engine.connect() as connection:
        while tail.follow(connection, LARGEST_PAGE) and not tail.faults:
            pass
    assert tail.faults == []
    assert [ended(writer) for writer in writers] == [0] * WRITERS
    assert tail.seen == dict.fromkeys(journals, share)
    assert tail.position == before.position + EVENTS == Ledger(engine, ARENA).head().position
    for name, path in journals.items():
        acknowledged = [entry.size for entry in journal_of(path)]
        assert acknowledged == sorted(acknowledged)
        assert acknowledged[-1] == tail.seen[name]
    engine.dispose()


@pytest.mark.parametrize("store", SHARED_STORES)
def test_the_reader_notices_writers_that_let_go_of_the_head(store: str, tmp_path: Path) -> None:
    engine = open_engine(migrated_url(store, tmp_path))
    log_id = Scene(engine).ledger.head().log_id
    first = _reserve(engine, log_id, 3)
    second = _reserve(engine, log_id, 3)
    with writing(engine) as connection:
        _insert(connection, log_id, "second", second)
    tail = Tail(log_id)
    with engine.connect() as connection:
        tail.follow(connection, LARGEST_PAGE)
    assert tail.faults == ["5 came after 1"]
    with writing(engine) as connection:
        _insert(connection, log_id, "first", first)
    with engine.connect() as connection:
        tail.follow(connection, LARGEST_PAGE)
    assert "first" not in tail.seen
    engine.dispose()


def test_the_reader_notices_a_writer_s_facts_out_of_order(tmp_path: Path) -> None:
    engine = open_engine(migrated_url("sqlite", tmp_path))
    log_id = Scene(engine).ledger.head().log_id
    with writing(engine) as connection:
        _insert(connection, log_id, "one", [3, 2])
        tail = Tail(log_id)
        tail.follow(connection, LARGEST_PAGE)
    assert tail.faults == ["1 of one came after -1", "0 of one came after 1"]
    engine.dispose()


def _reserve(engine: Engine, log_id: int, count: int) -> list[int]:
    """Positions from a head that is let go of before their facts are there: the fault itself."""
    moved = update(logs).where(logs.c.log_id == log_id)
    moved = moved.values(position=logs.c.position + count)
    with writing(engine) as connection:
        last: int = connection.execute(moved.returning(logs.c.position)).scalar_one()
    return list(range(last - count + 1, last + 1))


def _insert(connection: Connection, log_id: int, name: str, positions: list[int]) -> None:
    for number, position in enumerate(positions):
        fact = AlertRaised.seen(
            Context(ARENA, OPENED_AT),
            f"alert:{name}:{number}",
            kind="x",
            detail="",
            block=OPENED_AT,
        )
        row = {
            "log_id": log_id,
            "position": position,
            "originator_id": fact.originator_id,
            "originator_version": fact.originator_version,
            "topic": fact.topic,
            "fact_key": fact.fact_key,
            "effective_block": fact.effective_block,
            "state": encode(fact),
        }
        connection.execute(insert(events).values(**row))
