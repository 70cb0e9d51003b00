"""The accounts of an arena's journal (DOMAIN 3).

An account is a name; an asset is ``TAO`` (rao), ``USD`` (millionths) or ``ALPHA:<netuid>`` (10^-9).
A posting above zero is a debit. Accounts under ``assets:`` hold what the outside can confirm.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

TAO: Final = "TAO"
USD: Final = "USD"

TREASURY: Final = "assets:treasury"
FEE_INCOME: Final = "income:fees"
OVERPAID: Final = "income:overpaid_fees"
ALPHA_EARNED: Final = "income:alpha_earned"
OWNER_CUT: Final = "income:owner_cut"
UNCLAIMED: Final = "liabilities:unclaimed_payments"
CREDITS: Final = "liabilities:credits"
CONVERSION: Final = "clearing:conversion"
BUYBACK: Final = "clearing:buyback"
BUYBACK_SPENT: Final = "expenses:buyback"
ALPHA_BURNED: Final = "expenses:alpha_burned"
ALPHA_RECYCLED: Final = "expenses:alpha_recycled"
NETWORK_FEES: Final = "expenses:network_fees"
RENTAL: Final = "expenses:gpu_rental"
CONTRIBUTIONS: Final = "equity:contributions"
ADJUSTMENTS: Final = "equity:adjustments"

PAYABLE_HOLDER: Final = "payable:"
"""Before a provider's name: whose statement says what is owed to it, above zero."""

_ASSETS: Final = "assets:"
_PROVIDER: Final = "assets:provider:"
_PAYABLE: Final = "liabilities:payable:"

CHART: Final = frozenset(
    {
        TREASURY,
        FEE_INCOME,
        OVERPAID,
        ALPHA_EARNED,
        OWNER_CUT,
        UNCLAIMED,
        CREDITS,
        CONVERSION,
        BUYBACK,
        BUYBACK_SPENT,
        ALPHA_BURNED,
        ALPHA_RECYCLED,
        NETWORK_FEES,
        RENTAL,
        CONTRIBUTIONS,
        ADJUSTMENTS,
        _PROVIDER.removesuffix(":"),
        _PAYABLE.removesuffix(":"),
    }
)
"""What every arena's journal has, posted to or not. Providers and contests come below."""


def alpha(netuid: int) -> str:
    """The asset name of a subnet's alpha."""
    return f"ALPHA:{netuid}"


def in_chart(account: str) -> bool:
    """Whether :data:`CHART` has the account, or some below it."""
    return any(f"{one}:".startswith(f"{account}:") for one in CHART)


def provider(name: str) -> str:
    """The account of dollars prepaid at a GPU provider."""
    return f"{_PROVIDER}{name}"


def payable(name: str) -> str:
    """The account of dollars owed to a GPU provider that bills afterwards."""
    return f"{_PAYABLE}{name}"


def provider_of(account: str) -> str | None:
    """The provider whose account it is, prepaid or payable; None for any other account."""
    for prefix in (_PROVIDER, _PAYABLE):
        if account.startswith(prefix):
            return account.removeprefix(prefix)
    return None


def beside(account: str) -> str | None:
    """The other account of the provider, prepaid or payable; None where it is no provider's."""
    name = provider_of(account)
    if name is None:
        return None
    return provider(name) if is_payable(account) else payable(name)


def is_payable(account: str) -> bool:
    """Whether it is dollars owed to a provider."""
    return account.startswith(_PAYABLE)


def rental_of(contest: UUID | None) -> str:
    """The account of what a contest's machine time cost; of no contest, of time that none used."""
    return RENTAL if contest is None else f"{RENTAL}:{contest}"


def contest_of(account: str) -> UUID | None:
    """The contest whose machine time the account is of; None for any other account."""
    name = account.removeprefix(f"{RENTAL}:")
    try:
        contest = UUID(name)
    except ValueError:
        return None
    return contest if account == rental_of(contest) else None


def is_asset(account: str) -> bool:
    """Whether the outside can confirm the account's balance."""
    return account.startswith(_ASSETS)
