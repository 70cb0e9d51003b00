"""The `subnet` view: what the chain showed of the subnet itself, and what needs a person."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, Text

from ledger.facts import Fact
from ledger.observations import (
    AlertRaised,
    AlphaBurnSeen,
    LockObserved,
    PoolObserved,
    PriceObserved,
    RegistrationCostSeen,
)
from ledger.projections.rows import Rows
from ledger.projections.tables import appended, versioned

pools: Final = appended(
    "subnet_pools",
    Column("block", BigInteger, nullable=False),
    Column("tao_rao", BigInteger, nullable=False),
    Column("alpha_in", BigInteger, nullable=False),
    Column("alpha_out", BigInteger, nullable=False),
)

prices: Final = appended(
    "subnet_prices",
    Column("about_block", BigInteger, nullable=False),
    Column("pair", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
)

burns: Final = appended(
    "subnet_burns",
    Column("block", BigInteger, nullable=False),
    Column("extrinsic_hash", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("coldkey", Text, nullable=False),
    Column("hotkey", Text, nullable=False),
    Column("spent_rao", BigInteger),
    Column("alpha", BigInteger, nullable=False),
    Column("by_treasury", Boolean, nullable=False),
)

registrations: Final = appended(
    "subnet_registrations",
    Column("block", BigInteger, nullable=False),
    Column("uid", Integer, nullable=False),
    Column("hotkey", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("cost_rao", BigInteger, nullable=False),
)

locks: Final = versioned(
    "subnet_locks",
    [Column("coldkey", Text, primary_key=True)],
    [
        Column("hotkey", Text, nullable=False),
        Column("locked_alpha", BigInteger, nullable=False),
        Column("conviction_alpha", BigInteger, nullable=False),
        Column("last_update", BigInteger, nullable=False),
        Column("perpetual", Boolean, nullable=False),
        Column("unlock_blocks", BigInteger, nullable=False),
        Column("maturity_blocks", BigInteger, nullable=False),
    ],
)
"""One that is gone keeps its row, which locks 0: what is read late must not bring it back."""

alerts: Final = appended(
    "subnet_alerts",
    Column("block", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
)


class SubnetProjection:
    """Folds pools, prices, burns, costs of registration, locks and alerts."""

    name = "subnet"
    tables = (pools, prices, burns, registrations, locks, alerts)
    knows: tuple[type[Fact], ...] = (
        AlertRaised,
        AlphaBurnSeen,
        LockObserved,
        PoolObserved,
        PriceObserved,
        RegistrationCostSeen,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case PoolObserved():
                rows.append(
                    pools,
                    position,
                    block=fact.block,
                    tao_rao=fact.tao_rao,
                    alpha_in=fact.alpha_in,
                    alpha_out=fact.alpha_out,
                )
            case PriceObserved():
                rows.append(
                    prices,
                    position,
                    about_block=fact.about_block,
                    pair=fact.pair,
                    price=fact.price,
                    source=fact.source,
                )
            case AlphaBurnSeen():
                _fold_burn(rows, position, fact)
            case RegistrationCostSeen():
                rows.append(
                    registrations,
                    position,
                    block=fact.block,
                    uid=fact.uid,
                    hotkey=fact.hotkey,
                    payer=fact.payer,
                    cost_rao=fact.cost_rao,
                )
            case LockObserved():
                _fold_lock(rows, position, fact)
            case AlertRaised():
                rows.append(alerts, position, block=fact.block, kind=fact.kind, detail=fact.detail)
            case _:
                pass  # not a fact of this view


def _fold_burn(rows: Rows, position: int, fact: AlphaBurnSeen) -> None:
    rows.append(
        burns,
        position,
        block=fact.block,
        extrinsic_hash=fact.extrinsic_hash,
        how=fact.how,
        coldkey=fact.coldkey,
        hotkey=fact.hotkey,
        spent_rao=fact.spent_rao,
        alpha=fact.alpha,
        by_treasury=fact.by_treasury,
    )


def _fold_lock(rows: Rows, position: int, fact: LockObserved) -> None:
    known = rows.get(locks, fact.coldkey)
    if known is not None and known["last_update"] > fact.last_update:
        return  # read late, out of a gap: the lock was touched since, or went
    rows.put(
        locks,
        position,
        fact.coldkey,
        hotkey=fact.hotkey,
        locked_alpha=fact.locked_alpha,
        conviction_alpha=fact.conviction_alpha,
        last_update=fact.last_update,
        perpetual=fact.perpetual,
        unlock_blocks=fact.unlock_blocks,
        maturity_blocks=fact.maturity_blocks,
    )
