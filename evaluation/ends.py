"""How a server ended: by itself, or by the machine's doing."""

from __future__ import annotations

import signal
import time
from typing import Final

from evaluation.client import ServerFaultError
from evaluation.runners.port import RunningServer
from ledger.codes import DisqualificationCode

_EXIT_SEEN_S: Final = 5.0
"""How long the end of a server whose stream broke is waited for: it says whose fault that was."""


def killed_from_outside(exit_code: int | None) -> bool:
    """Whether SIGKILL ended it: a container's first process gets that from the machine alone.

    One may claim it by the exit code that stands for it. That is counted and so ends, too.
    """
    return exit_code == -signal.SIGKILL


def own_exit_code(server: RunningServer, fault: ServerFaultError) -> int | None:
    """The code it ended with by itself. A broken stream may be seen a moment before its end is."""
    broken = fault.code is DisqualificationCode.STREAM_BROKEN
    deadline_s = time.monotonic() + (_EXIT_SEEN_S if broken else 0)
    while server.exit_code is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return server.exit_code
