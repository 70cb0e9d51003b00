"""The watchdog on block arrival: a node that answers and whose chain stands still is left.

A deadline ends a question that hangs. It does not notice a node that answers every question in time
and whose head never moves, as one that lost its peers does. Blocks come every twelve seconds; when
none came for ten times as long, the node is left for the next one, and the caller is told, who
records an alert.

The caller's loop, for instance::

    watchdog = BlockWatchdog(nodes)
    while True:
        head = <catch up; the newest finalized block the chain told of, None if it told of none>
        stall = watchdog.look(head)
        if stall is not None:
            raise_alert(ledger, "no_new_block", str(stall))
        time.sleep(POLL_S)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

BLOCK_TIME_S: Final = 12.0
"""Seconds between two blocks of Bittensor's main network."""
PATIENCE_S: Final = 10 * BLOCK_TIME_S
"""How long no new finalized block is borne with."""


class CanBeLeft(Protocol):
    """A chain whose node can be left for another, such as :class:`chain.nodes.Nodes`."""

    @property
    def place(self) -> str:
        """The node that is asked first now, without secrets."""
        ...

    def leave(self) -> str:
        """Drop the connection to that node and go to the next; the place of that one."""
        ...


@dataclass(frozen=True, slots=True)
class Stall:
    """No new finalized block came from ``place`` for ``silent_s`` seconds, so it was left.

    ``newest`` is the newest finalized block seen so far, None if none was; ``moved_to`` the node
    asked from now on, the same one where there is no other. Its text is one sentence.
    """

    place: str
    newest: int | None
    silent_s: float
    moved_to: str

    def __str__(self) -> str:
        after = "at all" if self.newest is None else f"after {self.newest}"
        then = (
            "its connection was made anew"
            if self.moved_to == self.place
            else f"{self.moved_to} is asked instead"
        )
        return f"no finalized block {after} came from {self.place} in {self.silent_s:.0f} s; {then}"


class BlockWatchdog:
    """Told of the head at every look, it leaves a node whose head does not move.

    ``patience_s`` is in seconds of ``clock``, which never goes back. Not for several threads.
    """

    def __init__(
        self,
        chain: CanBeLeft,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = chain
        self._patience_s = patience_s
        self._clock = clock
        self._newest: int | None = None
        self._since = clock()

    def look(self, head: int | None) -> Stall | None:
        """Note the newest finalized block (None: nobody told of one); what was done about it.

        None while blocks come. Otherwise the node was left, and the next has the same time.
        """
        now = self._clock()
        if head is not None and (self._newest is None or head > self._newest):
            self._newest, self._since = head, now
            return None
        silent_s = now - self._since
        if silent_s < self._patience_s:
            return None
        place = self._chain.place
        self._since = now
        return Stall(place, self._newest, silent_s, self._chain.leave())
