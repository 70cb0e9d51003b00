"""A worker's name on a machine: held by a lock, so that a process knows an earlier one is dead.

A slot is a file in a folder of this machine. Whoever holds its lock is the worker of that name; the
system lets go of the lock when the process ends, however it ends. The file lists the sessions that
held it, so that the next one may end at once what they left open, instead of waiting for their
claims to run out.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from pathlib import Path
from typing import IO, Final

from ledger.decisions.contest import Holder

MAX_SLOTS: Final = 64
"""Evaluators of one state folder at once, of those that were not given a name."""

MAX_SESSIONS: Final = 100
"""Earlier sessions that a slot's file remembers; older ones' claims ran out long ago."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_SESSION: Final = re.compile(r"[0-9a-f]{32}")


class SlotError(Exception):
    """No slot can be had; the message says what to do."""


class Slot:
    """A slot that this process holds. ``dead`` are its earlier sessions: their processes ended."""

    def __init__(self, holder: Holder, dead: tuple[Holder, ...], lock: IO[bytes]) -> None:
        self.holder = holder
        self.dead = dead
        self._lock = lock

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_slot(state: Path, host: str, name: str | None = None) -> Slot:
    """The slot of that name on this machine, or the first free one of 0, 1, 2 …

    Raises :class:`SlotError` where the name has no form, where another process holds it, or where
    :data:`MAX_SLOTS` do.
    """
    if name is not None and not _NAME.fullmatch(name):
        msg = (
            f"{name[:64]!r} is no name of a worker: 1 to 32 of a-z, 0-9, dot, underscore and dash, "
            "the first a letter or digit"
        )
        raise SlotError(msg)
    state.mkdir(parents=True, exist_ok=True)
    for slot in [name] if name is not None else map(str, range(MAX_SLOTS)):
        taken = _try(state / f"worker-{slot}", f"{host}/{slot}")
        if taken is not None:
            return taken
    if name is not None:
        msg = f"another evaluator named '{name}' runs from {state}; give this one another --worker"
    else:
        msg = f"{MAX_SLOTS} evaluators run from {state} already; stop one, or give another --state"
    raise SlotError(msg)


def _try(path: Path, worker: str) -> Slot | None:
    lock = path.open("a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    try:
        lock.seek(0)
        # A line that a power cut tore is no session, and never claimed anything.
        lines = lock.read().decode("ascii", "replace").splitlines()
        earlier = [line for line in lines if _SESSION.fullmatch(line)][-MAX_SESSIONS:]
        session = secrets.token_hex(16)
        lock.truncate(0)
        lock.write("".join(f"{one}\n" for one in [*earlier, session]).encode("ascii"))
        lock.flush()
        os.fsync(lock.fileno())  # before anything is claimed in its name
    except BaseException:
        lock.close()
        raise
    return Slot(Holder(worker, session), tuple(Holder(worker, one) for one in earlier), lock)
