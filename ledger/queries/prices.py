"""Dollars per TAO: what the log holds, and which of it values something of a block."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from ledger.books.periods import TaoPrice
from ledger.projections.periods import tao_prices
from ledger.queries.scope import Scope


def price_at(scope: Scope, block: int) -> TaoPrice | None:
    """The newest observed price about ``block`` or before, else that of the newest conversion.

    None where neither is known. Of two about one block the one recorded last counts.
    """
    return _newest(scope, block, "observed") or _newest(scope, block, "converted")


def nearest_price(scope: Scope, block: int) -> TaoPrice | None:
    """As :func:`price_at`; where there is none so early, the first one after ``block``."""
    table = tao_prices
    later = (
        select(table)
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .where(table.c.about_block > block)
        .order_by(table.c.about_block, table.c.position)
        .limit(1)
    )
    return price_at(scope, block) or _first(scope, later)


def _newest(scope: Scope, block: int, stated: str) -> TaoPrice | None:
    table = tao_prices
    return _first(
        scope,
        select(table)
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .where(table.c.about_block <= block, table.c.stated == stated)
        .order_by(table.c.about_block.desc(), table.c.position.desc())
        .limit(1),
    )


def _first(scope: Scope, query: Select[Any]) -> TaoPrice | None:
    row = scope.connection.execute(query).mappings().first()
    if row is None:
        return None
    return TaoPrice(row["usd_micros_per_tao"], row["source"], row["about_block"], row["stated"])
