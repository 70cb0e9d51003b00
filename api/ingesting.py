"""Ingesting until told to stop: the loop behind `ingest`, with its patience and its alerts.

A node that fails never ends it. It is tried again with growing pauses; an outage that lasts is
recorded as one alert, and told as over when blocks come again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Final, Literal

import msgspec

from api.following import Caught, Follower
from chain.port import ChainError, OtherChainError
from chain.reader import NotFinalizedError, OnBlock, UntilPrunedError
from chain.watchdog import BlockWatchdog
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert

POLL_S: Final = 6.0
"""How often a new finalized block is looked for: twice a block time."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""How long a failing node is left alone: twice as long with each failure in a row."""

OUTAGE_AFTER_TRIES: Final = 3
"""Failures in a row that are an outage: one alone is a connection that broke."""

End = Literal["head", "until_block", "stopped"]
Say = Callable[[str], None]


class IngestReport(msgspec.Struct, frozen=True):
    """What a run of `ingest` did. Counts are blocks, but for ``judged`` and ``deferred`` commits.

    ``ended`` is why it ended: all finalized blocks were read (``head``), the last one that was
    asked for (``until_block``), or somebody stopped it. ``missing`` blocks are in open gaps.
    """

    network: str
    netuid: int
    ended: End
    head_block: int
    last_safe_block: int
    blocks: int
    judged: int
    deferred: int
    filled: int
    missing: int
    unfilled: str
    reread: int
    differences: tuple[str, ...]
    outages: int


@dataclass(slots=True)
class Totals:
    """What all catch-ups of a run did together."""

    last: Caught | None = None
    blocks: int = 0
    judged: int = 0
    filled: int = 0
    reread: int = 0
    differences: list[str] = field(default_factory=list)
    outages: int = 0

    def add(self, caught: Caught) -> None:
        """Count one catch-up."""
        self.last = caught
        self.blocks += caught.blocks
        self.judged += caught.judged
        self.filled += caught.filled
        self.reread += caught.reread
        self.differences += caught.differences

    def report(self, network: str, netuid: int, head: int, safe: int, ended: End) -> IngestReport:
        """The report of the run; ``head`` and ``safe`` are the log's newest and last safe block."""
        last = self.last or Caught(0, head, 0, 0)
        return IngestReport(
            network=network,
            netuid=netuid,
            ended=ended,
            head_block=head,
            last_safe_block=safe,
            blocks=self.blocks,
            judged=self.judged,
            deferred=last.deferred,
            filled=self.filled,
            missing=last.missing,
            unfilled=last.unfilled,
            reread=self.reread,
            differences=tuple(self.differences),
            outages=self.outages,
        )


class Ingest:
    """One run of `ingest`. ``follower`` is made when a node first answers, by ``make_follower``.

    ``say`` gets one line per happening, ``on_block`` is told of each block.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_follower: Callable[[], Follower],
        *,
        until_block: int | None,
        stop: Event,
        say: Say,
        on_block: OnBlock | None = None,
    ) -> None:
        self._ledger = ledger
        self._make = make_follower
        self._follower: Follower | None = None
        self._until_block = until_block
        self._stop = stop
        self._say = say
        self._on_block = on_block
        self._failures = 0
        self.totals = Totals()

    def once(self) -> End:
        """Read what is finalized by now. Raises what the chain raises."""
        caught = self._catch_up()
        if self._stop.is_set():
            return "stopped"
        return "until_block" if self._is_done(caught) else "head"

    def follow(self, watchdog: BlockWatchdog) -> End:
        """Go on until stopped, or until the last block that was asked for.

        No failure of a node ends it. :class:`OtherChainError` does, which waiting cannot mend, and
        :class:`NotFinalizedError` and :class:`UntilPrunedError`, which tell the operator to begin
        or to end elsewhere.
        """
        while not self._stop.is_set():
            try:
                caught = self._catch_up()
            except (NotFinalizedError, UntilPrunedError, OtherChainError):
                raise
            except ChainError as error:
                self._look(watchdog, None)
                self._wait(error)
                continue
            self._answered(caught)
            if self._is_done(caught):
                return "until_block"
            self._look(watchdog, caught.head_block)
            self._stop.wait(POLL_S)
        return "stopped"

    def _catch_up(self) -> Caught:
        if self._follower is None:
            self._follower = self._make()
        caught = self._follower.catch_up(
            self._until_block, on_block=self._on_block, stop=self._stop.is_set
        )
        first = self.totals.last is None
        before = self.totals.last
        self.totals.add(caught)
        self._tell(caught, before, first=first)
        return caught

    def _tell(self, caught: Caught, before: Caught | None, *, first: bool) -> None:
        if caught.reread:
            differences = (
                f"{len(caught.differences)} differences" if caught.differences else "alike"
            )
            self._say(f"{caught.reread} recorded blocks read again: {differences}")
        for difference in caught.differences:
            self._say(f"differs: {difference}")
        if first or caught.blocks or caught.judged:
            self._say(
                f"{caught.blocks} blocks read, the newest is {caught.head_block}; "
                f"{caught.judged} deferred commits judged, {caught.deferred} still wait"
            )
        if caught.filled or caught.missing != (before.missing if before else 0):
            self._say(
                f"{caught.filled} blocks of gaps read late; {caught.missing} blocks are missing "
                "in the log"
            )
        if caught.unfilled:
            self._say(f"a gap could not be filled now: {caught.unfilled}")

    def _is_done(self, caught: Caught) -> bool:
        return self._until_block is not None and caught.head_block >= self._until_block

    def _wait(self, error: ChainError) -> None:
        self._failures += 1
        pause_s = min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
        self._say(f"{error}; trying again in {pause_s:.0f} s")
        if self._failures == OUTAGE_AFTER_TRIES:
            self.totals.outages += 1
            detail = f"no node could be read from in {self._failures} tries in a row: {error}"
            raise_alert(self._ledger, "node_outage", detail)
        self._stop.wait(pause_s)

    def _answered(self, caught: Caught) -> None:
        if self._failures:
            self._say(
                f"blocks come again after {self._failures} failures in a row; the log is at block "
                f"{caught.head_block} and misses nothing of the outage"
            )
        self._failures = 0

    def _look(self, watchdog: BlockWatchdog, head: int | None) -> None:
        stall = watchdog.look(head)
        if stall is not None:
            self._say(str(stall))
            raise_alert(self._ledger, "no_new_block", str(stall))
