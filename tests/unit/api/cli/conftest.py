"""The command run in this process, and one recorded season that the tests only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from api.app import open_services
from api.cli.main import app
from api.settings import Settings
from tests.unit.api.season import NETWORK, TREASURY, Season, record_season

Run = Callable[..., Result]

POLICY = f"""
name = "tested"
[fee]
treasury_ss58 = "{TREASURY}"
[tracks.tiny]
model = "tiny/reference"
[tracks.tiny.emission]
phase = "king_takes_all"
[tracks.tiny.scoring]
formula = "v2"
"""
GENESIS = "0x" + "ab" * 32


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Season]:
    """The URL of a database with the season, and what was recorded."""
    url = f"sqlite:///{tmp_path_factory.mktemp('season') / 'season.db'}"
    services = open_services(Settings(database_url=url))
    try:
        return url, record_season(services)
    finally:
        services.close()


@pytest.fixture(scope="session")
def season_url(recorded: tuple[str, Season]) -> str:
    """The database with the season."""
    return recorded[0]


@pytest.fixture
def empty_url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """A policy that can be adopted."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment without settings of whoever runs the tests."""
    for name in (
        "DATABASE_URL",
        "NETUID",
        "HOST",
        "PORT",
        "DEBUG",
        "ACTOR",
        "NODE",
        "ARCHIVE_NODE",
    ):
        monkeypatch.delenv(f"LEDGER_{name}", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("LEDGER_NETWORK", NETWORK)
    monkeypatch.setenv("USER", "tester")
    monkeypatch.chdir(tmp_path)
    yield monkeypatch
    # The command sent logs to this test's own stderr, which ends with it.
    structlog.reset_defaults()


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    """Run the command with these words on ``url``; numbers are written out."""

    def invoke(*words: object, url: str | None = None) -> Result:
        if url is not None:
            environment.setenv("LEDGER_DATABASE_URL", url)
        return CliRunner().invoke(app, [str(word) for word in words])

    return invoke


def failed(result: Result, exit_code: int, *said: str) -> None:
    """Assert one sentence on stderr, no result, no traceback, and this exit code."""
    assert result.exit_code == exit_code, (result.exit_code, result.output)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("cacheon-ledger: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for words in said:
        assert words in result.stderr
