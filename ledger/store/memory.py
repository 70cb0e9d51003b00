"""What this process last saw of the log: the arenas' blocks, and aggregates as they were recorded.

It spares commands their reads, and it may be stale, for other processes write too. So nothing rests
on it alone: the writer refuses under the locked head what was decided at another block or over
another version, and what records nothing is checked before it counts
(:meth:`ledger.application.Ledger.decide`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from ledger.decisions.base import Aggregate
from ledger.facts import Fact
from ledger.keys import ArenaKey

MAX_AGGREGATES: Final = 4_096
"""Aggregates remembered by a process for one database; the one used longest ago goes first."""


class _Ended(list[Fact]):
    """Where a remembered aggregate's pending facts would go: nowhere, for its unit has ended."""

    def append(self, fact: Fact, /) -> None:
        msg = f"'{fact.fact_key}' was decided after its unit of work had ended; nobody records it"
        raise RuntimeError(msg)


_ENDED: Final = _Ended()


class Seen:
    """The newest block of one arena that this process has seen; None where it must ask."""

    __slots__ = ("block",)

    def __init__(self) -> None:
        self.block: int | None = None


class Memory:
    """The blocks and aggregates last seen in one database; any thread may ask."""

    def __init__(self) -> None:
        self._arenas: dict[ArenaKey, Seen] = {}
        # By the number of the id: a UUID computes its hash anew, in Python, at every look.
        self._aggregates: OrderedDict[int, Aggregate] = OrderedDict()
        self._mutex = threading.Lock()

    def arena(self, arena: ArenaKey) -> Seen:
        """What was seen of an arena: always the same object, which changes."""
        return self._arenas.setdefault(arena, Seen())

    def aggregate(self, identity: UUID) -> Aggregate | None:
        """An aggregate as it was recorded; a caller changes its twin, never the thing itself."""
        return self._aggregates.get(identity.int)

    def keep(self, aggregates: Iterable[Aggregate]) -> None:
        """Remember recorded aggregates, which nobody may change any more."""
        remembered = self._aggregates
        with self._mutex:
            for aggregate in aggregates:
                if not aggregate.version:
                    continue
                aggregate.sink = _ENDED
                key = aggregate.id.int
                known = remembered.pop(key, None)
                newer = known is None or known.version < aggregate.version
                remembered[key] = aggregate if newer or known is None else known
            while len(remembered) > MAX_AGGREGATES:
                remembered.popitem(last=False)

    def forget(self, identities: Iterable[UUID]) -> None:
        """These may be ahead of the log, which memory never is otherwise."""
        with self._mutex:
            for identity in identities:
                self._aggregates.pop(identity.int, None)

    def clear(self) -> None:
        """The connection broke, and what answers next may be a copy that lags behind."""
        with self._mutex:
            for seen in self._arenas.values():
                seen.block = None
            self._aggregates.clear()
