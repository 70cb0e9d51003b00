"""Processes that a test starts, kills and reads, forked from one that has the imports loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

DEADLINE_S = 120
"""After which a test that waits for another process gives up: not how fast it must be."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.load", "tests.faults.renters"])


def start(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """A process that runs ``target``; it ends with this one at the latest."""
    process = _CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def barrier(parties: int) -> Any:
    """A barrier between processes."""
    return _CONTEXT.Barrier(parties, timeout=DEADLINE_S)


def pipe() -> tuple[Connection, Connection]:
    """What one process sends and another receives: the receiving end, and the sending one."""
    receiving, sending = _CONTEXT.Pipe(duplex=False)
    return receiving, sending


def received(receiving: Connection) -> Any:
    """What came; fails where nothing does."""
    assert receiving.poll(DEADLINE_S), f"nothing came in {DEADLINE_S} s"
    return receiving.recv()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds, and fail saying what did not."""
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, f"after {DEADLINE_S} s still not: {what}"
        time.sleep(0.005)


def ended(process: ForkServerProcess) -> int | None:
    """Its exit code, when it has ended."""
    process.join(timeout=DEADLINE_S)
    return process.exitcode


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: ``try`` and ``ack`` of a command, or an ``error`` it met."""

    kind: str
    key: str
    size: int = 0
    """How many facts ``key:0``, ``key:1``, … a batch has; 0 for a single fact of that very key."""

    def facts(self) -> list[str]:
        """The keys of the command's facts."""
        return [f"{self.key}:{number}" for number in range(self.size)] if self.size else [self.key]


class Journal:
    """What a process says while it lives, readable after it was killed.

    Each line goes to the system in one call, so it stays whatever happens to the process; it is
    short, so that it is not torn.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, key: str, size: int = 0) -> None:
        """Add a line."""
        os.write(self._file, json.dumps([kind, key, size]).encode() + b"\n")


def journal_of(path: Path) -> list[Entry]:
    """The lines of a journal; a last one without its end was never said."""
    if not path.exists():
        return []
    return list(_entries(path.read_text(encoding="utf-8")))


def _entries(text: str) -> Iterator[Entry]:
    for line in text.split("\n")[:-1]:
        yield Entry(*json.loads(line))
