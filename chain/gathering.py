"""From one finalized block to what the ledger wants to know of it.

:func:`gather` asks the chain what the block itself does not show (owners, epochs, the payments that
its commits name); the functions below it only look at the decoded block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from chain.commits import sealed_commits
from chain.payments import (
    gather_payment,
    treasury_deposits,
    treasury_network_fees,
    treasury_withdrawals,
)
from chain.port import Block, ChainEvent, ChainReader, ChainUnavailableError, Commit
from ledger.application import Ledger
from ledger.commands.block_facts import (
    AlphaBurned,
    BlockFacts,
    CommitFound,
    Deposit,
    EpochPaid,
    FeePaid,
    NeuronChange,
    OwnerChange,
    SealedFound,
    Withdrawal,
)
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.submission import Submission
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import PaymentEvidence

SUBTENSOR: Final = "SubtensorModule"

OWNER_MAY_CHANGE: Final = frozenset({"ColdkeySwapped", "HotkeySwapped"})
SUBNET_OWNER_MAY_CHANGE: Final = frozenset(
    {"ColdkeySwapped", "HotkeySwapped", "SubnetOwnerChanged", "SubnetOwnerHotkeySet"}
)

Registry = Mapping[int, tuple[str, str]]
"""Hotkey and coldkey by UID."""


def gather(
    chain: ChainReader,
    block: Block,
    *,
    netuid: int,
    treasury: str,
    registry: dict[int, tuple[str, str]],
) -> BlockFacts:
    """Everything the ledger wants to know of ``block``; ``registry`` is moved on to its state.

    Raises what the chain raises; ``registry`` is then worth nothing.
    """
    neurons = _registrations(chain, netuid, block, registry)
    owners = _owner_changes(chain, block, registry)
    return BlockFacts(
        number=block.number,
        hash=block.hash,
        parent_hash=block.parent_hash,
        timestamp_ms=block.timestamp_ms,
        spec_version=block.spec_version,
        neurons=neurons,
        owners=owners,
        subnet_owner=_subnet_owner(chain, netuid, block),
        deposits=deposits_of(block, treasury),
        withdrawals=withdrawals_of(block, treasury),
        fees=fees_of(block, treasury),
        burns=burns_of(block, treasury, netuid),
        epoch=_epoch(chain, netuid, block),
        commits=tuple(
            commit_found(chain, block, commit, registry) for commit in chain.commits(block, netuid)
        ),
        sealed=sealed_found(block, netuid, registry),
    )


def _registrations(
    chain: ChainReader, netuid: int, block: Block, registry: dict[int, tuple[str, str]]
) -> tuple[NeuronChange, ...]:
    changes = []
    for event in _subtensor(block, "NeuronRegistered"):
        on, uid, hotkey = (event.attributes[key] for key in ("0", "1", "2"))
        if on != netuid:
            continue
        coldkey = chain.owner(hotkey, block.hash)
        if coldkey is None:
            msg = f"{hotkey} was registered at block {block.number} and has no owner there"
            raise ChainUnavailableError(msg)
        before = registry.get(uid)
        changes.append(NeuronChange(uid, hotkey, coldkey, before[0] if before else None))
        registry[uid] = (hotkey, coldkey)
    return tuple(changes)


def _owner_changes(
    chain: ChainReader, block: Block, registry: dict[int, tuple[str, str]]
) -> tuple[OwnerChange, ...]:
    if not any(event.name in OWNER_MAY_CHANGE for event in _subtensor(block)):
        return ()
    changes = []
    for uid, (hotkey, coldkey) in sorted(registry.items()):
        owner = chain.owner(hotkey, block.hash)
        if owner is not None and owner != coldkey:
            changes.append(OwnerChange(hotkey, coldkey, owner))
            registry[uid] = (hotkey, owner)
    return tuple(changes)


def _subnet_owner(chain: ChainReader, netuid: int, block: Block) -> tuple[str, str] | None:
    if any(event.name in SUBNET_OWNER_MAY_CHANGE for event in _subtensor(block)):
        return chain.subnet_owner(netuid, block.hash)
    return None


def _epoch(chain: ChainReader, netuid: int, block: Block) -> EpochPaid | None:
    epoch = chain.epoch(block, netuid)
    if epoch is None:
        return None
    return EpochPaid(
        uids=tuple(row.uid for row in epoch.rows),
        hotkeys=tuple(row.hotkey for row in epoch.rows),
        coldkeys=tuple(row.coldkey for row in epoch.rows),
        incentive_alpha=tuple(row.incentive_alpha for row in epoch.rows),
        dividends_alpha=tuple(row.dividends_alpha for row in epoch.rows),
    )


def commit_found(
    chain: ChainReader, block: Block, commit: Commit, registry: Registry
) -> CommitFound:
    """A commit with what the chain shows of its payment; a node that cannot answer is noted."""
    parsed = parse_payload(commit.payload)
    evidence: PaymentEvidence | None = PaymentEvidence()
    unanswered = ""
    if commit.succeeded and isinstance(parsed, CommitPayload):
        try:
            evidence = gather_payment(
                chain,
                hotkey=commit.hotkey,
                payload=parsed,
                commit_block_number=block.number,
            )
        except ChainUnavailableError as error:
            evidence, unanswered = None, str(error)
    uid, coldkey = _holder(commit.hotkey, registry)
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
        nth=commit.nth,
    )


def sealed_found(block: Block, netuid: int, registry: Registry) -> tuple[SealedFound, ...]:
    """The timelocked commitments made in a block."""
    found = []
    for sealed in sealed_commits(block, netuid):
        uid, coldkey = _holder(sealed.hotkey, registry)
        found.append(
            SealedFound(
                hotkey=sealed.hotkey,
                coldkey=coldkey,
                uid=uid,
                extrinsic_index=sealed.index,
                nth=sealed.nth,
                extrinsic_hash=sealed.extrinsic_hash,
                reveal_round=sealed.reveal_round,
                succeeded=sealed.succeeded,
            )
        )
    return tuple(found)


def _holder(hotkey: str, registry: Registry) -> tuple[int | None, str | None]:
    """UID and coldkey of a hotkey; an unregistered one has none, and its commit has failed (R9)."""
    for uid, (held_by, coldkey) in registry.items():
        if held_by == hotkey:
            return uid, coldkey
    return None, None


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
