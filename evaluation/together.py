"""Starting the servers of several arms at once (docs/decisions/0035).

Each is waited for in a thread of its own, so that one whose health path hangs is in nobody else's
readiness, and is frozen as soon as it is healthy, so that it takes nothing from those that still
start. All are launched from the caller's thread: a process ends with the thread that launched it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final

from evaluation.arms import Arm

ASK_TO_STOP_EVERY_S: Final = 1.0
"""How often whoever runs the round is asked whether to stop while servers start."""


def launch_together(
    arms: Sequence[Arm],
    first_block: int,
    *,
    check: Callable[[Arm], None],
    stop_if_asked: Callable[[], None],
) -> None:
    """Launch a server for each arm; return when each is healthy and frozen, or stopped by a fault.

    ``check`` is called with every arm when its start is over, in the order in which they are; what
    it raises, as what ``stop_if_asked`` does, ends the waiting for all. Servers that were launched
    are left to whoever called, who stops them; no thread is left behind.
    """
    called_off = threading.Event()
    with ThreadPoolExecutor(max(1, len(arms)), "server-start") as threads:
        try:
            starting: dict[Future[None], Arm] = {}
            for arm in arms:
                arm.launch(first_block)
                if arm.fault is None:
                    future = threads.submit(arm.await_and_hold, called_off.is_set)
                    starting[future] = arm
                else:
                    check(arm)
            pending = set(starting)
            while pending:
                done, pending = wait(pending, ASK_TO_STOP_EVERY_S, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    starting[future].present()
                    check(starting[future])
                stop_if_asked()
        finally:
            called_off.set()
