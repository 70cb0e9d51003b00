"""Recording money that moved: payments to the treasury, what left it, burns, epochs, balances."""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.commands.block_facts import BlockFacts
from ledger.decisions.arena import Arena
from ledger.decisions.payment import Payment
from ledger.keys import payment_id
from ledger.observations import (
    AlphaBurnSeen,
    BalanceObserved,
    EpochObserved,
    NetworkFeeSeen,
    TreasuryTransferSeen,
)
from ledger.policy import FeePolicy, PolicyError

MAX_REMARKS: Final = 16
MAX_REMARK_CHARS: Final = 256
"""How much of a payment's remarks is kept: anybody may send a batch of megabytes of them."""


def record_money(unit: Unit, facts: BlockFacts) -> None:
    arena = unit.context.arena
    treasury = fee_policy(unit.arena, facts.number).treasury_ss58
    for deposit in facts.deposits:
        identity = payment_id(arena.genesis, facts.hash, deposit.extrinsic_index)
        payment = unit.begin(Payment, identity)  # this block is new, and so is what is in it
        payment.see(
            unit.context,
            f"payment:{arena.genesis}:{facts.hash}:{deposit.extrinsic_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=deposit.extrinsic_index,
            extrinsic_hash=deposit.extrinsic_hash,
            sender=deposit.sender,
            treasury=treasury,
            amount_rao=deposit.amount_rao,
            outer_call=deposit.outer_call,
            remarks=kept_remarks(deposit.remarks),
        )
    for out in facts.withdrawals:
        unit.observe(
            TreasuryTransferSeen,
            f"out:{arena}:{facts.hash}:{out.event_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=out.extrinsic_index,
            extrinsic_hash=out.extrinsic_hash,
            destination=out.destination,
            amount_rao=out.amount_rao,
        )
    for fee in facts.fees:
        unit.observe(
            NetworkFeeSeen,
            f"fee:{arena}:{facts.hash}:{fee.extrinsic_index}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=fee.extrinsic_index,
            payer=treasury,
            fee_rao=fee.fee_rao,
        )
    burns_of: dict[int, int] = {}
    for burn in facts.burns:
        burns_of[burn.extrinsic_index] = place = burns_of.get(burn.extrinsic_index, 0) + 1
        further = f":{place}" if place > 1 else ""  # one batch may burn several times
        unit.observe(
            AlphaBurnSeen,
            f"burn:{arena}:{facts.hash}:{burn.extrinsic_index}{further}",
            block=facts.number,
            block_hash=facts.hash,
            extrinsic_index=burn.extrinsic_index,
            extrinsic_hash=burn.extrinsic_hash,
            how=burn.how,
            coldkey=burn.coldkey,
            hotkey=burn.hotkey,
            netuid=burn.netuid,
            spent_rao=burn.spent_rao,
            alpha=burn.alpha,
            by_treasury=burn.coldkey == treasury,
        )
    if facts.epoch is not None:
        unit.observe(
            EpochObserved,
            f"epoch:{arena}:{facts.number}",
            block=facts.number,
            block_hash=facts.hash,
            uids=facts.epoch.uids,
            hotkeys=facts.epoch.hotkeys,
            coldkeys=facts.epoch.coldkeys,
            incentive_alpha=facts.epoch.incentive_alpha,
            dividends_alpha=facts.epoch.dividends_alpha,
        )


def record_balances(
    ledger: Ledger, balances: tuple[tuple[str, str, int, str], ...], *, about_block: int
) -> None:
    """Record balances as the outside states them: (asset, account, amount, source) each."""

    ledger.decide(lambda unit: note_balances(unit, balances, about_block=about_block))


def note_balances(
    unit: Unit, balances: tuple[tuple[str, str, int, str], ...], *, about_block: int
) -> None:
    """The same, in a unit that records more."""
    for asset, account, amount, source in balances:
        unit.observe(
            BalanceObserved,
            f"balance:{unit.context.arena}:{asset}:{account}:{about_block}",
            asset=asset,
            account=account,
            amount=amount,
            source=source,
            about_block=about_block,
        )


def kept_remarks(remarks: tuple[str, ...]) -> tuple[str, ...]:
    """As much of a payment's remarks as is recorded."""
    return tuple(remark[:MAX_REMARK_CHARS] for remark in remarks[:MAX_REMARKS])


def fee_policy(arena: Arena, block: int) -> FeePolicy:
    """The fee in force at a block; before the arena opened, the one it opened with."""
    try:
        return arena.policy_at(block).fee
    except PolicyError:
        return arena.policies[0].policy.fee
