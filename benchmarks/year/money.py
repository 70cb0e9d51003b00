"""The treasury: prices, balances, conversions, buybacks with their burns, periods, alerts."""

from __future__ import annotations

from functools import partial

from benchmarks.year.mix import (
    ALERT_EVERY_BLOCKS,
    ARENA,
    BALANCES_EVERY_BLOCKS,
    BUYBACK_EVERY_BLOCKS,
    CONVERSIONS_PER_DAY,
    OPENED_AT,
    PERIOD_EVERY_BLOCKS,
    PRICES_EVERY_BLOCKS,
    PROVIDER,
)
from benchmarks.year.world import Tick, World, made_hash
from chain.simulated.accounts import account
from ledger.application import Unit
from ledger.commands.alerts import raise_alert
from ledger.commands.block_facts import AlphaBurned, FeePaid, Withdrawal
from ledger.commands.causes import after, after_approval, after_transfer
from ledger.commands.money import record_balances
from ledger.decisions.buybacks import BuybackSent
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import PriceObserved
from ledger.units import ALPHA_UNITS_PER_ALPHA, RAO_PER_TAO

_EXCHANGE = account("exchange")
_FIRST_USD_MICROS_PER_TAO = 300_000_000
_FIRST_RAO_PER_ALPHA = 25_000_000
_TRANSFER_FEE_RAO = 140_000


class Money:
    """What the operator does with the fees, and what the outside states."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._usd_micros_per_tao = _FIRST_USD_MICROS_PER_TAO
        self._rao_per_alpha = _FIRST_RAO_PER_ALPHA
        world.every(PRICES_EVERY_BLOCKS, self._prices)
        world.every(BALANCES_EVERY_BLOCKS, self._balances)
        world.often(CONVERSIONS_PER_DAY, self._sell)
        world.every(BUYBACK_EVERY_BLOCKS, self._plan_buyback)
        world.every(PERIOD_EVERY_BLOCKS, self._close_period)
        world.every(ALERT_EVERY_BLOCKS, self._alert)

    # -- the outside ------------------------------------------------------------------------------

    def _prices(self, tick: Tick) -> None:
        step = self._world.random.gauss
        self._usd_micros_per_tao = max(1_000_000, int(self._usd_micros_per_tao * step(1, 0.004)))
        self._rao_per_alpha = max(1_000_000, int(self._rao_per_alpha * step(1, 0.006)))

        def note(unit: Unit) -> None:
            prices = (
                ("TAO/USD", "coingecko", self._usd_micros_per_tao),
                ("ALPHA/TAO", "chain", self._rao_per_alpha),
            )
            for pair, source, price in prices:
                unit.observe(
                    PriceObserved,
                    f"price:{ARENA}:{pair}:{source}:{tick.number}",
                    pair=pair,
                    price=price,
                    source=source,
                    about_block=tick.number,
                )

        tick.then.append(lambda: self._world.ledger.decide(note))

    def _balances(self, tick: Tick) -> None:
        treasury = self._address(tick.number)
        drawn = self._world.random.randrange
        balances = (
            ("TAO", treasury, drawn(1_000 * RAO_PER_TAO), "chain"),
            ("ALPHA", treasury, drawn(50_000 * ALPHA_UNITS_PER_ALPHA), "chain"),
            ("USD", PROVIDER, drawn(9_000_000_000), "provider"),
        )
        number = tick.number
        tick.then.append(lambda: record_balances(self._world.ledger, balances, about_block=number))

    def _alert(self, tick: Tick) -> None:
        detail = "weights not sent: ingest lags 61 blocks, 50 are allowed"
        tick.then.append(lambda: raise_alert(self._world.ledger, "ingest_lag", detail))

    # -- conversions ------------------------------------------------------------------------------

    def _sell(self, tick: Tick) -> None:
        index, number = tick.extrinsic(), tick.number
        sold = self._world.random.randint(RAO_PER_TAO, 3 * RAO_PER_TAO)
        reference = made_hash("sale", number, index)
        tick.withdrawals.append(
            Withdrawal(len(tick.withdrawals), index, reference, _EXCHANGE, sold)
        )
        tick.fees.append(FeePaid(index, _TRANSFER_FEE_RAO))

        def convert(unit: Unit) -> None:
            unit.get(Treasury, treasury_id(ARENA)).convert(
                after_transfer(unit, reference),
                reference=reference,
                sold_rao=sold,
                bought_usd_micros=sold * self._usd_micros_per_tao // RAO_PER_TAO,
                usd_micros_per_tao=self._usd_micros_per_tao,
                provider=PROVIDER,
                source="exchange",
                about_block=number,
                actor="treasurer",
            )

        tick.then.append(lambda: self._world.ledger.decide(convert))

    # -- buybacks ---------------------------------------------------------------------------------

    def _plan_buyback(self, tick: Tick) -> None:
        amount = self._world.random.randint(3 * RAO_PER_TAO, 10 * RAO_PER_TAO)

        def plan(unit: Unit) -> BuybackSent:
            treasury = unit.get(Treasury, treasury_id(ARENA))
            price = self._rao_per_alpha * 11 // 10
            number = treasury.plan_buyback(unit.context, amount, price, "treasurer").number
            treasury.approve_buyback(after(unit, treasury), number, "second")
            return treasury.send_buyback(after_approval(unit, number), number, amount, number)

        def record() -> None:
            sent = self._world.ledger.decide(plan)
            self._world.at(tick.number + 1, partial(self._bought, sent))

        tick.then.append(record)

    def _bought(self, sent: BuybackSent, tick: Tick) -> None:
        index, treasury = tick.extrinsic(), self._address(tick.number)
        alpha = sent.amount_rao * ALPHA_UNITS_PER_ALPHA // self._rao_per_alpha
        burn = AlphaBurned(
            extrinsic_index=index,
            extrinsic_hash=made_hash("burn", tick.number, index),
            how="add_stake_burn",
            coldkey=treasury,
            hotkey=treasury,
            netuid=ARENA.netuid,
            spent_rao=sent.amount_rao,
            alpha=alpha,
        )
        tick.burns.append(burn)
        tick.fees.append(FeePaid(index, _TRANSFER_FEE_RAO))

        def execute(unit: Unit) -> None:
            unit.because(sent)
            unit.get(Treasury, treasury_id(ARENA)).execute_buyback(
                unit.context,
                sent.number,
                block=tick.number,
                block_hash=tick.hash,
                extrinsic_index=index,
                extrinsic_hash=burn.extrinsic_hash,
                netuid=ARENA.netuid,
                spent_rao=sent.amount_rao,
                burned_alpha=alpha,
                about_block=tick.number,
            )

        tick.then.append(lambda: self._world.ledger.decide(execute))

    # -- periods ----------------------------------------------------------------------------------

    def _close_period(self, tick: Tick) -> None:
        def close(unit: Unit) -> None:
            treasury = unit.get(Treasury, treasury_id(ARENA))
            treasury.close_period(unit.context, unit.block, OPENED_AT, "treasurer")

        tick.then.append(lambda: self._world.ledger.decide(close))

    def _address(self, block: int) -> str:
        return self._world.ledger.arena_state().policy_at(block).fee.treasury_ss58
