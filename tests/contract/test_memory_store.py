"""A database in memory is one for all threads of its process, and gone with its engine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from ledger.application import Unit
from ledger.commands.arena import open_arena
from ledger.observations import AlertRaised
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.store.database import DatabaseError, open_engine, writing
from ledger.store.logs import read_log
from ledger.store.migrate import require_schema, schema_state
from ledger.store.schema import logs
from tests.unit.ledger.scenes import ARENA, OPENED_AT, policy

THREADS = 8
COMMANDS = 25


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_threads_that_write_and_read_share_it(url: str, tmp_path: Path) -> None:
    engine = open_engine(url)
    require_schema(engine)
    ledger = open_arena(
        engine, ARENA, network="test", at_block=OPENED_AT, policy=policy(), actor="op"
    )
    failures: list[BaseException] = []
    written = threading.Event()

    def write(name: int) -> None:
        def command(unit: Unit, number: int) -> None:
            key = f"alert:{name}:{number}"
            unit.observe(AlertRaised, key, kind="x", detail="", block=unit.block)

        try:
            for number in range(COMMANDS):
                ledger.decide(lambda unit, n=number: command(unit, n))  # type: ignore[misc]
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)

    def project() -> None:
        try:
            while not written.is_set():
                catch_up(engine, PROJECTIONS)
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in range(THREADS)]
    reader = threading.Thread(target=project)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join(timeout=60)
    written.set()
    reader.join(timeout=60)
    assert failures == []
    with engine.connect() as connection:
        page = read_log(connection, ledger.head().log_id, after=0, limit=10_000)
    assert [logged.position for logged in page] == list(range(1, THREADS * COMMANDS + 2))
    engine.dispose()


def test_a_reader_never_sees_half_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.store.database.BUSY_TIMEOUT_S", 0)
    engine = open_engine("sqlite://")
    require_schema(engine)
    row = {"arena": "a", "network": "n", "netuid": 1, "position": 0, "effective_block": 0}
    with engine.connect() as reader, writing(engine) as writer:
        writer.execute(logs.insert().values(**row))
        # In memory there is no older state to read meanwhile: the reader is told to wait.
        with pytest.raises(OperationalError, match="locked"):
            reader.execute(logs.select()).all()
    with engine.connect() as reader:
        assert len(reader.execute(logs.select()).all()) == 1
    engine.dispose()


def test_each_engine_has_its_own_and_takes_it_along() -> None:
    one, other = open_engine("sqlite://"), open_engine("sqlite://")
    require_schema(one)
    assert (schema_state(one), schema_state(other)) == ("current", "empty")
    one.dispose()
    assert inspect(one).get_table_names() == []
    other.dispose()


def test_a_sqlite_too_old_to_share_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.store.database.sqlite3.sqlite_version_info", (3, 35, 5))
    with pytest.raises(DatabaseError, match="name a file in LEDGER_DATABASE_URL"):
        open_engine("sqlite://")
