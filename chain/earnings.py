"""What an epoch put under the treasury's coldkey, so that its stake can be reconciled (DOMAIN 3).

As a miner and as a validator from the epoch's rows, as the subnet's owner from
:meth:`chain.port.ChainReader.owner_cut`. Incentive of the subnet's owner is withheld and never
staked (DOMAIN 5), so it is not earned. A validator's row holds what its hotkey was paid: where
others delegate to the hotkey, their part of it shows in the residual.
"""

from __future__ import annotations

from typing import Final

from chain.port import Block, ChainReader, ChainUnavailableError, Epoch, PrunedStateError
from ledger.commands.block_facts import AlphaEarnedFound

UNKNOWN: Final = "alpha_earned_unknown"
"""The alert of what was paid to the treasury and cannot be told; the books then lack it."""


def earned_of(
    chain: ChainReader,
    netuid: int,
    block: Block,
    epoch: Epoch,
    treasury: str,
    alerts: list[tuple[str, str]],
) -> tuple[AlphaEarnedFound, ...]:
    """What the epoch paid to the treasury. What cannot be told of it is left out and alerted.

    Raises what the chain raises: an outage is no answer.
    """
    rows = [row for row in epoch.rows if row.coldkey == treasury]
    earned = [AlphaEarnedFound("dividends", sum(row.dividends_alpha for row in rows))]
    owner = _owner_before(chain, netuid, block)
    if owner is None:
        if rows:
            detail = f"who owned the subnet at the epoch of block {block.number} cannot be told"
            alerts.append((UNKNOWN, detail))
        return tuple(earned)
    staked = (row for row in rows if row.hotkey != owner[0] and row.coldkey != owner[1])
    earned.append(AlphaEarnedFound("incentive", sum(row.incentive_alpha for row in staked)))
    if owner[1] == treasury:
        cut = _cut_told(chain, netuid, block, treasury)
        if cut is None:
            detail = f"the owner's cut of the epoch of block {block.number} cannot be told"
            alerts.append((UNKNOWN, detail))
        else:
            earned.append(AlphaEarnedFound("owner_cut", cut))
    return tuple(earned)


def _owner_before(chain: ChainReader, netuid: int, block: Block) -> tuple[str, str] | None:
    """Who owned the subnet before a block: its epoch ran before its extrinsics, and paid that one.

    After it, where its parent's state is no longer held, as behind a gap.
    """
    try:
        return chain.subnet_owner(netuid, block.parent_hash)
    except PrunedStateError:
        return chain.subnet_owner(netuid, block.hash)


def _cut_told(chain: ChainReader, netuid: int, block: Block, treasury: str) -> int | None:
    """The owner's cut; None where nobody can tell it.

    A node that tells a balance beside it and fails at the cut twice cannot tell it: its runtime may
    keep it elsewhere, or the state before is gone. One that tells neither is an outage, and raised.
    """
    try:
        return chain.owner_cut(block, netuid)
    except ChainUnavailableError:
        chain.balance_rao(treasury, block.hash)
    try:
        return chain.owner_cut(block, netuid)
    except ChainUnavailableError:
        return None
