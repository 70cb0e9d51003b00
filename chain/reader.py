"""From finalized blocks to facts: the cursor that follows a chain into one arena's log.

The log itself is the cursor: the next block to read is the one after its newest. Each block is
recorded whole in one transaction, so a crash at any point leaves no half-read block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final
from uuid import UUID

from chain.ahead import read_ahead
from chain.payments import (
    gather_payment,
    treasury_deposits,
    treasury_network_fees,
    treasury_withdrawals,
)
from chain.port import (
    Block,
    BlockRef,
    ChainEvent,
    ChainReader,
    ChainUnavailableError,
    Commit,
    OtherChainError,
)
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.blocks import (
    AlphaBurned,
    BlockFacts,
    CommitFound,
    Deposit,
    EpochPaid,
    FeePaid,
    NeuronChange,
    OpeningState,
    OwnerChange,
    Withdrawal,
    record_balances,
    record_block,
    record_opening,
)
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.submission import Submission
from ledger.keys import block_key
from ledger.observations import BlockObserved
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import PaymentEvidence

SUBTENSOR: Final = "SubtensorModule"

OWNER_MAY_CHANGE: Final = frozenset({"ColdkeySwapped", "HotkeySwapped"})
SUBNET_OWNER_MAY_CHANGE: Final = frozenset(
    {"ColdkeySwapped", "HotkeySwapped", "SubnetOwnerChanged", "SubnetOwnerHotkeySet"}
)

Registry = Mapping[int, tuple[str, str]]
"""Hotkey and coldkey by UID."""


class BlockReader:
    """Reads one arena's blocks. ``registry`` is who held which UID at the log's newest block.

    ``workers`` blocks are read ahead at the same time, where the chain bears it.
    """

    def __init__(
        self, chain: ChainReader, ledger: Ledger, registry: Registry, *, workers: int = 1
    ) -> None:
        self._workers = workers
        self._chain = chain
        self._ledger = ledger
        self._registry = dict(registry)
        self._netuid = ledger.arena.netuid
        self._newest: BlockRef | None = None
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
        )
        record_opening(self._ledger, state)
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
        blocks = read_ahead(self._chain.block, first, last, workers=self._workers)
        with closing(blocks):
            for block in blocks:
                self._record(block)
                if on_block is not None:
                    on_block(block.number, last)
        return max(0, last - first + 1)

    # -- one block --------------------------------------------------------------------------

    def _record(self, block: Block) -> None:
        self._must_follow(block)
        treasury = self._treasury(block.number)
        # A copy, until the block is recorded: one that fails half-way is read again from before.
        registry = dict(self._registry)
        neurons = self._registrations(block, registry)
        owners = self._owner_changes(block, registry)
        record_block(
            self._ledger,
            BlockFacts(
                number=block.number,
                hash=block.hash,
                parent_hash=block.parent_hash,
                timestamp_ms=block.timestamp_ms,
                spec_version=block.spec_version,
                neurons=neurons,
                owners=owners,
                subnet_owner=self._subnet_owner(block),
                deposits=deposits_of(block, treasury),
                withdrawals=withdrawals_of(block, treasury),
                fees=fees_of(block, treasury),
                burns=burns_of(block, treasury, self._netuid),
                epoch=self._epoch(block),
                commits=tuple(
                    self._commit(block, commit, registry)
                    for commit in self._chain.commits(block, self._netuid)
                ),
            ),
        )
        self._registry = registry
        self._newest = block.ref

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
        # The block before is nearly always the one just recorded; only the first is looked up.
        before = self._newest
        if before is None or before.number != block.number - 1:
            known = self._ledger.known(block_key(self._ledger.arena, block.number - 1))
            if not isinstance(known, BlockObserved):
                return
            before = BlockRef(known.number, known.hash)
        if before.hash != block.parent_hash:
            msg = (
                f"block {block.number} follows {block.parent_hash}, but block {before.number} is "
                f"recorded as {before.hash}; the node is on another chain"
            )
            raise OtherChainError(msg)

    def _treasury(self, block: int) -> str:
        arena = self._ledger.arena_state()
        return arena.policy_at(block).fee.treasury_ss58

    def _registrations(
        self, block: Block, registry: dict[int, tuple[str, str]]
    ) -> tuple[NeuronChange, ...]:
        changes = []
        for event in _subtensor(block, "NeuronRegistered"):
            netuid, uid, hotkey = (event.attributes[key] for key in ("0", "1", "2"))
            if netuid != self._netuid:
                continue
            coldkey = self._chain.owner(hotkey, block.hash)
            if coldkey is None:
                msg = f"{hotkey} was registered at block {block.number} and has no owner there"
                raise ChainUnavailableError(msg)
            before = registry.get(uid)
            changes.append(NeuronChange(uid, hotkey, coldkey, before[0] if before else None))
            registry[uid] = (hotkey, coldkey)
        return tuple(changes)

    def _owner_changes(
        self, block: Block, registry: dict[int, tuple[str, str]]
    ) -> tuple[OwnerChange, ...]:
        if not any(event.name in OWNER_MAY_CHANGE for event in _subtensor(block)):
            return ()
        changes = []
        for uid, (hotkey, coldkey) in sorted(registry.items()):
            owner = self._chain.owner(hotkey, block.hash)
            if owner is not None and owner != coldkey:
                changes.append(OwnerChange(hotkey, coldkey, owner))
                registry[uid] = (hotkey, owner)
        return tuple(changes)

    def _subnet_owner(self, block: Block) -> tuple[str, str] | None:
        if any(event.name in SUBNET_OWNER_MAY_CHANGE for event in _subtensor(block)):
            return self._chain.subnet_owner(self._netuid, block.hash)
        return None

    def _epoch(self, block: Block) -> EpochPaid | None:
        epoch = self._chain.epoch(block, self._netuid)
        if epoch is None:
            return None
        return EpochPaid(
            uids=tuple(row.uid for row in epoch.rows),
            hotkeys=tuple(row.hotkey for row in epoch.rows),
            coldkeys=tuple(row.coldkey for row in epoch.rows),
            incentive_alpha=tuple(row.incentive_alpha for row in epoch.rows),
            dividends_alpha=tuple(row.dividends_alpha for row in epoch.rows),
        )

    def _commit(self, block: Block, commit: Commit, registry: Registry) -> CommitFound:
        parsed = parse_payload(commit.payload)
        evidence: PaymentEvidence | None = PaymentEvidence()
        unanswered = ""
        if commit.succeeded and isinstance(parsed, CommitPayload):
            try:
                evidence = gather_payment(
                    self._chain,
                    hotkey=commit.hotkey,
                    payload=parsed,
                    commit_block_number=block.number,
                )
            except ChainUnavailableError as error:
                evidence, unanswered = None, str(error)
        # Our registry knows who holds the hotkey: an unregistered one's commit has failed (R9).
        held = {hotkey: (uid, coldkey) for uid, (hotkey, coldkey) in registry.items()}
        uid, coldkey = held.get(commit.hotkey, (None, None))
        return CommitFound(
            hotkey=commit.hotkey,
            coldkey=coldkey,
            uid=uid,
            form=commit.form,
            index=commit.index,
            payload=commit.payload,
            parsed=parsed,
            succeeded=commit.succeeded,
            evidence=evidence,
            unanswered=unanswered,
        )


def evidence_for(chain: ChainReader, ledger: Ledger, submission: UUID) -> PaymentEvidence:
    """Look up the payment of a commit that was deferred; raises what the chain raises."""
    commit = ledger.load(Submission, submission).commit
    if commit is None:
        msg = f"submission {submission} is unknown here"
        raise DecisionRefusedError(msg)
    parsed = parse_payload(commit.payload.encode())
    if not isinstance(parsed, CommitPayload):
        return PaymentEvidence()
    return gather_payment(
        chain, hotkey=commit.hotkey, payload=parsed, commit_block_number=commit.block
    )


def deposits_of(block: Block, treasury: str) -> tuple[Deposit, ...]:
    """What reached the treasury, one deposit per extrinsic; the runtime's own count by event."""
    found: dict[int, Deposit] = {}
    for item in treasury_deposits(block, treasury):
        # Money that the runtime itself moved has no extrinsic: a negative index keeps it apart.
        index = item.extrinsic_index
        if index is None:
            index = -1 - item.event_indices[0]
        before = found.get(index)
        found[index] = Deposit(
            extrinsic_index=index,
            extrinsic_hash=item.extrinsic_hash or "",
            sender=before.sender if before else item.sender,
            amount_rao=item.amount_rao + (before.amount_rao if before else 0),
            outer_call=item.outer_call or "",
            remarks=item.remarks,
        )
    return tuple(found.values())


def withdrawals_of(block: Block, treasury: str) -> tuple[Withdrawal, ...]:
    """What left the treasury by transfer."""
    return tuple(
        Withdrawal(
            event_index=item.event_indices[0],
            extrinsic_index=-1 if item.extrinsic_index is None else item.extrinsic_index,
            extrinsic_hash=item.extrinsic_hash or "",
            destination=item.destination,
            amount_rao=item.amount_rao,
        )
        for item in treasury_withdrawals(block, treasury)
    )


def fees_of(block: Block, treasury: str) -> tuple[FeePaid, ...]:
    """Transaction fees the treasury paid, one per extrinsic."""
    sums: dict[int, int] = {}
    for item in treasury_network_fees(block, treasury):
        index = -1 - item.event_index if item.extrinsic_index is None else item.extrinsic_index
        sums[index] = sums.get(index, 0) + item.fee_rao
    return tuple(FeePaid(index, fee_rao) for index, fee_rao in sums.items())


def burns_of(block: Block, treasury: str, netuid: int) -> tuple[AlphaBurned, ...]:
    """Alpha burned or recycled by the treasury's key on this subnet.

    ``AlphaBurned`` and ``AlphaRecycled`` carry (coldkey, hotkey, alpha, netuid); ``AddStakeBurn``
    in the same extrinsic says what was paid for it (DOMAIN 3).
    """
    paid = {
        event.extrinsic_index: int(event.attributes["amount"])
        for event in _subtensor(block, "AddStakeBurn")
        if event.attributes["netuid"] == netuid
    }
    hashes = {extrinsic.index: extrinsic.hash for extrinsic in block.extrinsics}
    burns = []
    for event in _subtensor(block, "AlphaBurned", "AlphaRecycled"):
        coldkey, hotkey, alpha, on = (event.attributes[key] for key in ("0", "1", "2", "3"))
        index = event.extrinsic_index
        if coldkey != treasury or on != netuid or index is None:
            continue
        how = "recycle_alpha" if event.name == "AlphaRecycled" else "burn_alpha"
        burns.append(
            AlphaBurned(
                extrinsic_index=index,
                extrinsic_hash=hashes[index],
                how="add_stake_burn" if index in paid else how,
                coldkey=coldkey,
                hotkey=hotkey,
                netuid=netuid,
                spent_rao=paid.get(index),
                alpha=int(alpha),
            )
        )
    return tuple(burns)


def _subtensor(block: Block, *names: str) -> list[ChainEvent]:
    return [
        event
        for event in block.events
        if event.module == SUBTENSOR and (not names or event.name in names)
    ]
