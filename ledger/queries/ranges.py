"""Ranges of blocks: the treasury's periods, and what lies before and behind them."""

from __future__ import annotations

from sqlalchemy import select

from ledger.projections.treasury import periods
from ledger.queries.scope import Scope

Range = tuple[int, int]
"""After the first block, up to and with the second."""


def treasury_ranges(scope: Scope) -> list[tuple[int | None, int, int, int | None]]:
    """The treasury's periods, and what lies before and behind them (None), up to the scope.

    Number, the block after which it begins, its last block, and the position of the fact that
    closed it: None for what is in no period.
    """
    closed = (
        select(periods.c.number, periods.c.from_block, periods.c.to_block, periods.c.position)
        .where(periods.c.log_id == scope.head.log_id, periods.c.position <= scope.position)
        .order_by(periods.c.number)
    )
    ranges: list[tuple[int | None, int, int, int | None]] = []
    end = -1
    for number, from_block, to_block, position in scope.connection.execute(closed):
        if not ranges and from_block > -1:
            ranges.append((None, -1, from_block, None))
        ranges.append((number, from_block, to_block, position))
        end = to_block
    # Right after a closing the open one has no block yet, but facts may be recorded in it.
    ranges.append((None, end, max(end, scope.block), None))
    return ranges
