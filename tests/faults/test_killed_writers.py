"""Writers are killed, a server is stopped at once: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ledger.store.database import open_engine
from ledger.store.migrate import upgrade
from tests.contract.stores import SHARED_STORES, own_server
from tests.faults.conftest import arena_url, open_arena_at
from tests.faults.load import write_under_load
from tests.faults.processes import ended, journal_of, start, wait_until
from tests.faults.verdict import check

KILLS = 50
LONGEST_LIFE_S = 0.3
"""After the first acknowledgement; how long exactly is left to chance."""

STOPS = 5
MORE = 20
"""Acknowledgements between two stops of the server, so that each hits a writer at work."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("store", SHARED_STORES)
def test_fifty_kills_lose_and_double_nothing(store: str, tmp_path: Path, seed: str) -> None:
    url = arena_url(store, tmp_path)
    chance = random.Random(seed)
    journals = [tmp_path / f"life-{number}" for number in range(KILLS)]
    for number, journal in enumerate(journals):
        writer = start(
            write_under_load, url, journal, tmp_path / "never", f"life-{number}", f"{seed}:{number}"
        )
        if number % 5:
            wait_until(lambda j=journal: "ack" in _kinds(j), "the writer acknowledged a command")  # type: ignore[misc]
        time.sleep(chance.uniform(0, LONGEST_LIFE_S))
        assert writer.is_alive()
        writer.kill()
        assert ended(writer) == -signal.SIGKILL
    acknowledged = check(url, journals)
    assert len(acknowledged) >= KILLS * 4 // 5
    assert any(entry.size for entry in acknowledged), "no batch was acknowledged"
    assert [entry for path in journals for entry in journal_of(path) if entry.kind == "error"] == []


def _kinds(journal: Path) -> set[str]:
    return {entry.kind for entry in journal_of(journal)}


def test_a_writer_outlives_a_server_that_is_stopped_at_once(tmp_path: Path, seed: str) -> None:
    server = own_server()
    try:
        admin = create_engine(server.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE ledger"))
        admin.dispose()
        url = server.url.set(database="ledger").render_as_string(hide_password=False)
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        open_arena_at(url)
        journal, enough = tmp_path / "journal", tmp_path / "enough"
        writer = start(write_under_load, url, journal, enough, "survivor", seed)
        chance = random.Random(seed)

        def count(kind: str) -> int:
            return sum(entry.kind == kind for entry in journal_of(journal))

        for _ in range(STOPS):
            acknowledged = count("ack")
            wait_until(lambda n=acknowledged: count("ack") >= n + MORE, "the writer goes on")  # type: ignore[misc]
            time.sleep(chance.uniform(0, LONGEST_LIFE_S))
            errors = count("error")
            server.stop("immediate")
            wait_until(lambda n=errors: count("error") > n, "the writer said what happened")  # type: ignore[misc]
            server.start()
        acknowledged = count("ack")
        wait_until(lambda: count("ack") >= acknowledged + MORE, "the writer goes on at last")
        enough.touch()
        assert ended(writer) == 0
        check(url, [journal])
        told = {entry.key for entry in journal_of(journal) if entry.kind == "error"}
        assert all("database server does not answer" in words for words in told), told
    finally:
        server.remove()
