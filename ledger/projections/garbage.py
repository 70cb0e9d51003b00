"""Leaving the garbage alone while a page is folded.

A page makes some hundred thousand objects that all live until it is written. Python's collector
would look at them again and again meanwhile and find nothing: a sixth of a rebuild's time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MUTEX = threading.Lock()
_inside = 0
_was_enabled = False


@contextmanager
def not_collecting() -> Iterator[None]:
    """Suspend the cyclic collector until the last one inside leaves; it was off, it stays off."""
    global _inside, _was_enabled  # noqa: PLW0603  the collector is the process's, and so is this count
    with _MUTEX:
        if _inside == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _MUTEX:
            _inside -= 1
            if _inside == 0 and _was_enabled:
                gc.enable()
