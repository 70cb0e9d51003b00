"""From finalized blocks to facts: the cursor that follows a chain into one arena's log.

The log itself is the cursor: the next block to read is the one after its newest. Each block is
recorded whole in one transaction, so a crash at any point leaves no half-read block. Blocks that
nobody can give any longer are a gap, which is recorded with the block after it; a node that merely
does not answer stops the cursor where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final

from chain.ahead import read_ahead
from chain.beside import Beside, held_from, held_weights, pool_of
from chain.foreign import ForeignBlockError, disowned
from chain.gaps import (
    can_give,
    first_given,
    registry_at,
    seen_anew,
    treasury_balances,
)
from chain.gathering import burn_uid_alerts, gather
from chain.port import (
    Block,
    ChainReader,
    ChainUnavailableError,
    OtherChainError,
    PrunedStateError,
    UnknownBlockError,
)
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.block_facts import Gap, NeuronChange, OpeningState
from ledger.commands.blocks import record_block
from ledger.commands.gaps import Header, header_of
from ledger.commands.money import record_balances
from ledger.commands.registry import Registry, changes_between, record_opening
from ledger.policy import Policy

LEFT_OUT: Final = "left out by the operator"
"""The reason of a gap that a run began with."""

MAX_RETREATS: Final = 100
"""How often a gap's end may be thrown away while it is being read, before the cursor gives up."""

MAX_REASON_CHARS: Final = 300

OnBlock = Callable[[int, int], None]
"""Told of each block recorded and of the last one there is."""


class NotFinalizedError(UnknownBlockError):
    """The block that the operator wants to begin at is not finalized yet."""


class NothingToReadError(PrunedStateError):
    """Nobody can give any of the blocks that were to be read, though later ones: see further."""


def never() -> bool:
    """Nobody asks the cursor to stop."""
    return False


class BlockReader:
    """Reads one arena's blocks.

    ``registry`` is who held which UID at the log's newest block, ``beside`` what else it knows.
    ``workers`` blocks are fetched at once and recorded in order.
    """

    def __init__(
        self,
        chain: ChainReader,
        ledger: Ledger,
        registry: Registry,
        beside: Beside | None = None,
        *,
        workers: int = 1,
    ) -> None:
        self._chain = chain
        self._ledger = ledger
        self._registry = dict(registry)
        self._beside = Beside() if beside is None else beside
        self._netuid = ledger.arena.netuid
        self._workers = workers
        self._newest: Header | Block | None = None
        self._registry_unknown = False
        if chain.genesis_hash() != ledger.arena.genesis:
            msg = (
                f"the node serves chain {chain.genesis_hash()}, the arena is of chain "
                f"{ledger.arena.genesis}; give the right node"
            )
            raise OtherChainError(msg)
        while True:
            try:
                self._must_hold_the_log()
                return
            except ForeignBlockError as error:
                if not disowned(chain, error):
                    raise

    def observe_opening(self) -> None:
        """Record who held what at the block the arena opened at; recording it again is a no-op.

        Only while no later block is in the log: afterwards the opening state is history. Where
        nobody holds that state any longer, an alert says so and the registry is observed at the
        next block instead; the opening balances stay unknown.
        """
        head = self._ledger.head()
        if head.effective_block != self._ledger.arena_state().opened_at_block:
            return
        try:
            state, self._registry = opening_state(self._chain, self._netuid, head.effective_block)
        except PrunedStateError as error:
            self._registry_unknown = True
            detail = f"who held what at block {head.effective_block} is unknown: {error}"
            raise_alert(self._ledger, "opening_unknown", detail)
            return
        self._registry_unknown = False
        record_opening(self._ledger, state)
        self._beside.subnet_owner = state.subnet_owner
        self._beside.burn_uid_is_new = True
        self._beside.burn_uid = (
            self._ledger.arena_state().policy_at(head.effective_block).weights.burn_uid
        )
        for kind, detail in burn_uid_alerts(
            None, {}, head.effective_block, self._registry, self._beside
        ):
            raise_alert(self._ledger, kind, detail)
        self.observe_balances()

    def observe_balances(self) -> None:
        """Record the treasury's finalized balances at the log's newest block.

        One that nobody can give stays unknown, which the books show as such, and raises an alert;
        asking again later at the same block fills it in. An outage raises what the chain raises.
        """
        block = self._chain.block(self._head())
        treasury = self._treasury(block.number)
        known, unknown = treasury_balances(self._chain, treasury, self._netuid, block.hash)
        if known:
            record_balances(self._ledger, known, about_block=block.number)
        if unknown:
            raise_alert(self._ledger, "balance_unknown", "; ".join(unknown))

    def ingest(
        self,
        until_block: int | None = None,
        *,
        on_block: OnBlock | None = None,
        stop: Callable[[], bool] = never,
    ) -> int:
        """Record every finalized block up to ``until_block`` (default: the head); how many.

        ``on_block(number, last)`` is told of each one; ``stop`` is asked after each. Raises what
        the chain raises; everything recorded before it stands. :class:`PrunedStateError` only where
        no block up to the head can be given, as :class:`NothingToReadError` where none up to
        ``until_block`` can. A block is missed only if it is denied twice.
        """
        finalized = self._chain.finalized_head().number
        last = finalized if until_block is None else min(until_block, finalized)
        told = on_block or (lambda *_: None)
        next_block, recorded, denied = self._head() + 1, 0, -1
        while next_block <= last and not stop():
            try:
                with closing(self._blocks(next_block, last)) as blocks:
                    for block in blocks:
                        self._record(block)
                        recorded, next_block = recorded + 1, block.number + 1
                        told(block.number, last)
                        if stop():
                            return recorded
            except PrunedStateError as error:
                if denied != next_block:  # behind one address others may answer, who have it
                    denied = next_block
                    continue
                after = self._pass_gap(next_block, last, finalized, error)
                recorded, next_block = recorded + 1, after + 1
                told(after, last)
            except ForeignBlockError as error:
                if not disowned(self._chain, error):
                    raise
                finalized = self._chain.finalized_head().number  # of those that are left
                last = finalized if until_block is None else min(until_block, finalized)
        return recorded

    def leave_out(self, from_block: int) -> bool:
        """Go on at ``from_block``: the blocks before it are a gap; whether there were any.

        Raises :class:`NotFinalizedError` for a block that is not finalized yet.
        """
        first = self._head() + 1
        if from_block <= first:
            return False
        finalized = self._chain.finalized_head().number
        if from_block > finalized:
            msg = (
                f"block {from_block} is not finalized yet, the newest is {finalized}; begin at or "
                "before that one"
            )
            raise NotFinalizedError(msg)
        gap = Gap(first, from_block - 1, LEFT_OUT)
        try:
            self._record_anew(from_block, gap)
        except PrunedStateError as error:
            self._pass_gap(from_block, finalized, finalized, error, since=first)
        return True

    # -- one block --------------------------------------------------------------------------

    def _blocks(self, first: int, last: int) -> Generator[Block, None, None]:
        return read_ahead(self._chain.block, first, last, workers=self._workers)

    def _record(self, block: Block) -> None:
        if self._registry_unknown:
            self._record_anew(block.number, None)
            return
        before = self._must_follow(block)
        # A copy, until the block is recorded: one that fails half-way is read again from before.
        registry, beside = dict(self._registry), self._beside.copy()
        arena = self._ledger.arena_state()
        policy = arena.policy_at(block.number)
        _set_burn_uid(beside, policy, known=arena.policy_at(block.number - 1))
        facts = gather(
            self._chain,
            block,
            netuid=self._netuid,
            treasury=policy.fee.treasury_ss58,
            registry=registry,
            beside=beside,
        )
        if before is not None and before.spec_version != block.spec_version:
            facts = replace(facts, upgraded_from=before.spec_version)
        record_block(self._ledger, facts)
        self._registry, self._beside, self._newest = registry, beside, block

    def _record_anew(self, number: int, gap: Gap | None) -> None:
        """Record a block whose registry cannot be followed to: all of it is observed there."""
        block = self._chain.block(number)
        before: Header | Block | None
        before = self._must_lead_on(block) if gap else self._must_follow(block)
        now, beside = registry_at(self._chain, self._netuid, block.hash), self._beside.copy()
        changes = changes_between(self._registry, now)
        arena = self._ledger.arena_state()
        policy = arena.policy_at(number)
        treasury = policy.fee.treasury_ss58
        # Where one cannot follow, nothing can be said to have drifted or changed in this block.
        facts = gather(
            self._chain,
            block,
            netuid=self._netuid,
            treasury=treasury,
            registry=dict(now),
            beside=beside,
        )
        owner = self._chain.subnet_owner(self._netuid, block.hash)
        beside.subnet_owner = owner
        _set_burn_uid(beside, policy, known=arena.policy_at(self._head()))
        facts = replace(
            facts,
            neurons=changes.neurons,
            emptied=changes.emptied,
            owners=changes.owners,
            subnet_owner=owner,
            weights=facts.weights
            if facts.epoch is not None
            else held_weights(self._chain, self._netuid, block, now, beside, all_of_them=True),
            alerts=burn_uid_alerts(self._beside.subnet_owner, self._registry, number, now, beside),
            seen_anew=seen_anew(
                self._chain, block, gap=gap, netuid=self._netuid, treasury=treasury
            ),
        )
        if before is not None and before.spec_version != block.spec_version:
            facts = replace(facts, upgraded_from=before.spec_version)
        record_block(self._ledger, facts)
        self._registry, self._beside = now, beside
        self._newest, self._registry_unknown = block, False

    def _pass_gap(
        self,
        pruned: int,
        last: int,
        finalized: int,
        error: PrunedStateError,
        *,
        since: int | None = None,
    ) -> int:
        """Go on after blocks that nobody can give, of which ``pruned`` is one; where.

        Raises ``error`` where no later block can be given either, and :class:`NothingToReadError`
        where none up to ``last`` can.
        """
        first = pruned if since is None else since
        reason = str(error)[:MAX_REASON_CHARS]
        for _ in range(MAX_RETREATS):
            after = first_given(pruned, finalized, partial(can_give, self._chain))
            if after is None:
                raise error
            if after > last:
                msg = (
                    f"blocks {first} to {after - 1} can be given by nobody, and no block up to "
                    f"{last} was to be read but those; read further, or give an archive node"
                )
                raise NothingToReadError(msg) from error
            try:
                self._record_anew(after, Gap(first, after - 1, reason))
            except PrunedStateError:
                # The chain moved on and threw this one away, too, while it was being read.
                pruned = after
                continue
            except ForeignBlockError as foreign:
                if not disowned(self._chain, foreign):
                    raise
                continue
            return after
        raise error

    # -- the right chain --------------------------------------------------------------------

    def _head(self) -> int:
        return self._ledger.head().effective_block

    def _must_hold_the_log(self) -> None:
        """The node must have the log's newest block, and the same one.

        Its header is enough: a node that was away for long holds no more of it.
        """
        head = self._head()
        finalized = self._chain.finalized_head()
        if finalized.number < head:
            msg = (
                f"the node is at block {finalized.number} and the log at block {head}: wait until "
                "the node has caught up, or give the one the log was read from"
            )
            raise ChainUnavailableError(msg)
        newest = header_of(self._ledger, head)
        if newest is not None and not self._has(newest):
            msg = f"the node's block {head} is not the one recorded; the node is on another chain"
            raise ForeignBlockError(msg, finalized)

    def _has(self, header: Header) -> bool:
        try:
            return self._chain.block_ref(header.hash).number == header.number
        except PrunedStateError as error:
            raise _no_header_of(header.number) from error
        except UnknownBlockError as error:
            try:
                # It knows a block of that number, though not that one; or it holds no header of it.
                return self._chain.block(header.number).hash == header.hash
            except PrunedStateError:
                return False
            except UnknownBlockError:
                raise _no_header_of(header.number) from error

    def _must_follow(self, block: Block) -> Header | Block | None:
        """The block must follow the one before it in the log, which is given back.

        That is nearly always the one just recorded; only the first is looked up.
        """
        before = self._newest
        if before is None or before.number != block.number - 1:
            before = self._newest = header_of(self._ledger, block.number - 1)
        if before is not None and before.hash != block.parent_hash:
            msg = (
                f"block {block.number} follows {block.parent_hash}, but block {before.number} is "
                f"recorded as {before.hash}; the node is on another chain"
            )
            raise ForeignBlockError(msg, block.ref)
        return before

    def _must_lead_on(self, block: Block) -> Header | None:
        """After a gap: headers are kept, so the node must still have the log's newest block, and
        a parent of this one in its own chain."""
        self._must_hold_the_log()
        try:
            parent = self._chain.block_ref(block.parent_hash).number
        except UnknownBlockError:
            parent = None
        if parent != block.number - 1:
            msg = (
                f"block {block.number} follows {block.parent_hash}, which is no block "
                f"{block.number - 1} of the node; it does not give one chain"
            )
            raise OtherChainError(msg)
        return header_of(self._ledger, self._head())

    def _treasury(self, block: int) -> str:
        arena = self._ledger.arena_state()
        return arena.policy_at(block).fee.treasury_ss58


def _set_burn_uid(beside: Beside, policy: Policy, *, known: Policy) -> None:
    """The burn UID under ``policy``; ``known`` is that of the log's newest block."""
    beside.burn_uid = policy.weights.burn_uid
    beside.burn_uid_is_new = beside.burn_uid != known.weights.burn_uid


def _no_header_of(number: int) -> ChainUnavailableError:
    return ChainUnavailableError(
        f"the node has no header of block {number}, which the log has; wait until it has all "
        "headers, or give another node"
    )


def opening_state(
    chain: ChainReader, netuid: int, number: int
) -> tuple[OpeningState, dict[int, tuple[str, str]]]:
    """Who holds what in the state of a block, to open an arena with, and the registry of it."""
    block = chain.block(number)
    registry = registry_at(chain, netuid, block.hash)
    state = OpeningState(
        block_hash=block.hash,
        neurons=tuple(
            NeuronChange(uid, hotkey, coldkey, None)
            for uid, (hotkey, coldkey) in sorted(registry.items())
        ),
        subnet_owner=chain.subnet_owner(netuid, block.hash),
        weights=tuple(held_from(row) for row in chain.validator_weights(netuid, block.hash)),
        pool=pool_of(chain, netuid, block.hash),
        parent_hash=block.parent_hash,
        timestamp_ms=block.timestamp_ms,
        spec_version=block.spec_version,
    )
    return state, registry
