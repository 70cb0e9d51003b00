"""The `periods` view: what each closing said its period came to, and the prices that value it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.treasury import PeriodClosed, TaoConverted
from ledger.facts import Fact
from ledger.observations import PriceObserved
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import appended

FIGURES: Final = (
    "fees_rao",
    "rental_due_usd_micros",
    "price_usd_micros_per_tao",
    "price_block",
    "rental_due_rao",
    "carried_in_rao",
    "surplus_rao",
    "deficit_rao",
    "reserve_rao",
    "proposed_buyback_rao",
    "counted_to_position",
)
"""The whole numbers of a closing, by their names in the fact."""

figures: Final = appended(
    "period_figures",
    Column("number", Integer, nullable=False),
    Column("from_block", BigInteger, nullable=False),
    Column("to_block", BigInteger, nullable=False),
    Column("closed_at_block", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("price_source", Text),
    *(Column(name, BigInteger) for name in FIGURES),
)

tao_prices: Final = appended(
    "tao_prices",
    Column("about_block", BigInteger, nullable=False),
    Column("usd_micros_per_tao", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("stated", Text, nullable=False),  # "observed", or "converted" where money changed hands
)


class PeriodsProjection:
    """Folds closings with their figures, and dollars per TAO as observed and as converted."""

    name = "periods"
    tables = (figures, tao_prices)
    knows: tuple[type[Fact], ...] = (PeriodClosed, PriceObserved, TaoConverted)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case PeriodClosed():
                source = fact.price_source
                rows.append(
                    figures,
                    position,
                    number=fact.number,
                    from_block=fact.from_block,
                    to_block=fact.to_block,
                    closed_at_block=fact.effective_block,
                    actor=storable_text(fact.actor),
                    price_source=None if source is None else storable_text(source),
                    **{name: getattr(fact, name) for name in FIGURES},
                )
            case PriceObserved(pair="TAO/USD"):
                _put_price(rows, position, fact.about_block, fact.price, fact.source, "observed")
            case TaoConverted():
                price = fact.usd_micros_per_tao
                _put_price(rows, position, fact.about_block, price, fact.source, "converted")
            case _:
                pass  # a price of alpha


def _put_price(rows: Rows, position: int, block: int, price: int, source: str, stated: str) -> None:
    rows.append(
        tao_prices,
        position,
        about_block=block,
        usd_micros_per_tao=price,
        source=storable_text(source),
        stated=stated,
    )
