"""A reading command takes SQLite's write lock only where a view lags."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from api.app import open_services
from api.settings import Settings
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.api.season import HEAD, NETUID, NETWORK, record_blocks, record_season


@pytest.fixture
def own_url(tmp_path: Path) -> str:
    """A season that the test may add to."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    services = open_services(Settings(database_url=url))
    record_season(services)
    services.close()
    return url


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another program in the middle of writing."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("command", ["status", "weights", "treasury", "contests", "arenas"])
def test_a_read_is_answered_while_another_program_writes(
    run: Run, season_url: str, environment: pytest.MonkeyPatch, command: str
) -> None:
    environment.setattr("ledger.store.database.BUSY_TIMEOUT_S", 0)
    free = run(command, "--format", "json", url=season_url)
    with locked(season_url):
        found = run(command, "--format", "json")
    assert found.exit_code == 0, found.output
    assert found.stdout == free.stdout


def test_a_read_of_lagging_views_needs_the_lock_unless_its_block_is_folded(
    run: Run, own_url: str, environment: pytest.MonkeyPatch
) -> None:
    services = open_services(Settings(database_url=own_url))
    record_blocks(services.ledger(NETWORK, NETUID), HEAD + 1)  # and no view was told
    services.close()
    environment.setattr("ledger.store.database.BUSY_TIMEOUT_S", 0)
    with locked(own_url):
        failed(run("status", url=own_url), 10, "holds the database's lock")
        before = run("status", "--at-block", HEAD, "--format", "json")
    assert json.loads(before.stdout)["block"] == HEAD
    assert json.loads(run("status", "--format", "json").stdout)["block"] == HEAD + 1
