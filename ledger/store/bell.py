"""A bell per database and process: rung when views moved on, so that who waits wakes at once."""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import Engine

_ATTRIBUTE: Final = "ledger_bell"


class Bell:
    """Counts how often it was rung; waiting for the next time loses none."""

    def __init__(self) -> None:
        self._count = 0
        self._rung = threading.Condition()

    @property
    def count(self) -> int:
        """How often it was rung so far."""
        with self._rung:
            return self._count

    def ring(self) -> None:
        """Wake everybody who waits."""
        with self._rung:
            self._count += 1
            self._rung.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Wait until it was rung more often than ``seen``, at most ``timeout_s``; the count."""
        with self._rung:
            self._rung.wait_for(lambda: self._count != seen, timeout_s)
            return self._count


def bell_of(engine: Engine) -> Bell:
    """The bell of this process for that database; it lives as long as the engine."""
    # `setdefault` on a plain dict is one step: two threads that ask at once get the same bell.
    bell = engine.__dict__.setdefault(_ATTRIBUTE, Bell())
    if not isinstance(bell, Bell):
        msg = f"something else sits where the engine keeps its bell: {bell!r}"
        raise TypeError(msg)
    return bell
