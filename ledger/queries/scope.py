"""Where a question is asked: an arena, a block, and the log position that is "at block B"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select

from ledger.application import UnknownArenaError
from ledger.projections.runner import Projection
from ledger.projections.tables import PLACE_COLUMNS, rows_at
from ledger.store.logs import LogHead, all_heads, first_block, position_at
from ledger.store.schema import tracking


class BlockOutOfRangeError(ValueError):
    """The block asked for is not in the log, so nothing is known at it."""


class ViewBehindError(Exception):
    """A projection has not folded the log that far yet; bring it up to date and ask again."""


@dataclass(frozen=True, slots=True)
class Scope:
    """An open read: every question asked through it sees the same prefix of one arena's log."""

    connection: Connection
    head: LogHead
    block: int
    position: int

    def rows(self, table: Table) -> list[RowMapping]:
        """The rows of a view's table at this position."""
        query = rows_at(table, self.head.log_id, self.position)
        return list(self.connection.execute(query).mappings())

    def needs(self, projections: Iterable[Projection]) -> None:
        """Raise :class:`ViewBehindError` unless all of these have folded this prefix."""
        query = select(tracking.c.projection, tracking.c.position).where(
            tracking.c.log_id == self.head.log_id
        )
        stand = {row.projection: row.position for row in self.connection.execute(query)}
        for projection in projections:
            at = stand.get(projection.name, 0)
            if at < self.position:
                msg = (
                    f"the view '{projection.name}' stands at position {at} of {self.position}; "
                    "bring it up to date and ask again"
                )
                raise ViewBehindError(msg)


def find_arena(connection: Connection, network: str, netuid: int) -> LogHead:
    """The arena of that network name and netuid; :class:`UnknownArenaError` names those there are.

    There is at most one: opening an arena refuses a name that another chain has.
    """
    heads = all_heads(connection)
    for head in heads:
        if (head.network, head.netuid) == (network, netuid):
            return head
    known = ", ".join(f"{head.network}/{head.netuid}" for head in heads) or "none"
    msg = f"arena {network}/{netuid} is unknown in this database; it has: {known}"
    raise UnknownArenaError(msg)


def scope_at(connection: Connection, head: LogHead, at_block: int | None) -> Scope:
    """The scope of an arena at a block, the newest by default."""
    if at_block is None or at_block == head.effective_block:
        return Scope(connection, head, head.effective_block, head.position)
    if at_block > head.effective_block:
        msg = (
            f"block {at_block} is not ingested yet; the newest is {head.effective_block}, "
            "so ask at or before it"
        )
        raise BlockOutOfRangeError(msg)
    position = position_at(connection, head.log_id, at_block)
    if position == 0:
        first = first_block(connection, head.log_id)
        msg = (
            f"the log of {head.network}/{head.netuid} begins at block {first}, "
            f"so nothing is known at block {at_block}; ask at {first} or later"
        )
        raise BlockOutOfRangeError(msg)
    return Scope(connection, head, at_block, position)


def plain(row: RowMapping, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A view's row as JSON-able values, without the columns that say where it is kept."""
    hidden = {*PLACE_COLUMNS, *without}
    # SQLAlchemy names a column "until" by a subclass of str, which strict converters refuse.
    return {str(name): value for name, value in row.items() if name not in hidden}
