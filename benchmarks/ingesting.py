"""How fast a node's blocks become facts: against fetching and decoding them, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from api.app import open_services
from api.following import Follower
from api.settings import Settings
from benchmarks.measuring import ROOT, RUN, CannotMeasureError, Ratio, tell
from benchmarks.registry import Measurement, benchmark
from benchmarks.servers import sqlite_url
from chain.ahead import READ_WORKERS
from chain.nodes import Nodes
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.policies import load
from ledger.policy import checked, parse_policy_toml

SEASON: Final = ROOT.parent / "shared" / "chain"
OPENS_AT: Final = 3
"""The first block of the recording whose registry it holds."""
AT_LEAST_S: Final = 60.0
"""Measured in all, both sides together."""
NETWORK: Final = "season"


@benchmark(
    "blocks of the recorded season a second from a node into a ledger, over the same blocks "
    "fetched and decoded by substrate-interface alone",
    goal=0.7,
)
def ingest_vs_reader() -> Measurement:
    """Both ask one server in a process of its own; each pass of ours fills a fresh ledger."""
    said = _truth()
    blocks = int(said["head"]) - OPENS_AT
    with _server() as url, tempfile.TemporaryDirectory(prefix="cacheon-bench-") as folder:
        reader = _Reader(url, said)
        once_s = _ingested(url, said, Path(folder)) + reader.read()  # a first pass only warms up
        passes = max(1, round(AT_LEAST_S / RUN.rounds / once_s))
        tell(f"{passes} passes of {blocks} blocks a round")
        ours_s: list[float] = []
        reader_s: list[float] = []
        while len(ours_s) < RUN.rounds or sum(ours_s) + sum(reader_s) < AT_LEAST_S:
            sums = [0.0, 0.0]
            for number in range(passes):
                for side in (0, 1) if number % 2 else (1, 0):
                    took = reader.read() if side else _ingested(url, said, Path(folder))
                    sums[side] += took
            ours_s.append(sums[0])
            reader_s.append(sums[1])
            tell(f"round {len(ours_s)}: {sums[0]:.3g} s against {sums[1]:.3g} s")
    ratio = Ratio.of(reader_s, ours_s)
    each = passes * blocks
    return Measurement(
        ratio.value,
        len(ours_s),
        f"{each / median(ours_s):,.0f} blocks/s against {each / median(reader_s):,.0f} (medians of "
        f"{len(ours_s)} interleaved rounds of {passes} passes over {blocks} blocks, "
        f"{sum(ours_s) + sum(reader_s):.0f} s in all; {ratio}); ours with {READ_WORKERS} blocks "
        "read ahead at a time, every block durable in a SQLite file, its commits judged; "
        "both with the metadata decoded before",
    )


def _ingested(url: str, said: dict[str, Any], folder: Path) -> float:
    """Seconds of a back-fill into a ledger of its own, as `ingest` does it."""
    services = open_services(Settings(database_url=sqlite_url(folder)))
    chain = Nodes([url], genesis=said["genesis_hash"])
    try:
        policy = parse_policy_toml(load("phase1"))
        fee = msgspec.structs.replace(policy.fee, treasury_ss58=said["treasury"])
        open_arena(
            services.engine,
            ArenaKey(said["genesis_hash"], said["netuid"]),
            network=NETWORK,
            at_block=OPENS_AT,
            policy=checked(msgspec.structs.replace(policy, fee=fee)),
            actor="bench",
        )
        chain.block(0)  # the runtime is at hand; the block is none of those that are read
        began = time.perf_counter()
        follower = Follower(services, chain, NETWORK, said["netuid"], workers=READ_WORKERS)
        caught = follower.catch_up()
        took = time.perf_counter() - began
    finally:
        chain.close()
        services.close()
    if (caught.blocks, caught.deferred) != (said["head"] - OPENS_AT, 0):
        msg = f"the back-fill ended with {caught}: the figure is worth nothing"
        raise AssertionError(msg)
    return took


class _Reader:
    """substrate-interface alone, one connection, as its documentation reads blocks."""

    def __init__(self, url: str, said: dict[str, Any]) -> None:
        from substrateinterface import SubstrateInterface

        self._node = SubstrateInterface(url=url, ss58_format=42)
        self._numbers = range(OPENS_AT + 1, said["head"] + 1)
        self._node.init_runtime(block_hash=self._node.get_block_hash(0))

    def read(self) -> float:
        """Seconds to fetch and decode the blocks and their events."""
        self._node.connect_websocket()  # the server drops who was idle while ours had its turn
        began = time.perf_counter()
        for number in self._numbers:
            block = self._node.get_block(block_number=number)
            self._node.get_events(block["header"]["hash"])
        return time.perf_counter() - began


def _truth() -> dict[str, Any]:
    path = SEASON / "season-a.truth.json"
    if not path.exists():
        msg = "the recorded season is not beside this checkout (../shared/chain); put it there"
        raise CannotMeasureError(msg)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@contextmanager
def _server() -> Iterator[str]:
    """The season's replay server on a free port; its ``ws://`` URL."""
    command = [sys.executable, str(SEASON / "replay.py"), str(SEASON / "season-a.jsonl.gz")]
    server = subprocess.Popen(  # noqa: S603
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None  # noqa: S101  it is a pipe
        found = re.search(r"ws://[0-9.]+:\d+", server.stdout.readline())
        if found is None:
            msg = "the season's replay server did not start; try to run it by hand"
            raise CannotMeasureError(msg)
        yield found.group()
    finally:
        server.terminate()
        server.communicate(timeout=10)
