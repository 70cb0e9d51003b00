"""Following a chain into an arena: blocks first, then the gaps that can be filled by now, then the
commits that had to be deferred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from api.app import Services
from chain.beside import Beside
from chain.gathering import evidence_for
from chain.healing import LateReader
from chain.port import ChainReader, ChainUnavailableError
from chain.reader import BlockReader, OnBlock, never
from ledger.commands.commits import judge_deferred
from ledger.commands.registry import Registry
from ledger.queries.scope import Scope
from ledger.queries.standing import gaps, missing_blocks
from ledger.queries.submissions import deferred
from ledger.queries.subnet import held_digests, locked_hotkeys
from ledger.queries.weights import registry, subnet_owner

FILLED_AT_ONCE: Final = 200
"""Blocks of gaps that are read before new ones are looked for: the head must not fall behind."""

TRY_AGAIN_BLOCKS: Final = 300
"""How many blocks later gaps that nobody could fill are tried again: an hour of blocks."""


@dataclass(frozen=True, slots=True)
class Caught:
    """How far a catch-up came: blocks read, the newest one, deferred commits judged and left.

    Blocks that earlier catch-ups read before they failed count, too. ``filled`` blocks of gaps were
    read late and ``missing`` ones are not in the log still; ``unfilled`` says why where a node
    failed at it. ``reread`` blocks were read again, with ``differences`` to what the log has.
    """

    blocks: int
    head_block: int
    judged: int
    deferred: int
    filled: int = 0
    missing: int = 0
    unfilled: str = ""
    reread: int = 0
    differences: tuple[str, ...] = ()


def beside_at(scope: Scope) -> Beside:
    """What the log knows at a scope besides the registry, for a reader to go on from."""
    return Beside(
        subnet_owner=subnet_owner(scope),
        held=held_digests(scope),
        locked=locked_hotkeys(scope),
    )


@dataclass(slots=True)
class _Counted:
    """Blocks since the last catch-up that came to its end: one that fails has read some, too."""

    blocks: int = 0
    filled: int = 0
    reread: int = 0
    differences: list[str] = field(default_factory=list)


class Follower:
    """Reads one arena's chain. Made anew after a restart, it goes on where the log stands.

    ``workers`` blocks are fetched at once. ``from_block`` is where the operator wants it to begin:
    after the next block of the log, the blocks between are a recorded gap; at or before the log's
    newest, blocks are read again from there and compared first. Gaps before it are left alone.
    """

    def __init__(
        self,
        services: Services,
        chain: ChainReader,
        network: str,
        netuid: int,
        *,
        workers: int = 1,
        from_block: int | None = None,
    ) -> None:
        self._services = services
        self._chain = chain
        self._where = (network, netuid)
        self._ledger = services.ledger(network, netuid)
        with services.at(network, netuid) as scope:
            held, beside = registry(scope), beside_at(scope)
        self._reader = BlockReader(chain, self._ledger, held, beside, workers=workers)
        self._late = LateReader(chain, self._ledger, self._held_at, workers=workers)
        self._from_block = from_block
        self._begun = from_block is None
        self._filling_failed_at: int | None = None
        self._counted = _Counted()

    def catch_up(
        self,
        until_block: int | None = None,
        *,
        on_block: OnBlock | None = None,
        stop: Callable[[], bool] = never,
    ) -> Caught:
        """Read up to ``until_block`` (default: the finalized head) and judge what was deferred.

        ``on_block(number, last)`` is told of each block; ``stop`` is asked after each.
        """
        counted = self._counted
        told = on_block or (lambda *_: None)

        def read(number: int, last: int) -> None:
            counted.blocks += 1
            told(number, last)

        self._reader.observe_opening()
        self._begin(until_block, told, stop)
        self._reader.ingest(until_block, on_block=read, stop=stop)
        unfilled = self._fill(until_block, read, told, stop)
        judged, left = self._judge_deferred()
        self._counted = _Counted()
        return Caught(
            blocks=counted.blocks,
            head_block=self._head(),
            judged=judged,
            deferred=left,
            filled=counted.filled,
            missing=sum(last - first + 1 for first, last in self._missing(0)),
            unfilled=unfilled,
            reread=counted.reread,
            differences=tuple(counted.differences),
        )

    def _begin(self, until_block: int | None, told: OnBlock, stop: Callable[[], bool]) -> None:
        """Begin where the operator wants it, once."""
        if self._begun or self._from_block is None:
            return
        head = self._head()
        if self._from_block > head:
            self._counted.blocks += self._reader.leave_out(self._from_block)
        else:
            first = max(self._from_block, self._ledger.arena_state().opened_at_block + 1)
            last = head if until_block is None else min(head, until_block)
            read, differences = self._late.reread(first, last, on_block=told, stop=stop)
            self._counted.reread += read
            self._counted.differences += differences
        self._begun = True

    # -- gaps -------------------------------------------------------------------------------

    def _fill(
        self, until_block: int | None, read: OnBlock, told: OnBlock, stop: Callable[[], bool]
    ) -> str:
        """Fill what can be filled, and read what came meanwhile; why not more where a node failed.

        A node that fails here may still give the newest blocks, so it stops nothing else.
        """
        failed_at = self._filling_failed_at
        if failed_at is not None and self._head() < failed_at + TRY_AGAIN_BLOCKS:
            return ""

        def filled(number: int, last: int) -> None:
            self._counted.filled += 1
            told(number, last)

        while missing := self._missing(self._from_block or 0):
            try:
                done = self._late.fill(missing, limit=FILLED_AT_ONCE, on_block=filled, stop=stop)
            except ChainUnavailableError as error:
                self._filling_failed_at = self._head()
                return str(error)
            if not done:
                self._filling_failed_at = None if stop() else self._head()
                break
            self._reader.ingest(until_block, on_block=read, stop=stop)
        return ""

    def _missing(self, from_block: int) -> list[tuple[int, int]]:
        with self._services.at(*self._where) as scope:
            runs = missing_blocks(gaps(scope))
        return [run for run in runs if run[0] >= from_block]

    def _held_at(self, block: int) -> Registry:
        with self._services.at(*self._where, block) as scope:
            return registry(scope)

    # -- commits ----------------------------------------------------------------------------

    def _head(self) -> int:
        return self._ledger.head().effective_block

    def _judge_deferred(self) -> tuple[int, int]:
        with self._services.at(*self._where) as scope:
            waiting = deferred(scope)
        judged = 0
        for line in waiting:
            try:
                evidence = evidence_for(self._chain, self._ledger, UUID(line["submission_id"]))
            except ChainUnavailableError:
                continue  # it stays deferred, which the log and the caller's count both say
            judged += judge_deferred(self._ledger, UUID(line["submission_id"]), evidence)
        return judged, len(waiting) - judged
