"""Ending a long command tidily: the first SIGINT or SIGTERM interrupts it, further ones wait."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

ENDED_BY: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupted_once(what: str) -> Iterator[None]:
    """Within it the first signal raises ``KeyboardInterrupt``; a further one says that ``what`` is
    being done, and interrupts nothing: it would leave behind what the first one is clearing away.
    """
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        name = signal.Signals(number).name
        sys.stderr.write(f"{name}: {what}; SIGKILL ends at once, and the next start clears up\n")
        if not asked:
            asked = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in ENDED_BY}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(seconds: float) -> None:
    """Wait; ends early by the interrupt of a signal."""
    time.sleep(seconds)
