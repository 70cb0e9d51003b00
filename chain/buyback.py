"""Buying alpha and burning it: recorded before it is sent, matched to its events after.

A crash at any point never buys twice: a buyback is signed with the nonce that was recorded before
it was sent, and the chain takes one extrinsic of a nonce. So what was not found can be sent again,
and once the nonce is used by something else it can never land.
"""

from __future__ import annotations

from typing import Final

from chain.gathering import burns_of
from chain.port import Block, Chain, ChainUnavailableError, SendRefusedError
from ledger.application import Ledger, Unit
from ledger.commands.block_facts import AlphaBurned
from ledger.commands.causes import after_approval
from ledger.decisions.buybacks import BuybackSent
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id

ADD_STAKE_BURN: Final = "add_stake_burn"


def execute_buyback(chain: Chain, ledger: Ledger, number: int, *, amount_rao: int) -> None:
    """Send an approved buyback, or finish one that a crash left open."""
    buyback = _state(ledger).buybacks.get(number)
    if buyback is not None and buyback.ended:
        return
    sent = buyback.sent if buyback is not None else None
    if sent is None:
        nonce = chain.next_nonce(_address(ledger, ledger.head().effective_block))
        sent = ledger.decide(
            lambda unit: _treasury(unit).send_buyback(
                after_approval(unit, number), number, amount_rao, nonce
            )
        )
    elif settle_buyback(chain, ledger, number):
        return
    max_price_rao = _state(ledger).buybacks[number].planned.max_price_rao
    try:
        receipt = chain.buy_and_burn(
            ledger.arena.netuid, sent.amount_rao, max_price_rao, nonce=sent.nonce
        )
    except SendRefusedError as error:
        # Refused may also mean that an earlier sending took the nonce: look before giving up.
        if not settle_buyback(chain, ledger, number):
            _fail(ledger, sent, str(error))
        return
    if not receipt.success:
        _fail(ledger, sent, receipt.error or "the chain reports that the extrinsic failed")
    elif not _match(ledger, sent, chain.block(receipt.block.number)):
        msg = f"buyback {number} landed in block {receipt.block.number}, which shows no burn of it"
        raise ChainUnavailableError(msg)


def settle_buyback(chain: Chain, ledger: Ledger, number: int) -> bool:
    """Look for a sent buyback on chain; whether it has ended now.

    Not found while its nonce is free: False, it may be sent (again). Not found and the nonce is
    used: it can never land, which is recorded; plan another one. A node that is behind the block
    of sending cannot tell: :class:`ChainUnavailableError`.
    """
    buyback = _state(ledger).buybacks[number]
    sent = buyback.sent
    if buyback.ended or sent is None:
        return buyback.ended
    # The nonce first: a block that comes after it is asked is looked through all the same.
    nonce = chain.next_nonce(_address(ledger, sent.after_block))
    head = chain.finalized_head().number
    if head < sent.after_block:
        msg = f"the node is at block {head}, and buyback {number} was sent after {sent.after_block}"
        raise ChainUnavailableError(msg)
    for block_number in range(sent.after_block + 1, head + 1):
        if _match(ledger, sent, chain.block(block_number)):
            return True
    if nonce <= sent.nonce:
        return False
    _fail(ledger, sent, f"not found up to block {head}, and its nonce {sent.nonce} is used")
    return True


def _match(ledger: Ledger, sent: BuybackSent, block: Block) -> bool:
    address = _address(ledger, block.number)
    matched = _state(ledger).matched
    for burn in burns_of(block, address, ledger.arena.netuid):
        if (
            burn.how == ADD_STAKE_BURN
            and burn.spent_rao == sent.amount_rao
            and (block.hash, burn.extrinsic_index) not in matched
        ):
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


def _fail(ledger: Ledger, sent: BuybackSent, reason: str) -> None:
    def work(unit: Unit) -> None:
        unit.because(sent)
        _treasury(unit).fail_buyback(unit.context, sent.number, reason)

    ledger.decide(work)


def _state(ledger: Ledger) -> Treasury:
    return ledger.load(Treasury, treasury_id(ledger.arena))


def _address(ledger: Ledger, block: int) -> str:
    return ledger.arena_state().policy_at(block).fee.treasury_ss58


def _treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))
