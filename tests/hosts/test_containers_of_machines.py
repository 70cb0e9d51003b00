"""A whole contest between containers on a rented machine, by one command from here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from benchmarks.recovery import DockerMachine, RecoveryArena
from benchmarks.recovery.arena import NETUID, NETWORK, TRACK
from tests.engine.engine import Engine
from tests.engine.fixtures import engine
from tests.hosts.sshd import Sshd

__all__ = ["engine"]

pytestmark = pytest.mark.slow


@pytest.fixture
def there(engine: Engine, tmp_path: Path) -> Iterator[Sshd]:
    """A machine whose programs find the engine."""
    made = Sshd(tmp_path / "machine", {"DOCKER_HOST": engine.base_url})
    yield made
    made.close()


def test_a_contest_between_containers_runs_there_and_leaves_nothing(
    there: Sshd, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("LEDGER_", "DOCKER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    images = DockerMachine(tmp_path / "images", engine)
    arena = RecoveryArena(tmp_path / "ledger.db", images.images, images.memory_bytes)
    arena._block()
    where = ["--database", arena.url, "--network", NETWORK, "--netuid", str(NETUID)]
    contest = ["contest", "plan", "--track", TRACK, "--out", "plan.json", *where]
    planned = CliRunner().invoke(app, contest)
    assert planned.exit_code == 0, planned.output
    arena.close()
    model = images.options()[images.options().index("--model") + 1]
    done = CliRunner().invoke(
        app,
        [
            *("contest", "remote", "--plan", "plan.json", "--model", model, "--out", "sealed.zip"),
            *("--host", str(there.address), "--ssh-key", str(there.key)),
            *("--program", sys.prefix, "--format", "json"),
            *("--docker-socket", engine.base_url.removeprefix("unix://")),
        ],
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["runner"]["runner"] == "docker"
    assert {line["status"] for line in report["entrants"]} == {"scored"}
    assert "Docker Engine " in done.stderr
    assert images.left() == []
    assert list(there.home.iterdir()) == []
    kept = [name for one in engine.client.images.list() for name in one.attrs["RepoDigests"]]
    baseline = report["baseline_image"]
    assert kept == [baseline]  # pulled ahead of the contest, for the next one too
    engine.client.images.remove(baseline)
