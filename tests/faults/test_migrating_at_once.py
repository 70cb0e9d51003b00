"""Two processes migrate one database at once: both end well, one of them applies."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine, writing
from ledger.store.migrate import missing_parts, schema_state, upgrade
from tests.contract.stores import SHARED_STORES, empty_url
from tests.faults.load import migrate
from tests.faults.processes import barrier, ended, pipe, received, start
from tests.unit.ledger.scenes import Scene

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
    scene = Scene(engine)
    scene.submit("A")
    before = scene.log()
    assert schema_state(engine) == "older"
    applied, nothing = at_once(url)
    assert FIRST not in applied
    assert len(applied) >= 1
    assert nothing == []
    assert schema_state(engine) == "current"
    assert scene.log() == before
    catch_up(engine, PROJECTIONS)
    engine.dispose()


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
