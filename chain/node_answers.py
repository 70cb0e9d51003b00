"""Answers of a node that hold for ever, kept for a while, and what is worth asking beforehand.

A finalized block's header, the runtime in its state and any value in its state never change. So
they are asked once. And a value that was read in the state of several blocks lately will be read in
that of the next: it is asked together with the block, instead of in a round of its own.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Final

from chain.kept import Kept
from chain.node_wire import Reply, Request

MAX_KEPT_ANSWERS: Final = 4_096
MAX_KEPT_CHARS: Final = 4_096
"""Longer values, such as the events of a block, are not kept: together at most 16 MiB."""
HABIT_BLOCKS: Final = 8
"""Blocks looked back on for what is read in the state of each."""
HABIT_AT_LEAST: Final = 3
"""A value read in the state of so many of them is read ahead."""
MAX_HABITS: Final = 16
"""Values read ahead with each block, at most."""

BLOCK: Final = "chain_getBlock"
HEADER: Final = "chain_getHeader"
VERSION: Final = "state_getRuntimeVersion"
STORAGE: Final = "state_getStorage"
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_FIELDS: Final = {
    HEADER: ("number", "parentHash"),
    VERSION: ("specVersion", "transactionVersion"),
}


class KnownAnswers:
    """The newest answers that cannot change, by question; safe to share between threads.

    Of a header only the number and the parent's hash are kept, of a runtime its versions.
    """

    def __init__(self) -> None:
        self._kept: Kept[tuple[str, ...], Reply] = Kept(MAX_KEPT_ANSWERS)
        self._lock = threading.Lock()
        self._read: OrderedDict[str, set[str]] = OrderedDict()

    def get(self, request: Request) -> Reply | None:
        """The reply to that question, if it is known."""
        key = _key(request)
        return None if key is None else self._kept.get(key)

    def keep(self, request: Request, reply: Reply) -> None:
        """Keep a reply, if it is one that cannot change and is not too long."""
        key = _key(request)
        if key is None or "result" not in reply:
            return
        result = reply["result"]
        if request[0] in _FIELDS:
            if not isinstance(result, dict):
                return  # null: a block that is not there may come yet
            result = {name: result.get(name) for name in _FIELDS[request[0]]}
        elif not (result is None or (isinstance(result, str) and len(result) <= MAX_KEPT_CHARS)):
            return
        self._kept.put(key, {"result": result})

    def drop(self, request: Request) -> None:
        """Keep it no longer: it could not be read."""
        key = _key(request)
        if key is not None:
            self._kept.drop(key)

    def forget(self) -> None:
        """Forget all: another chain may answer from now on."""
        self._kept.clear()
        with self._lock:
            self._read.clear()

    def was_read(self, storage_key: str, block_hash: str) -> None:
        """Note that somebody wanted a value in the state of a block."""
        with self._lock:
            keys = self._read.setdefault(block_hash, set())
            if len(keys) < MAX_HABITS:
                keys.add(storage_key)
            while len(self._read) > HABIT_BLOCKS:
                self._read.popitem(last=False)

    def habits(self) -> list[str]:
        """The storage keys that are read at nearly every block."""
        counts: dict[str, int] = {}
        with self._lock:
            for keys in self._read.values():
                for key in keys:
                    counts[key] = counts.get(key, 0) + 1
        return sorted(key for key, count in counts.items() if count >= HABIT_AT_LEAST)[:MAX_HABITS]


def block_hash_from(value: object) -> str:
    """A block's hash as this program writes it; raises :class:`TypeError` for anything else."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        msg = f"{str(value)[:80]!r} is no block hash"
        raise TypeError(msg)
    return value.lower()


def _key(request: Request) -> tuple[str, ...] | None:
    """What names a question whose answer cannot change: its block is named by hash."""
    method, params = request
    if method in {HEADER, VERSION} and len(params) == 1 and isinstance(params[0], str):
        return (method, params[0])
    if method == STORAGE and len(params) == 2 and all(isinstance(item, str) for item in params):
        return (method, *params)
    return None
