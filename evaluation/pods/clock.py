"""The time by which machines are asked for, looked at and stopped."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Whole Unix seconds, and waiting."""

    def now_s(self) -> int:
        """Now."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait so long."""
        ...


class SystemClock:
    """This machine's."""

    def now_s(self) -> int:
        """Now."""
        return int(time.time())

    def sleep(self, seconds: float) -> None:
        """Wait so long; a signal ends it by its interrupt."""
        time.sleep(seconds)
