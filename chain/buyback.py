"""Buying alpha and burning it: recorded before it is sent, matched to its events after.

A crash at any point never buys twice. What is sent has a signer, a nonce and a last block, all
recorded before (:class:`chain.port.Sending`), so that of one buyback at most one purchase lands,
and whether it did is read from the finalized blocks. Where the runtime has ``add_stake_burn`` that
is all; on older ones ``add_stake_limit`` buys, and ``burn_alpha`` burns what its event says was
bought: a burn that failed or was lost is sent again, the purchase never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chain.buyback_outcomes import (
    buyback_of,
    must_be_the_arenas_chain,
    order_of,
    sending_of,
    settle_buyback,
    signer_of,
    treasury_in,
)
from chain.lookup import next_sending
from chain.orders import BurnOrder, Order, StakeBurnOrder, StakeOrder
from chain.port import Chain, ChainUnavailableError, Sending, SendRefusedError
from chain.prices import observed_price
from chain.treasurers import check_signatures
from ledger.application import Ledger, Unit
from ledger.commands.alerts import raise_alert
from ledger.commands.causes import after_approval
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import Buyback, BuybackBurnSent, BuybackSent
from ledger.policy import Policy
from ledger.rules.buybacks import max_price_rao
from ledger.units import Rao

FEE_RESERVE_RAO: Final = 10_000_000
"""What must be left beside the purchase: network fees and the existential deposit (0.01 TAO)."""

BlockRun = tuple[int, int]
"""A run of blocks, the first and the last."""


class HeldBackError(Exception):
    """Nothing was sent, for a reason that an alert records; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Who buys for an arena's treasury, and on which hotkey.

    ``signer`` is the address of the coldkey that will sign. ``missing`` are the runs of blocks that
    the log lacks. With ``hotkey`` None it is the subnet owner's, or where the runtime burns in an
    extrinsic of its own one must be given, of the treasury's own.
    """

    chain: Chain
    ledger: Ledger
    signer: str
    hotkey: str | None = None
    missing: Sequence[BlockRun] = ()

    def execute(self, number: int, *, amount_rao: int | None = None) -> Buyback:
        """Send an approved buyback, or finish one that a crash left open; how far it is then.

        ``amount_rao`` is all that the plan allows by default. Raises
        :class:`~ledger.decisions.base.DecisionRefusedError` for what must not be sent,
        :class:`HeldBackError` for what must not be sent now, and the chain's errors: after
        :class:`~chain.port.OutcomeUnknownError` calling it again looks before it sends.
        """
        must_be_the_arenas_chain(self.chain, self.ledger)
        buyback = buyback_of(self.ledger, number)
        if buyback.ended:
            return buyback
        must_be_the_treasurys(self.ledger, number, self.signer)
        settle_buyback(self.chain, self.ledger, number)
        buyback = buyback_of(self.ledger, number)
        if not buyback.ended and buyback.bought is None:
            buyback = self._buy(buyback, amount_rao)
        if not buyback.ended and buyback.bought is not None:
            buyback = self._burn(buyback)
        return buyback

    def rehearse(self, number: int) -> str:
        """What :meth:`execute` would do now, in one sentence. Records and sends nothing.

        Raises as it for what must not be sent.
        """
        must_be_the_arenas_chain(self.chain, self.ledger)
        buyback = buyback_of(self.ledger, number)
        if buyback.ended:
            return f"buyback {number} is {buyback.status}; nothing would be sent"
        must_be_the_treasurys(self.ledger, number, self.signer)
        if buyback.sent is not None:
            return (
                f"buyback {number} is {buyback.status}; what was sent would be looked for on chain "
                "first, and only what is missing sent"
            )
        check_signatures(self.ledger, buyback)
        amount_rao, limit = buyback.planned.max_rao, buyback.planned.max_price_rao
        buyback.must_be_sendable(amount_rao, self._policy().treasury.treasurers)
        order = self._order(buyback, amount_rao)
        self._must_be_affordable(number, amount_rao)
        since = buyback.planned.effective_block
        for _, why in self._reasons(since=since, limit=limit):
            return f"buyback {number} would not be sent: {why}"
        sending = next_sending(self.chain, self.signer)
        how = "add_stake_burn" if isinstance(order, StakeBurnOrder) else "add_stake_limit"
        return (
            f"buyback {number} would be sent: {how} of {Rao(amount_rao)} on {order.hotkey}, at no "
            f"more than {Rao(order.max_price_rao)} per alpha, signed by {sending.signer} with "
            f"nonce {sending.nonce}, in a block after {sending.after_block}; nothing was sent"
        )

    # -- buying -----------------------------------------------------------------------------

    def _buy(self, buyback: Buyback, amount_rao: int | None) -> Buyback:
        number, sent = buyback.number, buyback.sent
        limit = buyback.planned.max_price_rao
        if sent is None:
            check_signatures(self.ledger, buyback)
            amount_rao = buyback.planned.max_rao if amount_rao is None else amount_rao
            # What the aggregate would refuse must not first be an alert about the price.
            buyback.must_be_sendable(amount_rao, self._policy().treasury.treasurers)
            order = self._order(buyback, amount_rao)
            self._must_be_affordable(number, amount_rao)
            self._hold_back(number, since=buyback.planned.effective_block, limit=limit)
            sent = self._record_sending(buyback, order)
        else:
            order = order_of(self.ledger, limit, sent)
            self._hold_back(number, since=sent.after_block, limit=limit)
        found = self._send(number, order, sending_of(self.ledger, sent))
        if not found.ended and found.bought is None:
            msg = f"buyback {number} was reported as final, and no finalized block shows it"
            raise ChainUnavailableError(msg)
        return found

    def _order(self, buyback: Buyback, amount_rao: int) -> StakeBurnOrder | StakeOrder:
        netuid, limit = self.ledger.arena.netuid, self._limit(buyback)
        if self.chain.offers(StakeBurnOrder):
            hotkey = self.hotkey or self._subnet_owner()
            return StakeBurnOrder(
                netuid=netuid, hotkey=hotkey, amount_rao=amount_rao, max_price_rao=limit
            )
        if not (self.chain.offers(StakeOrder) and self.chain.offers(BurnOrder)):
            msg = (
                "the node's runtime has neither add_stake_burn nor add_stake_limit and burn_alpha, "
                "so nothing can be bought to burn"
            )
            raise DecisionRefusedError(msg)
        head = self.chain.finalized_head()
        # The recorded runtime burned the stake of a coldkey on a hotkey it owns, and no other.
        if self.hotkey is None or self.chain.owner(self.hotkey, head.hash) != self.signer:
            msg = (
                "the node's runtime burns in an extrinsic of its own, which is sure only on a "
                "hotkey of the treasury's coldkey; name one by --hotkey"
            )
            raise DecisionRefusedError(msg)
        return StakeOrder(
            netuid=netuid, hotkey=self.hotkey, amount_rao=amount_rao, max_price_rao=limit
        )

    def _limit(self, buyback: Buyback) -> int:
        """Rao per whole alpha: the plan's limit, and never more than its slippage above the price
        now, which may have fallen since."""
        planned = buyback.planned
        if planned.max_slippage_ppm is None:
            return planned.max_price_rao
        now = observed_price(self.chain, self.ledger.arena.netuid)
        return min(planned.max_price_rao, max_price_rao(now.rao, planned.max_slippage_ppm))

    def _record_sending(self, buyback: Buyback, order: StakeBurnOrder | StakeOrder) -> BuybackSent:
        sending = next_sending(self.chain, self.signer)
        number = buyback.number

        def work(unit: Unit) -> BuybackSent:
            return treasury_in(unit).send_buyback(
                after_approval(unit, number),
                number,
                order.amount_rao,
                sending.nonce,
                how="add_stake_burn" if isinstance(order, StakeBurnOrder) else "add_stake_limit",
                hotkey=order.hotkey,
                signer=sending.signer,
                after_block=sending.after_block,
                max_price_rao=order.max_price_rao,
                treasurers=unit.arena.policy_at(unit.block).treasury.treasurers,
            )

        return self.ledger.decide(work)

    def _subnet_owner(self) -> str:
        head = self.chain.finalized_head()
        owner = self.chain.subnet_owner(self.ledger.arena.netuid, head.hash)
        if owner is None:
            msg = f"the chain has no subnet {self.ledger.arena.netuid}; name another --netuid"
            raise DecisionRefusedError(msg)
        return owner[0]

    # -- burning ----------------------------------------------------------------------------

    def _burn(self, buyback: Buyback) -> Buyback:
        number, burn = buyback.number, buyback.burn_sent
        if burn is None:
            bought, _ = buyback.must_be_burnable()
            self._hold_back(number, since=bought.block)
            burn = self._record_burn(number)
        else:
            self._hold_back(number, since=burn.after_block)
        order = BurnOrder(
            netuid=self.ledger.arena.netuid, hotkey=burn.hotkey, amount_alpha=burn.alpha
        )
        found = self._send(number, order, Sending(burn.signer, burn.nonce, burn.after_block))
        if found.burn_sent is not None:
            msg = (
                f"the burn of buyback {number} was reported as final, and no finalized block "
                "shows it"
            )
            raise ChainUnavailableError(msg)
        return found

    def _record_burn(self, number: int) -> BuybackBurnSent:
        sending = next_sending(self.chain, self.signer)

        def work(unit: Unit) -> BuybackBurnSent:
            treasury = treasury_in(unit)
            bought = treasury.buybacks[number].bought
            if bought is not None:
                unit.because(bought)
            return treasury.send_burn(
                unit.context,
                number,
                nonce=sending.nonce,
                signer=sending.signer,
                after_block=sending.after_block,
            )

        return self.ledger.decide(work)

    # -- what must hold ---------------------------------------------------------------------

    def _send(self, number: int, order: Order, sending: Sending) -> Buyback:
        """Send it, wait, and look: how far the buyback is then.

        A refusal proves nothing: the same sending may be on its way from another process. So it
        stays open until it has landed or is too late to, and the refusal is raised.
        """
        try:
            self.chain.send(self.chain.prepare(order, sending))
        except SendRefusedError as error:
            settle_buyback(self.chain, self.ledger, number)
            found = buyback_of(self.ledger, number)
            if not found.ended and is_open(found, sending):
                msg = (
                    f"{error}; nothing of it is final up to now, and it can be sent again up to "
                    f"block {sending.last_block}, after which 'treasury buyback settle {number}' "
                    "records that it failed"
                )
                raise SendRefusedError(msg) from error
            return found
        settle_buyback(self.chain, self.ledger, number)
        return buyback_of(self.ledger, number)

    def _must_be_affordable(self, number: int, amount_rao: int) -> None:
        head = self.chain.finalized_head()
        held = self.chain.balance_rao(self.signer, head.hash)
        if held < amount_rao + FEE_RESERVE_RAO:
            msg = (
                f"buyback {number} needs {Rao(amount_rao)} and {Rao(FEE_RESERVE_RAO)} for fees, "
                f"and the treasury holds {Rao(held)} at block {head.number}"
            )
            raise DecisionRefusedError(msg)

    def _hold_back(self, number: int, *, since: int, limit: int | None = None) -> None:
        """Raise an alert and :class:`HeldBackError` for the first reason to send nothing now."""
        for kind, why in self._reasons(since=since, limit=limit):
            said = f"buyback {number} not sent: {why}"
            raise_alert(self.ledger, kind, said)
            raise HeldBackError(said)

    def _reasons(self, *, since: int, limit: int | None) -> Iterator[tuple[str, str]]:
        """Kind and words of each reason: a log that lags, or lacks blocks in which it may have
        landed, and a price above ``limit`` (rao per whole alpha; None asks for no price)."""
        at = self.ledger.head().effective_block
        allowed = self._policy().weights.max_ingest_lag_blocks
        lag = self.chain.finalized_head().number - at
        if lag > allowed:
            yield "ingest_lag", f"ingest lags {lag} blocks, {allowed} are allowed"
        for first, last in self.missing:
            if last >= since:
                why = f"the log lacks blocks {first} to {last}, and it needs all since {since}"
                yield "gap_open", why
        if limit is None:
            return
        price = observed_price(self.chain, self.ledger.arena.netuid)
        if price.rao > limit:
            why = (
                f"alpha costs {Rao(price.rao)} at block {price.block}, and its limit is "
                f"{Rao(limit)}"
            )
            yield "buyback_price", why

    def _policy(self) -> Policy:
        return self.ledger.arena_state().policy_at(self.ledger.head().effective_block)


def must_be_the_treasurys(ledger: Ledger, number: int, address: str) -> None:
    """Refuse another coldkey than the treasury's: of now, or of when it was sent."""
    sent = buyback_of(ledger, number).sent
    if sent is None:
        at = ledger.head().effective_block
        treasury = ledger.arena_state().policy_at(at).fee.treasury_ss58
    else:
        treasury = signer_of(ledger, sent)
    if address != treasury:
        msg = (
            f"the wallet's coldkey is {address} and the treasury is {treasury}; open the "
            "treasury's wallet"
        )
        raise DecisionRefusedError(msg)


def is_open(buyback: Buyback, sending: Sending) -> bool:
    """Whether nothing is known yet of what became of ``sending``."""
    open_ = buyback.burn_sent if buyback.bought is not None else buyback.sent
    return open_ is not None and (open_.nonce, open_.after_block) == (
        sending.nonce,
        sending.after_block,
    )
