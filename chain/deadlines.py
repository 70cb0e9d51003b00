"""Deadlines that hold whatever a library waits for.

A timeout on a socket bounds one wait, and a peer that sends a byte, a ping or an unasked message
now and then makes it begin anew for ever. So a wait is ended from outside: by :func:`cutting`,
which closes what is waited for, and where nothing can be closed (looking up a name, shaking hands)
by :func:`within`, which leaves the work behind in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class _Clockwork:
    """One thread for all deadlines of the process. It sleeps until the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def add(self, entry: object, when: float, act: Callable[[], None]) -> None:
        with self._changed:
            self._due[entry] = (when, act)
            if self._thread is None:
                self._wakes_at = when
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif when < self._wakes_at:
                self._changed.notify()

    def remove(self, entry: object) -> None:
        with self._changed:
            self._due.pop(entry, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for entry, (when, act) in list(self._due.items()):
                    if when <= now:
                        # Under the lock: once removed, a deadline can no longer strike.
                        del self._due[entry]
                        act()
                self._wakes_at = min((when for when, _ in self._due.values()), default=float("inf"))
                wait = self._wakes_at - now
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))


_CLOCKWORK = _Clockwork()


@contextmanager
def cutting(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` if the block has not ended after ``seconds``; never after it has ended.

    ``cut`` runs in another thread; it must be quick and must not raise.
    """
    entry = object()
    _CLOCKWORK.add(entry, time.monotonic() + seconds, cut)
    try:
        yield
    finally:
        _CLOCKWORK.remove(entry)


def within(
    seconds: float, work: Callable[[], T], *, discard: Callable[[T], None] | None = None
) -> T:
    """What ``work`` gives or raises, or :class:`TimeoutError` after ``seconds``.

    ``work`` runs in a daemon thread and is left behind at the deadline; what it gives later goes to
    ``discard``.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            done.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError:
        if done.done():
            raise

        def throw_away(late: Future[T]) -> None:
            if discard is not None and late.exception() is None:
                discard(late.result())

        done.add_done_callback(throw_away)
        msg = f"no answer within {seconds:g} s"
        raise TimeoutError(msg) from None
