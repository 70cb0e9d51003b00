"""From finalized blocks to facts: the cursor that follows a chain into one arena's log.

The log itself is the cursor: the next block to read is the one after its newest. Each block is
recorded whole in one transaction, so a crash at any point leaves no half-read block.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.beside import Beside, held_from, pool_of
from chain.gathering import gather
from chain.port import Block, ChainError, ChainReader, ChainUnavailableError
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.block_facts import NeuronChange, OpeningState
from ledger.commands.blocks import record_block
from ledger.commands.money import record_balances
from ledger.commands.registry import Registry, record_opening
from ledger.keys import block_key
from ledger.observations import BlockObserved


class OtherChainError(ChainError):
    """The node serves another chain than the one the log was read from."""


class BlockReader:
    """Reads one arena's blocks.

    ``registry`` is who held which UID at the log's newest block, ``beside`` what else it knows.
    """

    def __init__(
        self,
        chain: ChainReader,
        ledger: Ledger,
        registry: Registry,
        beside: Beside | None = None,
    ) -> None:
        self._chain = chain
        self._ledger = ledger
        self._registry = dict(registry)
        self._beside = Beside() if beside is None else beside
        self._netuid = ledger.arena.netuid
        if chain.genesis_hash() != ledger.arena.genesis:
            msg = (
                f"the node serves chain {chain.genesis_hash()}, the arena is of chain "
                f"{ledger.arena.genesis}; give the right node"
            )
            raise OtherChainError(msg)
        self._must_hold_the_log()

    def observe_opening(self) -> None:
        """Record who held what at the block the arena opened at; recording it again is a no-op.

        Only while no later block is in the log: afterwards the opening state is history.
        """
        head = self._ledger.head()
        if head.effective_block != self._ledger.arena_state().opened_at_block:
            return
        block = self._chain.block(head.effective_block)
        neurons = self._chain.neurons(self._netuid, block.hash)
        self._registry = {neuron.uid: (neuron.hotkey, neuron.coldkey) for neuron in neurons}
        state = OpeningState(
            block_hash=block.hash,
            neurons=tuple(
                NeuronChange(neuron.uid, neuron.hotkey, neuron.coldkey, None) for neuron in neurons
            ),
            subnet_owner=self._chain.subnet_owner(self._netuid, block.hash),
            weights=tuple(
                held_from(row) for row in self._chain.validator_weights(self._netuid, block.hash)
            ),
            pool=pool_of(self._chain, self._netuid, block.hash),
        )
        record_opening(self._ledger, state)
        self._beside.subnet_owner = state.subnet_owner
        self.observe_balances()

    def observe_balances(self) -> None:
        """Record the treasury's finalized balances at the log's newest block.

        One that the node cannot give stays unknown, which the books show as such, and raises an
        alert; asking again later at the same block fills it in.
        """
        head = self._ledger.head()
        treasury = self._treasury(head.effective_block)
        block = self._chain.block(head.effective_block)
        asked: tuple[tuple[str, Callable[[], int]], ...] = (
            ("TAO", lambda: self._chain.balance_rao(treasury, block.hash)),
            ("ALPHA", lambda: self._chain.stake_alpha(treasury, self._netuid, block.hash)),
        )
        for asset, ask in asked:
            try:
                balances = ((asset, treasury, ask(), "chain"),)
            except ChainUnavailableError as error:
                detail = f"the {asset} balance of {treasury} is unknown: {error}"
                raise_alert(self._ledger, "balance_unknown", detail[:1_000])
            else:
                record_balances(self._ledger, balances, about_block=block.number)

    def ingest(
        self, until_block: int | None = None, *, on_block: Callable[[int, int], None] | None = None
    ) -> int:
        """Record every finalized block up to ``until_block`` (default: the head); how many.

        ``on_block(number, last)`` is told of each one. Raises what the chain raises; everything
        recorded before it stands.
        """
        finalized = self._chain.finalized_head().number
        last = finalized if until_block is None else min(until_block, finalized)
        first = self._ledger.head().effective_block + 1
        for number in range(first, last + 1):
            self._record(self._chain.block(number))
            if on_block is not None:
                on_block(number, last)
        return max(0, last - first + 1)

    # -- one block --------------------------------------------------------------------------

    def _record(self, block: Block) -> None:
        self._must_follow(block)
        # A copy, until the block is recorded: one that fails half-way is read again from before.
        registry, beside = dict(self._registry), self._beside.copy()
        policy = self._ledger.arena_state().policy_at(block.number)
        beside.burn_uid = policy.weights.burn_uid
        facts = gather(
            self._chain,
            block,
            netuid=self._netuid,
            treasury=policy.fee.treasury_ss58,
            registry=registry,
            beside=beside,
        )
        record_block(self._ledger, facts)
        self._registry, self._beside = registry, beside

    def _must_hold_the_log(self) -> None:
        """The node must have the log's newest block, and the same one."""
        head = self._ledger.head().effective_block
        finalized = self._chain.finalized_head().number
        if finalized < head:
            msg = (
                f"the node is at block {finalized} and the log at block {head}: wait until the "
                "node has caught up, or give the one the log was read from"
            )
            raise ChainUnavailableError(msg)
        newest = self._ledger.known(block_key(self._ledger.arena, head))
        if isinstance(newest, BlockObserved) and newest.hash != self._chain.block(head).hash:
            msg = f"the node's block {head} is not the one recorded; the node is on another chain"
            raise OtherChainError(msg)

    def _must_follow(self, block: Block) -> None:
        before = self._ledger.known(block_key(self._ledger.arena, block.number - 1))
        if isinstance(before, BlockObserved) and before.hash != block.parent_hash:
            msg = (
                f"block {block.number} follows {block.parent_hash}, but block {before.number} is "
                f"recorded as {before.hash}; the node is on another chain"
            )
            raise OtherChainError(msg)

    def _treasury(self, block: int) -> str:
        arena = self._ledger.arena_state()
        return arena.policy_at(block).fee.treasury_ss58
