"""`ingest --follow` killed with SIGKILL at random blocks, and again, ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from api.app import open_services
from api.settings import Settings
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.store.codec import decode
from tests.cassette import needs_cassette, replay_server, truth
from tests.contract.test_season_in_the_ledger import season_policy
from tests.faults.processes import DEADLINE_S, wait_until

pytestmark = [needs_cassette, pytest.mark.cassette, pytest.mark.slow]

SEED = int(os.environ.get("LEDGER_TEST_SEED", "14"))
KILLS = 3
OPENS_AT = 3
LEFT_OUT_TO = 9
"""Blocks 4 to 9 are left out at first: the kills meet a gap, and its filling, too."""


def opened(folder: Path) -> str:
    folder.mkdir()
    url = f"sqlite:///{folder / 'ledger.db'}"
    services = open_services(Settings(database_url=url))
    open_arena(
        services.engine,
        ArenaKey(truth()["genesis_hash"], truth()["netuid"]),
        network="season",
        at_block=OPENS_AT,
        policy=season_policy(truth()["treasury"]),
        actor="test",
    )
    services.close()
    return url


def start(url: str, node: str, *words: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
    return subprocess.Popen(  # noqa: S603  our own program
        [
            *(sys.executable, "-c", "from api.cli.main import main; main()", "ingest"),
            *("--node", node, "--network", "season", "--netuid", str(truth()["netuid"])),
            *("--database", url, "--format", "json", *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=DEADLINE_S) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def head(url: str) -> int:
    return int(rows(url, "SELECT effective_block FROM logs")[0][0])


def facts(url: str) -> int:
    return int(rows(url, "SELECT count(*) FROM events")[0][0])


def is_whole(url: str) -> bool:
    """Whether every block up to the head is in the log, read in its turn or late."""
    query = "SELECT count(*) FROM events WHERE topic IN ('seen.block.v1', 'seen.block_filled.v1')"
    return bool(rows(url, query)[0][0] == truth()["head"] - OPENS_AT)


def contents(url: str) -> dict[str, Any]:
    """Every fact's content by its key: what was recorded, whenever that was."""
    found = rows(url, "SELECT fact_key, topic, state FROM events")
    assert len({key for key, _, _ in found}) == len(found)
    return {key: decode(topic, bytes(state)).content() for key, topic, state in found}


def log(url: str) -> list[tuple[Any, ...]]:
    """The log, byte for byte."""
    return rows(url, "SELECT position, fact_key, effective_block, state FROM events ORDER BY 1")


def run_to_the_end(url: str, node: str, *words: str) -> dict[str, Any]:
    out, err = (process := start(url, node, *words)).communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err.decode()[-2_000:]
    report: dict[str, Any] = json.loads(out)
    return report


def killed_somewhere(url: str, node: str, chance: random.Random) -> None:
    """Follow until some facts came, and die; with nothing left to read, at once."""
    before = facts(url)
    more = chance.randint(1, 30)
    process = start(url, node, "--follow")
    ended = time.monotonic() + DEADLINE_S
    try:
        while facts(url) < before + more and not is_whole(url):
            assert process.poll() is None, process.communicate()[1].decode()[-2_000:]
            assert time.monotonic() < ended, "no fact came"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_killed_again_and_again_the_log_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with replay_server() as node:
        whole, killed = opened(tmp_path / "whole"), opened(tmp_path / "killed")
        run_to_the_end(whole, node)
        for _ in range(KILLS):
            killed_somewhere(killed, node, chance)
        report = run_to_the_end(killed, node)
    assert report["head_block"] == truth()["head"]
    assert log(killed) == log(whole)


def test_killed_while_a_gap_is_filled_it_goes_on(tmp_path: Path) -> None:
    chance = random.Random(SEED + 1)
    with replay_server() as node:
        whole, killed = opened(tmp_path / "whole"), opened(tmp_path / "killed")
        for url in (whole, killed):
            words = ("--from-block", str(LEFT_OUT_TO + 1), "--until-block", "30")
            assert run_to_the_end(url, node, *words)["missing"] == LEFT_OUT_TO - OPENS_AT
        run_to_the_end(whole, node)
        for _ in range(KILLS):
            killed_somewhere(killed, node, chance)
        report = run_to_the_end(killed, node)
    assert (report["missing"], report["last_safe_block"]) == (0, truth()["head"] - 1)
    assert contents(killed) == contents(whole)


def test_a_signal_ends_it_after_the_block_at_hand(tmp_path: Path) -> None:
    with replay_server() as node:
        url = opened(tmp_path / "stopped")
        process = start(url, node, "--follow")
        wait_until(lambda: head(url) > OPENS_AT, "a block is recorded")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err.decode()[-2_000:]
        report = json.loads(out)
    assert report["ended"] == "stopped"
    assert report["head_block"] == head(url)
    assert b"SIGTERM: ending after the block at hand" in err
