"""Chance, and an arena to break."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from api.cli.main import app
from ledger.store.database import open_engine
from tests.contract.stores import migrated_url
from tests.unit.ledger.scenes import Scene

Command = Callable[..., Result]

# Its assertions are a test's own: they say what differs.
pytest.register_assert_rewrite("tests.faults.verdict")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `cacheon-ledger` in this process, without settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        done = CliRunner().invoke(app, list(words))
        structlog.reset_defaults()  # the command sent logs to its own stderr, which ended with it
        return done

    return run


@pytest.fixture
def seed() -> str:
    """Another one every time unless LEDGER_TEST_SEED says which; shown when the test fails."""
    found = os.environ.get("LEDGER_TEST_SEED") or str(random.SystemRandom().randrange(2**32))
    print(f"LEDGER_TEST_SEED={found}")  # noqa: T201  pytest shows it with a failure
    return found


def arena_url(store: str, folder: Path) -> str:
    """The URL of a database with one open arena and one block."""
    url = migrated_url(store, folder)
    open_arena_at(url)
    return url


def open_arena_at(url: str) -> None:
    """Open the arena in a migrated database, and record a block in which a UID gets its hotkey."""
    engine = open_engine(url)
    Scene(engine).register((0, "owner", None))
    engine.dispose()
