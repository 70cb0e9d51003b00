"""A full disk is named; nothing acknowledged is lost, and with room the same process goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.testclient import TestClient

from api.app import Services
from api.errors import ExitCode, problem_of
from api.http.app import create_app
from api.settings import Settings
from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine
from ledger.store.migrate import upgrade
from tests.contract.stores import own_server
from tests.faults.conftest import Command, open_arena_at
from tests.faults.disks import MIB, fill, small_disk
from tests.faults.load import note
from tests.faults.processes import Entry, wait_until
from tests.faults.verdict import check_log, check_views
from tests.unit.ledger.scenes import ARENA

ROOM = MIB
"""What is left of the disk when writing begins."""

SIZES = (100_000, 10_000, 1_000)
"""Bytes of a fact's detail: the last small ones take what the large ones left."""

SENTENCE = (
    "the disk of the database is full; free space, then run this again: what is recorded already "
    "will not be recorded twice"
)

GONE = "the database server does not answer"


@dataclass
class Filling:
    """One process's commands on a disk that becomes full."""

    engine: Engine
    ballast: Path
    said: list[Entry] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """The arena's application."""
        return Ledger(self.engine, ARENA)

    def send(self, name: str, size: int, batch: int = 0) -> str | None:
        """A command whose facts have ``size`` random bytes each; what a user reads if it fails."""
        entry = Entry("try", f"alert:{name}", batch)
        self.said.append(entry)
        try:
            note(self.ledger, entry.facts(), os.urandom(size // 2).hex())
        except SQLAlchemyError as error:
            problem = problem_of(error)
            assert (problem.exit_code, problem.http_status) == (ExitCode.DATABASE_FAILED, 507)
            assert problem.code == "database_full"
            return problem.message
        self.said.append(Entry("ack", entry.key, batch))
        return None

    def until_full(self) -> None:
        """Write until not even a small fact finds room."""
        for size in SIZES:
            number = 0
            while (failed := self.send(f"{size}-{number}", size)) is None:
                number += 1
                assert number * size < 100 * MIB, "the disk does not become full"
            assert failed == SENTENCE

    def recorded(self, name: str) -> bool:
        """Whether a command's first fact is in the log."""
        return self.ledger.known(f"alert:{name}") is not None


@contextmanager
def on_a_file(folder: Path) -> Iterator[Filling]:
    with small_disk(folder / "disk", mib=8) as disk:
        engine = open_engine(f"sqlite:///{disk / 'ledger.db'}")
        upgrade(engine)
        yield Filling(engine, disk / "ballast")
        engine.dispose()


@contextmanager
def on_a_tablespace(_folder: Path) -> Iterator[Filling]:
    """PostgreSQL's data, and not its journal, on a small disk."""
    server = own_server()
    try:
        with small_disk(server.folder / "space", mib=64) as disk:
            server.own(disk)
            admin = create_engine(server.url, isolation_level="AUTOCOMMIT")
            with admin.connect() as connection:
                connection.execute(text(f"CREATE TABLESPACE small LOCATION '{disk}'"))
                connection.execute(text("CREATE DATABASE ledger TABLESPACE small"))
            admin.dispose()
            url = server.url.set(database="ledger").render_as_string(hide_password=False)
            engine = open_engine(url)
            upgrade(engine)
            yield Filling(engine, disk / "ballast")
            engine.dispose()
            server.stop()
    finally:
        server.remove()


@contextmanager
def filled_up(
    on: Callable[[Path], AbstractContextManager[Filling]], folder: Path
) -> Iterator[Filling]:
    """An open arena on a small disk with little room left, and its views at the head."""
    with on(folder) as found:
        open_arena_at(found.engine.url.render_as_string(hide_password=False))
        catch_up(found.engine, PROJECTIONS)
        fill(found.ballast, ROOM)
        yield found


@pytest.mark.parametrize("on", [on_a_file, on_a_tablespace])
def test_a_full_disk_is_named_and_with_room_the_same_process_goes_on(
    on: Callable[[Path], AbstractContextManager[Filling]], tmp_path: Path
) -> None:
    with filled_up(on, tmp_path) as filling:
        _until_full_and_on(filling)


def _until_full_and_on(filling: Filling) -> None:
    filling.until_full()
    assert [entry for entry in filling.said if entry.kind == "ack"]
    # A batch and callers that share a transaction are refused whole, each with the same sentence.
    assert filling.send("batch", SIZES[-1], batch=100) == SENTENCE
    answers: list[str | None] = []
    threads = [
        threading.Thread(target=lambda n=number: answers.append(filling.send(f"c{n}", SIZES[0])))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [SENTENCE] * 8
    check_log(filling.engine, filling.said)

    filling.ballast.unlink()
    assert filling.send("after", SIZES[0]) is None
    assert filling.send("batch", SIZES[-1], batch=100) is None
    assert filling.send("c0", SIZES[0]) is None
    check_log(filling.engine, filling.said)
    check_views(filling.engine)


def test_a_read_whose_view_finds_no_room_is_answered_507_and_later_200(tmp_path: Path) -> None:
    with filled_up(on_a_file, tmp_path) as filling:
        client = TestClient(create_app(Services(Settings(), filling.engine)))
        status = "/v1/arenas/test/14/status"
        assert client.get(status).status_code == 200
        filling.until_full()
        found = client.get(status)
        assert (found.status_code, found.json()["error"]["code"]) == (507, "database_full")
        assert str(filling.ballast.parent) not in found.text
        filling.ballast.unlink()
        found = client.get(status)
        assert (found.status_code, found.json()["position"]) == (
            200,
            filling.ledger.head().position,
        )


def test_the_command_line_says_it_in_one_sentence(tmp_path: Path, command: Command) -> None:
    with filled_up(on_a_file, tmp_path) as filling:
        filling.until_full()
        url = filling.engine.url.render_as_string()
        pause = ["arena", "pause", "emission", "--reason", "x" * 500, "--actor", "op"]
        where = ["--database", url, "--network", "test"]
        refused = command(*pause, *where)
        assert (refused.exit_code, refused.stdout) == (ExitCode.DATABASE_FAILED, "")
        assert refused.stderr == f"cacheon-ledger: {SENTENCE}\n"
        filling.ballast.unlink()
        assert command(*pause, *where).exit_code == 0


def test_a_journal_without_room_stops_postgresql_and_loses_nothing(tmp_path: Path) -> None:
    """Its server gives up by itself. With room, and started again, the same process goes on."""
    server = own_server("min_wal_size=32MB", "max_wal_size=32MB")
    try:
        with small_disk(server.folder / "journal", mib=80) as disk:
            server.stop()
            server.move(server.data / "pg_wal", disk / "pg_wal")
            server.start()
            url = server.url.render_as_string(hide_password=False)
            engine = open_engine(url)
            upgrade(engine)
            open_arena_at(url)
            fill(disk / "ballast", ROOM)
            filling = Filling(engine, disk / "ballast")
            told: list[str] = []
            ledger = filling.ledger
            for number in range(1_000):
                entry = Entry("try", f"alert:{number}")
                filling.said.append(entry)
                try:
                    note(ledger, entry.facts(), os.urandom(SIZES[0]).hex())
                except SQLAlchemyError as error:
                    told.append(problem_of(error).message)
                    break
                filling.said.append(Entry("ack", entry.key))
            # Whoever of the server meets the full disk first takes it down: us, or one beside us.
            assert told[0] == SENTENCE or GONE in told[0]
            wait_until(lambda: not server.pid_file.exists(), "the server gave up")
            with pytest.raises(SQLAlchemyError) as gone:
                note(ledger, ["alert:gone"])
            assert GONE in problem_of(gone.value).message
            filling.ballast.unlink()
            server.start()
            assert filling.send("after", SIZES[0]) is None
            check_log(engine, filling.said)
            engine.dispose()
            server.stop()
    finally:
        server.remove()
