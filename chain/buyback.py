"""Buying alpha and burning it: recorded before it is sent, matched to its events after.

A crash at any point never buys twice: a buyback is signed with the nonce that was recorded before
it was sent, and the chain takes one extrinsic of a nonce. So what was not found can be sent again,
and once the nonce is used by something else it can never land.
"""

from __future__ import annotations

from typing import Final

from chain.gathering import burns_of
from chain.lookup import Landed, look_up
from chain.orders import StakeBurnOrder
from chain.port import Block, Chain, ChainUnavailableError, Sending, SendRefusedError
from ledger.application import Ledger, Unit
from ledger.commands.block_facts import AlphaBurned
from ledger.commands.causes import after_approval
from ledger.decisions.treasury import BuybackSent, Treasury
from ledger.keys import treasury_id

ADD_STAKE_BURN: Final = "add_stake_burn"


def execute_buyback(
    chain: Chain, ledger: Ledger, number: int, *, amount_rao: int, hotkey: str
) -> None:
    """Send an approved buyback, or finish one that a crash left open.

    The alpha is bought as stake on ``hotkey`` and burned in the same extrinsic.
    """
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
    order = StakeBurnOrder(
        netuid=ledger.arena.netuid,
        hotkey=hotkey,
        amount_rao=sent.amount_rao,
        max_price_rao=_state(ledger).buybacks[number].planned.max_price_rao,
    )
    try:
        chain.send(chain.prepare(order, _sending(ledger, sent)))
    except SendRefusedError as error:
        # Refused may also mean that an earlier sending took the nonce: look before giving up.
        if not settle_buyback(chain, ledger, number):
            _fail(ledger, sent, str(error))
        return
    if not settle_buyback(chain, ledger, number):
        msg = f"buyback {number} was reported as final, and no finalized block shows it"
        raise ChainUnavailableError(msg)


def settle_buyback(chain: Chain, ledger: Ledger, number: int) -> bool:
    """Look for a sent buyback on chain; whether it has ended now.

    Not found while it may still land: False, it may be sent (again). Not found and too late to
    land, or its nonce used by something else: recorded as failed; plan another one. A node that is
    behind the block of sending cannot tell: :class:`ChainUnavailableError`.
    """
    buyback = _state(ledger).buybacks[number]
    sent = buyback.sent
    if buyback.ended or sent is None:
        return buyback.ended
    sending = _sending(ledger, sent)
    outlook = look_up(chain, sending)
    if outlook.landed is not None:
        _settle_landed(ledger, sent, outlook.landed)
    elif outlook.may_still_land:
        return False
    else:
        head = outlook.head
        _fail(ledger, sent, f"not found up to block {head}, and too late to land")
    return True


def _settle_landed(ledger: Ledger, sent: BuybackSent, landed: Landed) -> None:
    extrinsic, block = landed.extrinsic, landed.block
    burn = next(
        (
            burn
            for burn in burns_of(block, sent_by(ledger, sent), ledger.arena.netuid)
            if burn.how == ADD_STAKE_BURN
            and burn.extrinsic_index == extrinsic.index
            and burn.spent_rao == sent.amount_rao
        ),
        None,
    )
    if (block.hash, extrinsic.index) in _state(ledger).matched:
        # Two that were open at once have the same nonce: the chain took one of them.
        _fail(ledger, sent, f"its nonce {sent.nonce} was used by another buyback")
    elif burn is not None:
        _record(ledger, sent, block, burn)
    elif extrinsic.call.function != ADD_STAKE_BURN:
        name, place = extrinsic.call.name, f"block {block.number}"
        _fail(ledger, sent, f"its nonce {sent.nonce} was used by a {name} in {place}")
    else:
        _fail(ledger, sent, extrinsic.error or f"block {block.number} shows no burn of it")


def sent_by(ledger: Ledger, sent: BuybackSent) -> str:
    """The treasury's address when the buyback was sent."""
    return _address(ledger, sent.after_block)


def _sending(ledger: Ledger, sent: BuybackSent) -> Sending:
    return Sending(sent_by(ledger, sent), sent.nonce, sent.after_block)


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
