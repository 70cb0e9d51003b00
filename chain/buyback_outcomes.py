"""What became of a buyback on chain: looked up by signer and nonce, matched to its events."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from chain.gathering import burns_of
from chain.lookup import Landed, look_up
from chain.orders import BurnOrder, Order, StakeBurnOrder, StakeOrder
from chain.port import Block, ChainReader, ChainUnavailableError, Sending
from ledger.application import Ledger, Unit
from ledger.commands.alerts import raise_alert
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import Buyback, BuybackBurnSent, BuybackSent
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id

ADD_STAKE_BURN: Final = "add_stake_burn"
BURN_ALPHA: Final = "burn_alpha"


def settle_buyback(chain: ChainReader, ledger: Ledger, number: int) -> bool:
    """Look on chain for what was sent of a buyback; whether it has ended now.

    A purchase not found while it may still land: False, it may be sent again. Not found and too
    late to land, or its nonce used by something else: recorded as failed; plan another one. The
    burn of what was bought likewise, but for that it is only this sending of it that failed. A node
    that is behind the block of sending cannot tell: :class:`~chain.port.ChainUnavailableError`.
    """
    buyback = buyback_of(ledger, number)
    if buyback.ended or buyback.sent is None:
        return buyback.ended
    if buyback.bought is None:
        _settle_purchase(chain, ledger, buyback.planned.max_price_rao, buyback.sent)
        buyback = buyback_of(ledger, number)
    if buyback.burn_sent is not None:
        _settle_burn(chain, ledger, buyback.burn_sent)
    return buyback_of(ledger, number).ended


def rehearse_settling(chain: ChainReader, ledger: Ledger, number: int) -> str:
    """What :func:`settle_buyback` would find now, in one sentence. Looks, and records nothing."""
    buyback = buyback_of(ledger, number)
    if buyback.ended or buyback.sent is None:
        return f"buyback {number} is {buyback.status}; there is nothing to settle"
    if buyback.bought is None:
        what, sending = f"buyback {number}", sending_of(ledger, buyback.sent)
        order: Order = order_of(ledger, buyback.planned.max_price_rao, buyback.sent)
    elif buyback.burn_sent is not None:
        burn = buyback.burn_sent
        what = f"the burn of buyback {number}"
        sending = Sending(burn.signer, burn.nonce, burn.after_block)
        order = BurnOrder(netuid=ledger.arena.netuid, hotkey=burn.hotkey, amount_alpha=burn.alpha)
    else:
        return f"buyback {number} has bought, and its burn is still to be sent"
    outlook = look_up(chain, sending)
    landed = outlook.landed
    if landed is None:
        later = "may still land" if outlook.may_still_land else "would be recorded as failed"
        return f"{what} is in no block up to {outlook.head} and {later}; nothing was recorded"
    where = f"block {landed.block.number}"
    if not landed.carries(order):
        name = landed.extrinsic.call.name
        found = f"lost its nonce to a {name} in {where}, and would be recorded as failed"
    elif landed.extrinsic.success:
        found = f"landed in {where}, and would be matched to it"
    else:
        found = f"failed in {where}, and that would be recorded"
    return f"{what} {found}; nothing was recorded"


def _settle_purchase(chain: ChainReader, ledger: Ledger, limit: int, sent: BuybackSent) -> None:
    outlook = look_up(chain, sending_of(ledger, sent))
    landed = outlook.landed
    if landed is None:
        if not outlook.may_still_land:
            _fail(ledger, sent, f"not found up to block {outlook.head}, and too late to land")
        return
    block, index = landed.block, landed.extrinsic.index
    if (block.hash, index) in _state(ledger).matched:
        # Two that were open at once have the same nonce: the chain took one of them.
        _fail(ledger, sent, f"its nonce {sent.nonce} was used by another buyback")
    elif not _is_ours(ledger, limit, sent, landed):
        name = landed.extrinsic.call.name
        _fail(ledger, sent, f"its nonce {sent.nonce} was used by a {name} in block {block.number}")
    elif not landed.extrinsic.success:
        _fail(ledger, sent, landed.extrinsic.error or f"it failed in block {block.number}")
    elif sent.how == ADD_STAKE_BURN:
        _match_whole(ledger, sent, landed)
    else:
        _match_purchase(ledger, sent, landed)


def _is_ours(ledger: Ledger, limit: int, sent: BuybackSent, landed: Landed) -> bool:
    if not sent.hotkey:  # recorded by a program that did not say on which
        return landed.extrinsic.call.function == sent.how
    return landed.carries(order_of(ledger, limit, sent))


def _match_whole(ledger: Ledger, sent: BuybackSent, landed: Landed) -> None:
    block, extrinsic = landed.block, landed.extrinsic
    for burn in burns_of(block, signer_of(ledger, sent), ledger.arena.netuid):
        ours = burn.how == ADD_STAKE_BURN and burn.extrinsic_index == extrinsic.index
        if ours and burn.spent_rao == sent.amount_rao:

            def work(unit: Unit, alpha: int = burn.alpha) -> None:
                unit.because(sent)
                treasury_in(unit).execute_buyback(
                    unit.context,
                    sent.number,
                    spent_rao=sent.amount_rao,
                    burned_alpha=alpha,
                    **_place(ledger, landed),
                )

            ledger.decide(work)
            return
    _must_show(block, f"no burn by buyback {sent.number}")


def _match_purchase(ledger: Ledger, sent: BuybackSent, landed: Landed) -> None:
    """``StakeAdded`` is (coldkey, hotkey, TAO, alpha, netuid, fee)."""
    wanted = (signer_of(ledger, sent), sent.hotkey, ledger.arena.netuid)
    for event in landed.receipt.events:
        if (event.module, event.name) != ("SubtensorModule", "StakeAdded"):
            continue
        coldkey, hotkey, rao, alpha, netuid = (event.attributes[key] for key in "01234")
        if (coldkey, hotkey, netuid) != wanted:
            continue

        def work(unit: Unit, rao: int = int(rao), alpha: int = int(alpha)) -> None:
            unit.because(sent)
            treasury_in(unit).buy_for_buyback(
                unit.context,
                sent.number,
                spent_rao=rao,
                bought_alpha=alpha,
                **_place(ledger, landed),
            )

        ledger.decide(work)
        return
    _must_show(landed.block, f"no stake bought by buyback {sent.number}")


def _settle_burn(chain: ChainReader, ledger: Ledger, burn: BuybackBurnSent) -> None:
    outlook = look_up(chain, Sending(burn.signer, burn.nonce, burn.after_block))
    landed = outlook.landed
    if landed is None:
        if not outlook.may_still_land:
            why = f"not found up to block {outlook.head}, and too late to land"
            _fail_burn(ledger, burn, why)
        return
    order = BurnOrder(netuid=ledger.arena.netuid, hotkey=burn.hotkey, amount_alpha=burn.alpha)
    block, extrinsic = landed.block, landed.extrinsic
    if not landed.carries(order) or (block.hash, extrinsic.index) in _state(ledger).matched:
        name = extrinsic.call.name
        why = f"its nonce {burn.nonce} was used by a {name} in block {block.number}"
        _fail_burn(ledger, burn, why)
        return
    if not extrinsic.success:
        _fail_burn(ledger, burn, extrinsic.error or f"it failed in block {block.number}")
        return
    for seen in burns_of(block, burn.signer, ledger.arena.netuid):
        if seen.how == BURN_ALPHA and seen.extrinsic_index == extrinsic.index:

            def work(unit: Unit, alpha: int = seen.alpha) -> None:
                unit.because(burn)
                treasury_in(unit).burn_bought(
                    unit.context, burn.number, burned_alpha=alpha, **_place(ledger, landed)
                )

            ledger.decide(work)
            return
    _must_show(block, f"no burn by buyback {burn.number}")


def _place(ledger: Ledger, landed: Landed) -> dict[str, Any]:
    block, extrinsic = landed.block, landed.extrinsic
    return {
        "block": block.number,
        "block_hash": block.hash,
        "extrinsic_index": extrinsic.index,
        "extrinsic_hash": extrinsic.hash,
        "netuid": ledger.arena.netuid,
        "about_block": block.number,
    }


def _must_show(block: Block, what: str) -> NoReturn:
    msg = f"block {block.number} holds the extrinsic, which succeeded, and shows {what}"
    raise ChainUnavailableError(msg)


def must_be_the_arenas_chain(chain: ChainReader, ledger: Ledger) -> None:
    """Refuse a node of another chain than the arena's."""
    genesis = chain.genesis_hash()
    if genesis != ledger.arena.genesis:
        msg = (
            f"the node's chain is {genesis} and the arena's is {ledger.arena.genesis}; name a node "
            "of the arena's chain"
        )
        raise DecisionRefusedError(msg)


# -- the log ----------------------------------------------------------------------------------


def order_of(ledger: Ledger, limit: int, sent: BuybackSent) -> StakeBurnOrder | StakeOrder:
    """What was sent; ``limit`` is the plan's, for a sending that recorded none of its own."""
    kind = StakeBurnOrder if sent.how == ADD_STAKE_BURN else StakeOrder
    return kind(
        netuid=ledger.arena.netuid,
        hotkey=sent.hotkey,
        amount_rao=sent.amount_rao,
        max_price_rao=limit if sent.max_price_rao is None else sent.max_price_rao,
    )


def sending_of(ledger: Ledger, sent: BuybackSent) -> Sending:
    return Sending(signer_of(ledger, sent), sent.nonce, sent.after_block)


def signer_of(ledger: Ledger, sent: BuybackSent) -> str:
    """Who signed it; where that was not recorded, the treasury when it was sent."""
    if sent.signer:
        return sent.signer
    return ledger.arena_state().policy_at(sent.after_block).fee.treasury_ss58


def _fail(ledger: Ledger, sent: BuybackSent, reason: str) -> None:
    def work(unit: Unit) -> None:
        unit.because(sent)
        treasury_in(unit).fail_buyback(unit.context, sent.number, reason)

    ledger.decide(work)
    raise_alert(ledger, "buyback_failed", f"buyback {sent.number} failed: {reason}")


def _fail_burn(ledger: Ledger, burn: BuybackBurnSent, reason: str) -> None:
    def work(unit: Unit) -> None:
        unit.because(burn)
        treasury_in(unit).fail_burn(unit.context, burn.number, reason)

    ledger.decide(work)
    raise_alert(ledger, "burn_failed", f"the burn of buyback {burn.number} failed: {reason}")


def buyback_of(ledger: Ledger, number: int) -> Buyback:
    """How far a buyback has come; ``DecisionRefusedError`` where there is none of that number."""
    return _state(ledger).buyback(number)


def _state(ledger: Ledger) -> Treasury:
    return ledger.load(Treasury, treasury_id(ledger.arena))


def treasury_in(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))
