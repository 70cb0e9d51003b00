"""From one finalized block to what the ledger wants to know of it.

:func:`gather` asks the chain what the block itself does not show (owners, epochs, the payments that
its commits name); the functions below it only look at the decoded block.
"""

from __future__ import annotations

from uuid import UUID

from chain.beside import Beside, held_weights, pool_of, touched_locks, treasury_staked
from chain.burns import alpha_burns, registration_costs
from chain.commits import failed_left_out, sealed_commits
from chain.earnings import earned_of
from chain.holders import drift, move_on, subnet_owner_after
from chain.payments import (
    gather_payment,
    treasury_deposits,
    treasury_network_fees,
    treasury_withdrawals,
)
from chain.port import Block, ChainReader, ChainUnavailableError, Commit, Epoch
from ledger.application import Ledger
from ledger.commands.block_facts import (
    AlphaBurned,
    BlockFacts,
    CommitFound,
    Deposit,
    EpochPaid,
    FeePaid,
    SealedFound,
    Withdrawal,
)
from ledger.commands.registry import Registry, changes_between
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.submission import Submission
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import PaymentEvidence
from ledger.rules.weights import burn_uid_eligible


def gather(
    chain: ChainReader,
    block: Block,
    *,
    netuid: int,
    treasury: str,
    registry: dict[int, tuple[str, str]],
    beside: Beside | None = None,
) -> BlockFacts:
    """Everything the ledger wants to know of ``block``.

    ``registry`` and ``beside`` are what the log knows of the block before it, and are moved on to
    its state; without ``beside`` nothing but the registry counts as known. Raises what the chain
    raises; both are then worth nothing.
    """
    beside = Beside() if beside is None else beside
    alerts: list[tuple[str, str]] = []
    before = dict(registry)
    epoch = chain.epoch(block, netuid)
    if epoch is not None and (wrong := drift(registry, epoch)):
        alerts.append(("registry_drifted", wrong))
        registry.clear()
        registry.update((row.uid, (row.hotkey, row.coldkey)) for row in epoch.rows)
    move_on(chain, netuid, block, registry)
    changes = changes_between(before, registry)
    known_owner, owner = beside.subnet_owner, subnet_owner_after(chain, netuid, block)
    if owner is not None:
        beside.subnet_owner = owner
    alerts += burn_uid_alerts(known_owner, before, block.number, registry, beside)
    if left_out := failed_left_out(block, netuid):
        detail = f"{left_out} more failed commits of block {block.number} are listed nowhere"
        alerts.append(("failed_commits_left_out", detail))
    earned = () if epoch is None else earned_of(chain, netuid, block, epoch, treasury, alerts)
    look = epoch is not None or treasury_staked(block, treasury)
    return BlockFacts(
        number=block.number,
        hash=block.hash,
        parent_hash=block.parent_hash,
        timestamp_ms=block.timestamp_ms,
        spec_version=block.spec_version,
        neurons=changes.neurons,
        emptied=changes.emptied,
        owners=changes.owners,
        subnet_owner=None if owner == known_owner else owner,
        deposits=deposits_of(block, treasury),
        withdrawals=withdrawals_of(block, treasury),
        fees=fees_of(block, treasury),
        burns=alpha_burns(block, netuid),
        registrations=registration_costs(block, netuid),
        epoch=None if epoch is None else _paid(epoch),
        pool=pool_of(chain, netuid, block.hash) if look else None,
        earned=earned,
        weights=held_weights(chain, netuid, block, registry, beside, all_of_them=epoch is not None),
        treasury_alpha=_alpha(chain, netuid, block, treasury, beside, alerts) if look else None,
        locks=touched_locks(chain, netuid, block, beside),
        commits=tuple(
            commit_found(chain, block, commit, registry) for commit in chain.commits(block, netuid)
        ),
        alerts=tuple(alerts),
        sealed=sealed_found(block, netuid, registry),
    )


def burn_uid_alerts(
    known_owner: tuple[str, str] | None,
    before: Registry,
    number: int,
    after: Registry,
    beside: Beside,
) -> tuple[tuple[str, str], ...]:
    """An alert if the burn UID does not belong to the subnet's owner any more after a block.

    ``known_owner`` and ``before`` are what was known before it, ``after`` and ``beside`` after it.
    Of a burn UID that is new nothing was.
    """
    uid = beside.burn_uid
    if uid is None:
        return ()
    new = beside.burn_uid_is_new
    was = None if new else burn_uid_eligible(before.get(uid), known_owner)
    eligible = burn_uid_eligible(after.get(uid), beside.subnet_owner)
    if eligible is True or was is False or (was is None and eligible is None):
        return ()
    holder, owner = after.get(uid), beside.subnet_owner
    detail = (
        f"burn UID {uid} does not belong to the subnet's owner after block {number}: "
        f"it is held by {' of '.join(holder) if holder else 'nobody'}, and the subnet by "
        f"{' of '.join(owner) if owner else 'nobody known'}"
    )
    return (("burn_uid_not_eligible", detail),)


def _alpha(
    chain: ChainReader,
    netuid: int,
    block: Block,
    treasury: str,
    beside: Beside,
    alerts: list[tuple[str, str]],
) -> int | None:
    answer = beside.alpha.ask(chain, treasury, netuid, block)
    if isinstance(answer, str):
        alerts.append(("balance_unknown", answer))
        return None
    return answer


def _paid(epoch: Epoch) -> EpochPaid:
    return EpochPaid(
        uids=tuple(row.uid for row in epoch.rows),
        hotkeys=tuple(row.hotkey for row in epoch.rows),
        coldkeys=tuple(row.coldkey for row in epoch.rows),
        incentive_alpha=tuple(row.incentive_alpha for row in epoch.rows),
        dividends_alpha=tuple(row.dividends_alpha for row in epoch.rows),
        previous_block=epoch.previous_block,
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
    """Alpha burned or recycled by the treasury's key on this subnet."""
    return tuple(burn for burn in alpha_burns(block, netuid) if burn.coldkey == treasury)
