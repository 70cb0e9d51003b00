"""The newest few of something, by key: the longest unused goes first. Safe between threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """At most ``most`` entries."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The entry, which counts as used now; None if it is not there."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: K, value: V) -> bool:
        """Keep an entry, in the place of an earlier one; whether something had to go for it."""
        with self._lock:
            went = key in self._entries
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
                went = True
            return went

    def drop(self, key: K) -> None:
        """Keep it no longer."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._entries.clear()
