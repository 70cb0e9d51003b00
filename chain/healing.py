"""Reading blocks late: those of gaps that can be had after all, and recorded ones once more.

Both need who held what before the block: the log knows where it has that block, else the chain is
asked at the block's parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Final

from chain.ahead import read_ahead
from chain.beside import Beside
from chain.gaps import can_give, first_given, registry_before
from chain.gathering import gather
from chain.port import Block, ChainReader, OtherChainError, PrunedStateError
from chain.reader import OnBlock, never
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.block_facts import BlockFacts
from ledger.commands.blocks import record_block
from ledger.commands.gaps import fill_block, header_of
from ledger.commands.registry import Registry
from ledger.commands.rereading import compare_block
from ledger.observations import BlockObserved, OpeningObserved

Run = tuple[int, int]
"""Blocks from the first to the last, both included."""

TRIED_ONE_BY_ONE: Final = 64
"""A run of missing blocks this short is tried block by block; of a longer one only its beginning,
or the part up to its end that can be given."""

MAX_TOLD: Final = 10
"""How many differences an alert names."""


class LateReader:
    """Reads blocks behind the log's head. ``workers`` blocks are fetched at once.

    ``known_at`` is what the log knows at a block that it has read in its turn: who held which UID,
    and what else a reader goes on from.
    """

    def __init__(
        self,
        chain: ChainReader,
        ledger: Ledger,
        known_at: Callable[[int], tuple[Registry, Beside]],
        *,
        workers: int = 1,
    ) -> None:
        self._chain = chain
        self._ledger = ledger
        self._netuid = ledger.arena.netuid
        self._known_at = known_at
        self._workers = workers
        self._before: tuple[int, dict[int, tuple[str, str]], Beside] | None = None

    def fill(
        self,
        missing: Sequence[Run],
        *,
        limit: int,
        on_block: OnBlock | None = None,
        stop: Callable[[], bool] = never,
    ) -> int:
        """Record blocks of gaps that the chain can give, ``limit`` of them at most; how many.

        ``missing`` are the runs of blocks that the log lacks, in order. What nobody can give is
        left missing. Raises :class:`OtherChainError` for a block that does not fit its recorded
        neighbours, and what else the chain raises.
        """
        filled = 0
        for first, last in missing:
            short = last - first < TRIED_ONE_BY_ONE
            start: int | None = first if short else self._start(first, last)
            while start is not None and start <= last and filled < limit and not stop():
                end = min(last, start + limit - filled - 1)
                done, reached = self._fill_run(start, end, on_block, stop)
                filled += done
                # The block that nobody can give is passed over, but for a long run only once.
                start = reached + 1 if short or reached == end else None
        return filled

    def reread(
        self,
        first: int,
        last: int,
        *,
        on_block: OnBlock | None = None,
        stop: Callable[[], bool] = never,
    ) -> tuple[int, list[str]]:
        """Read recorded blocks again and compare: how many were read, and what differs.

        Each difference of a recorded fact is recorded as a conflict, and all of them raise one
        alert. A block of a gap is filled. One that nobody can give any longer is passed over; what
        is recorded stands in any case. Raises ``FactConflictError`` for another block.
        """
        read, differences = 0, list[str]()
        for number in range(first, last + 1):
            if stop():
                break
            try:
                block = self._chain.block(number)
                facts = self._gathered(block)
            except PrunedStateError:
                continue
            header = header_of(self._ledger, number)
            if isinstance(header, BlockObserved):
                record_block(self._ledger, facts)  # a no-op, or the conflict of two chains
            else:
                self._must_fit(block)
            if header is None:
                fill_block(self._ledger, facts)
            else:
                differences += compare_block(self._ledger, facts)
            read += 1
            if on_block is not None:
                on_block(number, last)
        if differences:
            more = len(differences) - MAX_TOLD
            told = [*differences[:MAX_TOLD], *([f"and {more} more"] if more > 0 else [])]
            raise_alert(self._ledger, "reread_differs", "; ".join(told))
        return read, differences

    # -- inside -----------------------------------------------------------------------------

    def _start(self, first: int, last: int) -> int | None:
        """Where filling a long run begins: at its first block, or where the end of it is held."""
        given = partial(can_give, self._chain)
        if given(first):
            return first
        return first_given(first, last, given) if given(last) else None

    def _fill_run(
        self, first: int, last: int, on_block: OnBlock | None, stop: Callable[[], bool]
    ) -> tuple[int, int]:
        """Fill from ``first`` on until ``last`` or the first that nobody can give: how many, and
        the last block that was tried."""
        filled, number = 0, first
        blocks = read_ahead(self._chain.block, first, last, workers=self._workers)
        try:
            with closing(blocks) as found:
                for block in found:
                    number = block.number
                    self._must_fit(block)
                    filled += fill_block(self._ledger, self._gathered(block))
                    if on_block is not None:
                        on_block(number, last)
                    number += 1
                    if stop():
                        break
        except PrunedStateError:
            return filled, number
        return filled, number - 1

    def _gathered(self, block: Block) -> BlockFacts:
        """What the ledger wants to know of a block in the past."""
        registry, beside = self._known_before(block)
        treasury = self._ledger.arena_state().policy_at(block.number).fee.treasury_ss58
        facts = gather(
            self._chain,
            block,
            netuid=self._netuid,
            treasury=treasury,
            registry=registry,
            beside=beside,
        )
        self._before = (block.number, registry, beside)
        return facts

    def _known_before(self, block: Block) -> tuple[dict[int, tuple[str, str]], Beside]:
        last = self._before
        follows = last is not None and last[0] == block.number - 1
        # One that was come to from inside a gap knows less than the log does after the gap.
        if last is not None and follows and last[2].subnet_owner is not None:
            return dict(last[1]), last[2].copy()
        if isinstance(header_of(self._ledger, block.number - 1), BlockObserved | OpeningObserved):
            registry, beside = self._known_at(block.number - 1)
            return dict(registry), beside
        if last is not None and follows:
            return dict(last[1]), last[2].copy()
        # Inside a gap the log knows nothing of the block before; what changed since is seen there.
        return registry_before(self._chain, self._netuid, block), Beside()

    def _must_fit(self, block: Block) -> None:
        before = header_of(self._ledger, block.number - 1)
        after = header_of(self._ledger, block.number + 1)
        if (before is not None and before.hash != block.parent_hash) or (
            after is not None and after.parent_hash != block.hash
        ):
            msg = (
                f"block {block.number} of the node is {block.hash} after {block.parent_hash}, "
                "which does not fit its recorded neighbours; the node is on another chain"
            )
            raise OtherChainError(msg)
