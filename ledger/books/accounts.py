"""The accounts of an arena's journal (DOMAIN 3).

An account is a name; an asset is ``TAO`` (rao), ``USD`` (millionths) or ``ALPHA:<netuid>`` (10^-9).
A posting above zero is a debit. Accounts under ``assets:`` hold what the outside can confirm.
"""

from __future__ import annotations

from typing import Final

TAO: Final = "TAO"
USD: Final = "USD"

TREASURY: Final = "assets:treasury"
FEE_INCOME: Final = "income:fees"
OVERPAID: Final = "income:overpaid_fees"
UNCLAIMED: Final = "liabilities:unclaimed_payments"
CONVERSION: Final = "clearing:conversion"
BUYBACK: Final = "clearing:buyback"
BUYBACK_SPENT: Final = "expenses:buyback"
ALPHA_BURNED: Final = "expenses:alpha_burned"
NETWORK_FEES: Final = "expenses:network_fees"
RENTAL: Final = "expenses:gpu_rental"
CONTRIBUTIONS: Final = "equity:contributions"
ADJUSTMENTS: Final = "equity:adjustments"

_ASSETS: Final = "assets:"


def alpha(netuid: int) -> str:
    """The asset name of a subnet's alpha."""
    return f"ALPHA:{netuid}"


def provider(name: str) -> str:
    """The account of dollars prepaid at a GPU provider."""
    return f"{_ASSETS}provider:{name}"


def is_asset(account: str) -> bool:
    """Whether the outside can confirm the account's balance."""
    return account.startswith(_ASSETS)
