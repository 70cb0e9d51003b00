"""A database server that went away: one sentence, a status, and all well when it is back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api.app import Services
from api.errors import ExitCode, problem_of
from api.http.app import create_app
from api.settings import Settings
from ledger.application import Ledger
from ledger.store.database import open_engine
from ledger.store.migrate import upgrade
from tests.contract.postgres import PostgresServer
from tests.contract.stores import own_server
from tests.faults.conftest import Command, open_arena_at
from tests.faults.load import note
from tests.faults.processes import Entry
from tests.faults.verdict import check_log
from tests.unit.ledger.scenes import ARENA

GONE = "the database server does not answer; check that it runs"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    own = own_server()
    admin = create_engine(own.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE ledger"))
    admin.dispose()
    yield own
    own.remove()


def test_it_is_said_everywhere_and_the_same_process_goes_on(
    server: PostgresServer, command: Command
) -> None:
    url = server.url.set(database="ledger").render_as_string(hide_password=False)
    engine = open_engine(url)
    upgrade(engine)
    open_arena_at(url)
    client = TestClient(create_app(Services(Settings(), engine)))
    ledger = Ledger(engine, ARENA)
    ask = ("status", "--network", "test", "--database", url)
    assert command(*ask).exit_code == 0
    note(ledger, ["alert:before"])
    for mode in ("fast", "immediate"):
        server.stop(mode)  # type: ignore[arg-type]
        with pytest.raises(OperationalError) as failed:
            note(ledger, [f"alert:{mode}"])
        problem = problem_of(failed.value)
        assert (problem.exit_code, problem.http_status) == (ExitCode.DATABASE_FAILED, 503)
        assert problem.message.startswith(GONE)
        found = client.get("/v1/arenas/test/14/status")
        assert (found.status_code, found.json()["error"]["code"]) == (503, "database_unreachable")
        assert str(server.folder) not in found.text
        refused = command(*ask)
        assert (refused.exit_code, refused.stdout) == (ExitCode.DATABASE_UNUSABLE, "")
        assert GONE in refused.stderr
        assert refused.stderr.count("\n") == 1
        server.start()
        note(ledger, [f"alert:{mode}"])
        assert client.get("/v1/arenas/test/14/status").status_code == 200
    keys = ("alert:before", "alert:fast", "alert:immediate")
    check_log(engine, [Entry(kind, key) for key in keys for kind in ("try", "ack")])
    engine.dispose()


def test_a_connection_cut_between_two_commands_is_not_noticed(server: PostgresServer) -> None:
    url = server.url.set(database="ledger").render_as_string(hide_password=False)
    engine = open_engine(url)
    upgrade(engine)
    open_arena_at(url)
    ledger = Ledger(engine, ARENA)
    note(ledger, ["alert:one"])
    server.stop("immediate")
    server.start()
    note(ledger, ["alert:two"])
    sent = [Entry(kind, key) for key in ("alert:one", "alert:two") for kind in ("try", "ack")]
    check_log(engine, sent)
    engine.dispose()
