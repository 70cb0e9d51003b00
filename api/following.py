"""Following a chain into an arena: blocks first, then the gaps that can be filled by now, then the
commits that had to be deferred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

    ``filled`` blocks of gaps were read late and ``missing`` ones are not in the log still;
    ``unfilled`` says why where a node failed at it. ``reread`` blocks were read again, with
    ``differences`` to what the log has of them.
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
        self._reader.observe_opening()
        reread, differences, blocks = 0, list[str](), 0
        if not self._begun and self._from_block is not None:
            head = self._head()
            if self._from_block > head:
                blocks += self._reader.leave_out(self._from_block)
            else:
                first = max(self._from_block, self._ledger.arena_state().opened_at_block + 1)
                last = head if until_block is None else min(head, until_block)
                reread, differences = self._late.reread(first, last, on_block=on_block, stop=stop)
            self._begun = True
        blocks += self._reader.ingest(until_block, on_block=on_block, stop=stop)
        filled, newer, unfilled = self._fill(until_block, on_block, stop)
        judged, left = self._judge_deferred()
        return Caught(
            blocks=blocks + newer,
            head_block=self._head(),
            judged=judged,
            deferred=left,
            filled=filled,
            missing=sum(last - first + 1 for first, last in self._missing(0)),
            unfilled=unfilled,
            reread=reread,
            differences=tuple(differences),
        )

    # -- gaps -------------------------------------------------------------------------------

    def _fill(
        self, until_block: int | None, on_block: OnBlock | None, stop: Callable[[], bool]
    ) -> tuple[int, int, str]:
        """Fill what can be filled: how many blocks, how many new ones came meanwhile, and why not
        more where a node failed. A node that fails here may still give the newest blocks."""
        failed_at = self._filling_failed_at
        if failed_at is not None and self._head() < failed_at + TRY_AGAIN_BLOCKS:
            return 0, 0, ""
        filled, newer = 0, 0
        while missing := self._missing(self._from_block or 0):
            try:
                done = self._late.fill(missing, limit=FILLED_AT_ONCE, on_block=on_block, stop=stop)
            except ChainUnavailableError as error:
                self._filling_failed_at = self._head()
                return filled, newer, str(error)
            if not done:
                self._filling_failed_at = None if stop() else self._head()
                break
            filled += done
            newer += self._reader.ingest(until_block, on_block=on_block, stop=stop)
        return filled, newer, ""

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
            judge_deferred(self._ledger, UUID(line["submission_id"]), evidence)
            judged += 1
        return judged, len(waiting) - judged
