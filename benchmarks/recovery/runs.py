"""One run: an evaluator at work, a victim killed at some moment, and what is wrong afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.recovery.arena import NETUID, NETWORK, RecoveryArena
from benchmarks.recovery.machines import Machine

Victim = Literal["evaluator", "dockerd", "server"]

DEADLINE_S: Final = 240.0
"""After which a queue that is not empty counts as stuck."""

_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``faults`` are sentences, none where all is well; ``killed`` is whether the victim
    was there to be killed."""

    killed: bool
    took_s: float
    faults: tuple[str, ...]


class Evaluator:
    """An evaluator process that is started again when it was killed, as a service would be."""

    def __init__(self, arena: RecoveryArena, machine: Machine, folder: Path) -> None:
        self._command = [
            *(sys.executable, "-c", "from api.cli.main import main; main()", "evaluate"),
            *machine.options(),
            *("--evidence", str(folder / "evidence"), "--state", str(folder / "state")),
            *("--database", arena.url, "--network", NETWORK, "--netuid", str(NETUID)),
            *("--worker", "recovery"),
        ]
        clean = {name: text for name, text in os.environ.items() if not name.startswith("LEDGER_")}
        self._environment = clean | dict(machine.environment())
        self._log = folder / "evaluator.log"
        self._process = self._start()

    def kill(self) -> None:
        """SIGKILL, and a new one in its place."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def ended(self) -> int | None:
        """Its exit code if it ended by itself."""
        return self._process.poll()

    def end(self) -> int:
        """SIGTERM; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def said(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:])

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  our own program
                self._command, stdout=log, stderr=log, env=self._environment
            )


def killed_run(
    machine: Machine, folder: Path, victim: Victim | None, after_s: float, chance: random.Random
) -> Run:
    """Let an evaluator empty a queue of two; kill the victim ``after_s`` seconds from its start.

    Where no server runs at that moment, the first one to run after it is killed.
    """
    folder.mkdir(parents=True)
    arena = RecoveryArena(folder / "ledger.db", machine.images, machine.memory_bytes)
    over = threading.Event()
    ticker = threading.Thread(target=arena.tick, args=(over,), daemon=True)
    ticker.start()
    began = time.monotonic()
    evaluator = Evaluator(arena, machine, folder)
    faults, killed = [], victim is None
    try:
        while arena.waits():
            past_s = time.monotonic() - began
            if not killed and past_s >= after_s:
                killed = _kill(victim, evaluator, machine, chance)
            if evaluator.ended() is not None:
                faults.append(f"the evaluator ended with code {evaluator.ended()}")
                break
            if past_s > DEADLINE_S:
                faults.append(f"the queue is not empty after {DEADLINE_S:.0f} s")
                break
            time.sleep(_LOOK_S)
        took_s = time.monotonic() - began
        code = evaluator.end()
        if code and not faults:
            faults.append(f"the evaluator ended with code {code} when it was told to")
        if faults:
            faults.append(f"it said last: {evaluator.said()}")
    finally:
        evaluator.end()
        over.set()
        ticker.join()
    faults += arena.faults() + [f"left: {what}" for what in machine.left()]
    arena.close()
    return Run(killed, took_s, tuple(faults))


def _kill(
    victim: Victim | None, evaluator: Evaluator, machine: Machine, chance: random.Random
) -> bool:
    if victim == "server":
        return machine.kill_a_server(chance)
    if victim == "dockerd":
        machine.kill_engine()
    else:
        evaluator.kill()
    return True
