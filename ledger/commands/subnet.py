"""Recording what the chain shows of the subnet: weights held, the pool, costs, locks."""

from __future__ import annotations

from typing import Final

from ledger.application import Unit
from ledger.commands.alerts import note_alert
from ledger.commands.block_facts import BlockFacts, EpochPaid, HeldWeights, PoolSeen
from ledger.commands.money import fee_policy, note_balances
from ledger.observations import (
    LockObserved,
    PoolObserved,
    PriceObserved,
    RegistrationCostSeen,
    WeightsReadBack,
)
from ledger.rules.weights import held_form

CHAIN: Final = "chain"
"""The source of what the runtime itself states."""


def record_subnet(unit: Unit, facts: BlockFacts) -> None:
    """Record the subnet's state as far as the block changed or showed it."""
    arena = unit.context.arena
    for cost in facts.registrations:
        unit.observe(
            RegistrationCostSeen,
            f"registration-cost:{arena}:{facts.hash}:{cost.event_index}",
            block=facts.number,
            uid=cost.uid,
            hotkey=cost.hotkey,
            payer=cost.payer,
            cost_rao=cost.cost_rao,
        )
    if facts.pool is not None:
        record_pool(unit, facts.number, facts.pool)
    if facts.treasury_alpha is not None:
        treasury = fee_policy(unit.arena, facts.number).treasury_ss58
        balance = ("ALPHA", treasury, facts.treasury_alpha, CHAIN)
        note_balances(unit, (balance,), about_block=facts.number)
    if facts.epoch is not None:
        _miss_epoch(unit, facts.number, facts.epoch)
    for held in facts.weights:
        record_held(unit, facts.number, held)
    for lock in facts.locks:
        unit.observe(
            LockObserved,
            f"lock:{arena}:{facts.number}:{lock.coldkey}",
            block=facts.number,
            hotkey=lock.hotkey,
            coldkey=lock.coldkey,
            locked_alpha=lock.locked_alpha,
            conviction_alpha=lock.conviction_alpha,
            last_update=lock.last_update,
            perpetual=lock.perpetual,
            unlock_blocks=lock.unlock_blocks,
            maturity_blocks=lock.maturity_blocks,
        )


def _miss_epoch(unit: Unit, number: int, epoch: EpochPaid) -> None:
    """Raise an alert where the chain says that an epoch ran which the log does not have."""
    previous = epoch.previous_block
    if previous is None or previous <= unit.arena.opened_at_block:
        return
    if unit.ledger.known(f"epoch:{unit.context.arena}:{previous}") is None:
        detail = (
            f"the epoch of block {previous} is not in the log, though the one of block "
            f"{number} followed it: what it paid is unknown until that block is read"
        )
        note_alert(unit, "epoch_missed", detail)


def record_pool(unit: Unit, block: int, pool: PoolSeen) -> None:
    """Note the pool of a block, and the price that the runtime states there."""
    arena = unit.context.arena
    unit.observe(
        PoolObserved,
        f"pool:{arena}:{block}",
        block=block,
        tao_rao=pool.tao_rao,
        alpha_in=pool.alpha_in,
        alpha_out=pool.alpha_out,
    )
    if pool.price_rao is not None:
        unit.observe(
            PriceObserved,
            f"price:{arena}:ALPHA/TAO:{CHAIN}:{block}",
            pair="ALPHA/TAO",
            price=pool.price_rao,
            source=CHAIN,
            about_block=block,
        )


def record_held(unit: Unit, block: int, held: HeldWeights) -> WeightsReadBack:
    """Note what a validator holds at a block. Whoever reads it back there notes the same fact."""
    form = held_form(held.uids, held.values)
    return unit.observe(
        WeightsReadBack,
        f"weights-held:{unit.context.arena}:{held.validator_hotkey}:{block}",
        block=block,
        validator_hotkey=held.validator_hotkey,
        uids=form.uids,
        values=form.values,
        digest=form.digest,
        raw_values=form.raw_values,
        last_update=held.last_update,
    )
