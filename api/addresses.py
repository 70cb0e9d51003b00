"""Whether an address appears in an arena's log: an unknown one is told apart from an unpaid one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Select, select

from ledger.projections.payments import payments
from ledger.projections.payouts import accounts as paid
from ledger.projections.submissions import submissions
from ledger.projections.weights import neurons, published, subnet_owner
from ledger.queries.payouts import UnknownAccountError
from ledger.queries.scope import Scope

_NAMING: Final[tuple[Column[str], ...]] = (
    paid.c.hotkey,
    paid.c.coldkey,
    neurons.c.hotkey,
    neurons.c.coldkey,
    submissions.c.hotkey,
    submissions.c.coldkey,
    payments.c.sender,
    payments.c.hotkey,
    published.c.validator_hotkey,
    subnet_owner.c.hotkey,
    subnet_owner.c.coldkey,
)


def require_known(scope: Scope, address: str) -> None:
    """Raise ``UnknownAccountError`` for an address that nothing up to the scope's block names.

    Earlier versions of a row count too: who held a UID once has a statement for ever.
    """
    queries = [_named(column, scope, address) for column in _NAMING]
    if any(scope.connection.execute(query).first() is not None for query in queries):
        return
    msg = (
        f"address {address} appears nowhere in the log of {scope.head.network}/"
        f"{scope.head.netuid} up to block {scope.block}; check that it is the one you mean"
    )
    raise UnknownAccountError(msg)


def _named(column: Column[str], scope: Scope, address: str) -> Select[tuple[int]]:
    table = column.table
    return (
        select(table.c.log_id)
        .where(table.c.log_id == scope.head.log_id, table.c.since <= scope.position)
        .where(column == address)
        .limit(1)
    )
