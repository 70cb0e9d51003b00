"""The installed command as a process: what only a real start, pipe or signal shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from ledger.application import Ledger
from ledger.commands.arena import pause
from ledger.projections.all import PROJECTIONS
from ledger.store.database import open_engine
from ledger.store.logs import all_heads
from ledger.store.tracking import ViewTracking
from tests.unit.api.season import NETWORK

COMMAND = str(Path(sys.executable).with_name("cacheon-ledger"))
DEADLINE_S = 60


def _environment(url: str) -> dict[str, str]:
    return {**os.environ, "LEDGER_DATABASE_URL": url, "LEDGER_NETWORK": NETWORK}


def test_help_starts_without_chain_container_web_or_database_libraries() -> None:
    program = (
        "import sys\n"
        "sys.argv = ['cacheon-ledger', '--help']\n"
        "from api.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = ('bittensor', 'substrateinterface', 'numpy', 'docker', 'fastapi', 'uvicorn',\n"
        "         'sqlalchemy', 'aiohttp', 'httpx')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert "LOADED []" in done.stdout
    assert "Exit codes" in done.stdout


def test_reading_starts_without_web_chain_or_migration_libraries(season_url: str) -> None:
    program = (
        "import sys\n"
        "sys.argv = ['cacheon-ledger', 'status', '--format', 'json']\n"
        "from api.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = ('fastapi', 'starlette', 'uvicorn', 'api.http', 'bittensor', 'docker',\n"
        "         'alembic')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=_environment(season_url),
        timeout=DEADLINE_S,
        check=True,
    )
    assert done.stdout.endswith("LOADED []\n"), done.stdout


def test_json_alone_is_on_stdout(season_url: str) -> None:
    done = subprocess.run(  # noqa: S603
        [COMMAND, "reigns", "--limit", "1", "--format", "json"],
        capture_output=True,
        env=_environment(season_url),
        timeout=DEADLINE_S,
        check=True,
    )
    assert json.loads(done.stdout)["total"] == 2
    assert b"1 of 2 items" in done.stderr


def test_an_error_is_one_line_and_its_exit_code_is_the_process_s(season_url: str) -> None:
    done = subprocess.run(  # noqa: S603
        [COMMAND, "weights", "--at-block", "99999"],
        capture_output=True,
        text=True,
        env=_environment(season_url),
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("cacheon-ledger: block 99999 is not ingested yet")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_command_quietly(season_url: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: S603
        [COMMAND, "submissions"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=_environment(season_url),
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_terminal_that_knows_ascii_only_gets_the_rest_escaped(season_url: str) -> None:
    done = subprocess.run(  # noqa: S603
        [COMMAND, "contests"],
        capture_output=True,
        env={**_environment(season_url), "PYTHONIOENCODING": "ascii", "COLUMNS": "150"},
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"baseline_failed" in done.stdout


def test_serve_prints_where_the_page_is_and_ends_on_interrupt(season_url: str) -> None:
    with subprocess.Popen(  # noqa: S603
        [COMMAND, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(season_url),
    ) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert found, line + server.stderr.read()
            url = found[0] + f"v1/arenas/{NETWORK}/14/status"
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310
                assert json.load(answer)["network"] == NETWORK
            server.send_signal(signal.SIGINT)
            assert server.wait(DEADLINE_S) == 0
        finally:
            server.kill()


def test_a_following_process_folds_what_others_record_and_ends_with_ctrl_c(
    season_url: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'followed.db'}"
    shutil.copyfile(season_url.removeprefix("sqlite:///"), url.removeprefix("sqlite:///"))
    engine = open_engine(url)
    follower = subprocess.Popen(  # noqa: S603
        [COMMAND, "db", "follow"],
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(url),
    )
    try:
        with engine.connect() as connection:
            head = all_heads(connection)[0]
        ledger = Ledger(engine, head.arena)
        pause(ledger, "emission", reason="a test", actor="op")
        position = ledger.head().position
        assert position == head.position + 1
        for projection in PROJECTIONS:
            own = ViewTracking(engine, projection.name)
            own.wait(str(head.arena), position, timeout=DEADLINE_S)
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=DEADLINE_S)
    finally:
        follower.kill()
        follower.wait()
        engine.dispose()
    assert follower.returncode == 130
    assert f"treasury: {position} of {position} facts" in said
