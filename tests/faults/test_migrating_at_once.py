"""Two processes migrate one database at once: both end well, one of them applies."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine, writing
from ledger.store.logs import facts_of
from ledger.store.migrate import missing_parts, schema_state, upgrade
from ledger.store.schema import events, logs
from tests.contract.stores import SHARED_STORES, empty_url, quick_engine
from tests.faults.load import migrate
from tests.faults.processes import barrier, ended, pipe, received, start
from tests.property.test_views_of_a_season import rows
from tests.unit.ledger.scenes import ARENA, Scene

PROCESSES = 2
ROUNDS = 3
FIRST = "0001"
FILES = 100
OPENERS = 4


def at_once(url: str) -> list[list[str]]:
    """What each process applied, the one that applied most first."""
    together = barrier(PROCESSES)
    answers, processes = [], []
    for _ in range(PROCESSES):
        receiving, sending = pipe()
        processes.append(start(migrate, url, together, sending))
        sending.close()
        answers.append(receiving)
    applied = [received(answer) for answer in answers]
    assert [ended(process) for process in processes] == [0] * PROCESSES
    return sorted(applied, key=len, reverse=True)


@pytest.mark.parametrize("store", SHARED_STORES)
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_from_nothing(store: str, round_number: int, tmp_path: Path) -> None:
    url = empty_url(store, tmp_path)
    applied, nothing = at_once(url)
    assert applied[0] == FIRST
    assert len(applied) > 1
    assert nothing == []
    engine = open_engine(url)
    assert (schema_state(engine), missing_parts(engine)) == ("current", [])
    Scene(engine)
    engine.dispose()


@pytest.mark.parametrize("store", SHARED_STORES)
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_from_the_first_schema_with_facts_in_it(
    store: str, round_number: int, tmp_path: Path
) -> None:
    url = empty_url(store, tmp_path)
    engine = open_engine(url)
    assert upgrade(engine, to=FIRST) == [FIRST]
    played = quick_engine(tmp_path)
    scene = Scene(played)
    scene.submit("A")
    with played.connect() as source, engine.begin() as target:
        for table in (logs, events):  # as an older program left them
            target.execute(
                insert(table), [dict(row) for row in source.execute(select(table)).mappings()]
            )
    assert schema_state(engine) == "older"
    applied, nothing = at_once(url)
    assert FIRST not in applied
    assert len(applied) >= 1
    assert nothing == []
    assert schema_state(engine) == "current"
    with engine.connect() as connection:
        assert list(facts_of(connection, 1)) == scene.log()
    for each in (engine, played):
        catch_up(each, PROJECTIONS)
    assert rows(engine) == rows(played)
    assert Ledger(engine, ARENA).arena_state().version == 1
    for each in (engine, played):
        each.dispose()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite's write-ahead log: turning it on is refused, without waiting, where others do so.

    Without trying again some of these fail, not in each file.
    """
    failures: list[BaseException] = []

    def connect(url: str, together: threading.Barrier) -> None:
        engine = open_engine(url)
        together.wait()
        try:
            with writing(engine) as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS mine (id INTEGER)")
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)
        engine.dispose()

    for number in range(FILES):
        together = threading.Barrier(OPENERS)
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        threads = [threading.Thread(target=connect, args=(url, together)) for _ in range(OPENERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
