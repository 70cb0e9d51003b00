"""One Docker Engine of the tests at a time on this machine, whichever checkout they run in.

An engine that starts empties the firewall chains of another one (they have fixed names), so two
cannot be made safe side by side.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

LOCK = Path("/var/tmp/ledger-engine.lock")  # noqa: S108 - the same for every checkout, on purpose
WAIT_S = 1_800.0


def locked() -> int:
    """The lock's descriptor; the kernel opens the lock when this process ends, however it does."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                os.close(descriptor)
                msg = f"{LOCK} was held for {WAIT_S:g} s by the tests of another checkout"
                raise TimeoutError(msg) from None
            time.sleep(0.2)
        else:
            return descriptor
