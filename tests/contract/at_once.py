"""The same work in several threads of one process, all let go at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

THREADS = 3
DEADLINE_S = 120


def failures_of(work: Callable[[], object]) -> list[BaseException]:
    """What the threads raised; each must have ended in time."""
    start, failures = threading.Barrier(THREADS), []

    def run() -> None:
        start.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  the test looks at it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=DEADLINE_S)
        assert not thread.is_alive()
    return failures
