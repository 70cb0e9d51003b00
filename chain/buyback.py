"""Buying alpha and burning it: recorded before it is sent, matched to its events after.

A crash at any point never buys twice: a buyback that was sent is looked up on chain, and sent again
only while the chain has not moved past the block at which it was about to be.
"""

from __future__ import annotations

from typing import Final

from chain.port import Block, Chain, SendRefusedError
from chain.reader import burns_of
from ledger.application import Ledger, Unit
from ledger.commands.blocks import AlphaBurned
from ledger.decisions.treasury import BuybackSent, Treasury
from ledger.keys import treasury_id

ADD_STAKE_BURN: Final = "add_stake_burn"


def execute_buyback(chain: Chain, ledger: Ledger, number: int, *, amount_rao: int) -> None:
    """Send an approved buyback, or finish one that a crash left open."""
    state = ledger.load(Treasury, treasury_id(ledger.arena))
    buyback = state.buybacks.get(number)
    if buyback is not None and buyback.ended:
        return
    sent = buyback.sent if buyback is not None else None
    if sent is None:
        sent = ledger.decide(
            lambda unit: _treasury(unit).send_buyback(unit.context, number, amount_rao)
        )
    elif settle_buyback(chain, ledger, number):
        return
    max_price_rao = (
        ledger.load(Treasury, treasury_id(ledger.arena)).buybacks[number].planned.max_price_rao
    )
    try:
        receipt = chain.buy_and_burn(ledger.arena.netuid, sent.amount_rao, max_price_rao)
    except SendRefusedError as error:
        reason = str(error)
        ledger.decide(lambda unit: _treasury(unit).fail_buyback(unit.context, number, reason))
        return
    _match(ledger, sent, chain.block(receipt.block.number))


def settle_buyback(chain: Chain, ledger: Ledger, number: int) -> bool:
    """Look for a sent buyback on chain; whether it has ended now.

    Not found while the chain stands where it was: False, it may be sent. Not found later: it never
    landed, which is recorded; plan another one.
    """
    buyback = ledger.load(Treasury, treasury_id(ledger.arena)).buybacks[number]
    if buyback.ended or buyback.sent is None:
        return buyback.ended
    head = chain.finalized_head().number
    for block_number in range(buyback.sent.after_block + 1, head + 1):
        if _match(ledger, buyback.sent, chain.block(block_number)):
            return True
    if head == buyback.sent.after_block:
        return False
    reason = f"not found on chain up to block {head}"
    ledger.decide(lambda unit: _treasury(unit).fail_buyback(unit.context, number, reason))
    return True


def _match(ledger: Ledger, sent: BuybackSent, block: Block) -> bool:
    treasury = ledger.arena_state().policy_at(block.number).fee.treasury_ss58
    for burn in burns_of(block, treasury, ledger.arena.netuid):
        if burn.how == ADD_STAKE_BURN and burn.spent_rao == sent.amount_rao:
            _record(ledger, sent, block, burn)
            return True
    return False


def _record(ledger: Ledger, sent: BuybackSent, block: Block, burn: AlphaBurned) -> None:
    def work(unit: Unit) -> None:
        unit.because(sent)
        _treasury(unit).execute_buyback(
            unit.context,
            sent.number,
            block=block.number,
            block_hash=block.hash,
            extrinsic_index=burn.extrinsic_index,
            extrinsic_hash=burn.extrinsic_hash,
            netuid=burn.netuid,
            spent_rao=burn.spent_rao,
            burned_alpha=burn.alpha,
            about_block=block.number,
        )

    ledger.decide(work)


def _treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))
