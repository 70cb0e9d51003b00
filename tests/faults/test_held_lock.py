"""A lock is held for longer than anybody waits: the cause is named, nothing is there by half."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api.app import Services
from api.errors import ExitCode, problem_of
from api.http.app import create_app
from api.settings import Settings
from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine
from tests.contract.stores import SHARED_STORES
from tests.faults.conftest import Command, arena_url
from tests.faults.load import hold_the_lock, note
from tests.faults.processes import Entry, ended, pipe, received, start
from tests.faults.verdict import check_log, check_views
from tests.unit.ledger.scenes import ARENA

CALLERS = 8
SENTENCE = "another program holds the database's lock; wait for it or stop it, then run this again"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for longer than a second; the lock is held for longer than that."""
    monkeypatch.setattr("ledger.store.database.BUSY_TIMEOUT_S", 1)
    monkeypatch.setattr("ledger.store.database.LOCK_TIMEOUT_S", 1)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another process holds the lock meanwhile."""
    held, says_held = pipe()
    told, let_go = pipe()
    holder = start(hold_the_lock, url, says_held, told)
    assert received(held) == "held"
    try:
        yield
    finally:
        let_go.send("let go")
        assert ended(holder) == 0


@pytest.mark.parametrize("store", SHARED_STORES)
def test_every_caller_is_told_and_nobody_s_command_is_recorded(store: str, tmp_path: Path) -> None:
    url = arena_url(store, tmp_path)
    engine = open_engine(url)
    ledger = Ledger(engine, ARENA)
    before = ledger.head()
    answers: list[str] = []

    def send(number: int) -> None:
        keys = [f"alert:c{number}:{place}" for place in range(number + 1)]
        try:
            note(ledger, keys)
        except OperationalError as error:
            problem = problem_of(error)
            assert (problem.exit_code, problem.http_status) == (ExitCode.DATABASE_FAILED, 503)
            answers.append(problem.message)

    with locked(url):
        threads = [threading.Thread(target=send, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [SENTENCE] * CALLERS
        assert ledger.head() == before
    send(CALLERS)
    assert len(answers) == CALLERS
    sent = [Entry("ack", f"alert:c{CALLERS}", CALLERS + 1), Entry("try", f"alert:c{CALLERS}", 9)]
    check_log(engine, sent)
    assert ledger.head().position == before.position + CALLERS + 1
    check_views(engine)
    engine.dispose()


@pytest.mark.parametrize("store", SHARED_STORES)
def test_the_command_line_says_it_in_one_sentence(
    store: str, tmp_path: Path, command: Command
) -> None:
    url = arena_url(store, tmp_path)
    pause = ["arena", "pause", "emission", "--reason", "x", "--actor", "op", "--network", "test"]
    with locked(url):
        refused = command(*pause, "--database", url)
        assert (refused.exit_code, refused.stdout) == (ExitCode.DATABASE_FAILED, "")
        assert refused.stderr == f"cacheon-ledger: {SENTENCE}\n"
    done = command(*pause, "--database", url)
    assert (done.exit_code, done.stderr) == (0, ""), done.output


def test_a_read_whose_view_waits_too_long_is_answered_503_and_later_200(tmp_path: Path) -> None:
    """On SQLite, where a view is written under the one lock; PostgreSQL locks only its own row."""
    url = arena_url("sqlite", tmp_path)
    engine = open_engine(url)
    client = TestClient(create_app(Services(Settings(), engine)))
    with locked(url):
        found = client.get("/v1/arenas/test/14/status")
        assert (found.status_code, found.json()["error"]["code"]) == (503, "database_locked")
        assert found.headers["Retry-After"] == "1"
    assert client.get("/v1/arenas/test/14/status").status_code == 200
    engine.dispose()


def test_readers_of_postgresql_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    url = arena_url("postgresql", tmp_path)
    engine = open_engine(url)
    catch_up(engine, PROJECTIONS)
    note(Ledger(engine, ARENA), ["alert:new"])  # which the views do not have yet
    with locked(url):
        client = TestClient(create_app(Services(Settings(), engine)))
        assert client.get("/v1/arenas/test/14/status").status_code == 200
    engine.dispose()


def test_the_url_can_name_another_timeout(tmp_path: Path) -> None:
    url = arena_url("postgresql", tmp_path)
    for options, expected in (("", "1s"), ("&options=-c%20lock_timeout%3D250", "250ms")):
        assert _lock_timeout(open_engine(url + options)) == expected


def _lock_timeout(engine: Engine) -> str:
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    engine.dispose()
    return str(found)
