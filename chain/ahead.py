"""Reading ahead: several blocks are fetched at once, and handed out in order.

Only what needs the block alone is read ahead. What depends on what the ledger holds by then (who is
registered, which payment is taken) is read when the block's turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

READ_WORKERS: Final = 4
"""Blocks that are fetched at the same time, each over a connection of its own."""
READ_AHEAD: Final = 16
"""Blocks that are fetched and wait for their turn, at most: this bounds the memory."""

T = TypeVar("T")


def read_ahead(
    read: Callable[[int], T],
    first: int,
    last: int,
    *,
    workers: int = READ_WORKERS,
    ahead: int = READ_AHEAD,
) -> Generator[T, None, None]:
    """``read(first)`` to ``read(last)``, in order; none if ``last`` is before ``first``.

    ``read`` is called in ``workers`` threads at once, for at most ``ahead`` numbers that were not
    handed out yet; with ``workers`` or ``ahead`` below 2 it is called in the caller's thread when
    its number is due. What it raises for a number is raised when that number is due, after all
    before it were handed out; then, and when the generator is closed, numbers not begun are
    dropped, and the threads end with the reads that they are in.
    """
    if workers < 2 or ahead < 2 or last <= first:
        for number in range(first, last + 1):
            yield read(number)
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read-ahead") as pool:
        try:
            for number in range(first, last + 1):
                waiting.append(pool.submit(read, number))
                if len(waiting) == ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
