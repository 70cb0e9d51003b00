"""Which accounts and assets a journal can be asked for: what is known, posted to or not.

"Nothing was posted" and "mistyped" must not read alike. An account is known where every journal has
it, where it has a posting by the scope's block, or where it is of a provider or a contest that is
known by then.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, Table, and_, or_, select

from ledger.books import accounts
from ledger.projections.journal import postings
from ledger.projections.rentals import invoice_lines, rentals
from ledger.projections.treasury import balances
from ledger.queries.contests import contest_of
from ledger.queries.scope import Scope
from ledger.rental_policy import PROVIDERS


class UnknownBookError(LookupError):
    """The journal was asked for an account or an asset that can have no posting."""

    def __init__(self, what: Literal["account", "asset"], name: str, block: int) -> None:
        super().__init__(f"the journal has no {what} '{name}' by block {block}")
        self.what = what


def must_be_known(scope: Scope, account: str | None, asset: str | None) -> None:
    """Raise :class:`UnknownBookError` for a name that is not known; None is not asked for."""
    if account is not None and not _is_account(scope, account):
        raise UnknownBookError("account", account, scope.block)
    if asset is not None and not _is_asset(scope, asset):
        raise UnknownBookError("asset", asset, scope.block)


def of_account(account: str) -> ColumnElement[bool]:
    """The postings of an account and of those below it."""
    below = postings.c.account.startswith(f"{account}:", autoescape=True)
    return or_(postings.c.account == account, below)


def _is_account(scope: Scope, name: str) -> bool:
    if accounts.in_chart(name) or _any(scope, postings, of_account(name)):
        return True
    provider, contest = accounts.provider_of(name), accounts.contest_of(name)
    if provider is not None:
        return _is_provider(scope, provider)
    return contest is not None and contest_of(scope, contest) is not None


def _is_asset(scope: Scope, name: str) -> bool:
    usual = (accounts.TAO, accounts.USD, accounts.alpha(scope.head.netuid))
    return name in usual or _any(scope, postings, postings.c.asset == name)


def _is_provider(scope: Scope, name: str) -> bool:
    """One that the program can ask, or that a booking, a rental, a bill or a statement names."""
    booked = of_account(accounts.provider(name)), of_account(accounts.payable(name))
    stated = balances.c.account.in_((name, f"{accounts.PAYABLE_HOLDER}{name}"))
    return (
        name in PROVIDERS
        or _any(scope, postings, or_(*booked))
        or _any(scope, rentals, rentals.c.provider == name)
        or _any(scope, invoice_lines, invoice_lines.c.provider == name)
        or _any(scope, balances, and_(stated, balances.c.source == "provider"))
    )


def _any(scope: Scope, table: Table, condition: ColumnElement[Any]) -> bool:
    """Whether a row of a view meets the condition at the scope's position, or did before."""
    at = table.c.since if "since" in table.c else table.c.position
    query = select(at).where(table.c.log_id == scope.head.log_id, at <= scope.position, condition)
    return scope.connection.execute(query.limit(1)).first() is not None
