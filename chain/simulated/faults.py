"""Faults on demand: what a real node does to its readers, for tests and the demo."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from chain.port import ChainError


class _Fault(NamedTuple):
    error: ChainError
    after: bool


class Faults:
    """Errors waiting for the next calls of a method. They live in this process only."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Fault]] = {}

    def fail_next(self, method: str, error: ChainError, *, after: bool) -> None:
        """Queue an error; with ``after`` the call does its work first and loses its answer."""
        self._waiting.setdefault(method, deque()).append(_Fault(error, after))

    @contextmanager
    def around(self, method: str) -> Iterator[None]:
        """Around the work of one call of ``method``."""
        waiting = self._waiting.get(method)
        fault = waiting.popleft() if waiting else None
        if fault is not None and not fault.after:
            raise fault.error
        yield
        if fault is not None:
            raise fault.error
