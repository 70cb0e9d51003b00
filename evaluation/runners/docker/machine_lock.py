"""One stage on a machine at a time, whichever process holds it.

Two contests at once would be timed on the same cores and GPUs, measure each other's pulls, and take
away images that the other one runs. The lock is a name of this machine's network, where bridges and
firewall rules are, too; the kernel gives it back when its holder's process ends, however it ends.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

WAIT_S: Final = 86_400.0
"""Longer than a round of the largest policy takes; whoever waited so long waits for a dead end."""
_NAME: Final = "\0cacheon-ledger-contest"
_LOOK_AGAIN_S: Final = 0.2
_LOG: Final = logging.getLogger(__name__)
_HOLDERS: Final[dict[str, int]] = {}
"""The lock's name to the thread of this process that holds it."""


@contextmanager
def machine_locked(wait_s: float = WAIT_S, name: str = _NAME) -> Iterator[None]:
    """Hold the machine, after whoever holds it now.

    Raises :class:`InfrastructureFaultError` (`host_failed`) where it is not free within ``wait_s``,
    ``RuntimeError`` where this very thread holds it: it would wait for itself.
    """
    if _HOLDERS.get(name) == threading.get_ident():
        msg = "this thread holds a stage already, and a machine has one at a time"
        raise RuntimeError(msg)
    deadline_s = time.monotonic() + wait_s
    with socket.socket(socket.AF_UNIX) as lock:
        waited = False
        while not _taken(lock, name):
            if time.monotonic() >= deadline_s:
                raise InfrastructureFaultError(
                    InfrastructureCause.HOST_FAILED,
                    f"another contest ran on this machine for {wait_s:g} s; stop its evaluator, "
                    "or run this one elsewhere",
                )
            if not waited:
                _LOG.warning("another contest runs on this machine; this one waits for its end")
                waited = True
            time.sleep(_LOOK_AGAIN_S)
        _HOLDERS[name] = threading.get_ident()
        try:
            yield
        finally:
            del _HOLDERS[name]


@contextmanager
def machine_locked_if_free(name: str = _NAME) -> Iterator[bool]:
    """Hold the machine if nobody does; whether it is held now by this call."""
    with socket.socket(socket.AF_UNIX) as lock:
        yield _taken(lock, name)


def _taken(lock: socket.socket, name: str) -> bool:
    try:
        lock.bind(name)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True
