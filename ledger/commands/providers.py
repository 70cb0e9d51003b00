"""Whose provider's name a booking may say: one that is known, or one that is said to be new.

A name becomes an account. What is mistyped would be booked for good at a provider that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.application import Unit
from ledger.books.accounts import PAYABLE_HOLDER
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import RentalRequested
from ledger.decisions.treasury import Adjusted, Contributed, PayablePaid, TaoConverted
from ledger.observations import BalanceObserved, InvoiceLineSeen
from ledger.rental_policy import PROVIDERS


def must_be_a_provider(unit: Unit, name: str, *, new: bool) -> None:
    """Refuse the name of a provider that neither the program nor the arena's log knows.

    With ``new`` it is taken as it is, known or not: who says the same again is not refused.
    """
    if not new and not _is_known(unit, name):
        msg = (
            f"no provider '{name}' is known here, only {_known(unit)}; mend the name, or say "
            "--new-provider where it is meant to be a new one"
        )
        raise DecisionRefusedError(msg)


def must_hold_dollars(unit: Unit, name: str) -> None:
    """Refuse to pay out of the dollars at a provider that nobody knows: none were paid in there."""
    if not _is_known(unit, name):
        msg = (
            f"no dollars can have left '{name}', for no such provider is known here, only "
            f"{_known(unit)}; mend the name, or book first what was paid in there"
        )
        raise DecisionRefusedError(msg)


def _is_known(unit: Unit, name: str) -> bool:
    return name in PROVIDERS or any(one == name for one in _named_in(unit))


def _known(unit: Unit) -> str:
    return ", ".join(sorted({*PROVIDERS, *_named_in(unit)}))


def _named_in(unit: Unit) -> Iterator[str]:
    """The providers that the arena's log names, one as often as it does."""
    ledger = unit.ledger
    for sold in ledger.every(TaoConverted):
        yield sold.provider
    for paid in ledger.every(PayablePaid):
        yield from (paid.provider, paid.paid_from)
    for gift in ledger.every(Contributed, where=lambda one: one.provider is not None):
        yield str(gift.provider)
    for mended in ledger.every(Adjusted, where=lambda one: one.provider is not None):
        yield str(mended.provider)
    for rented in ledger.every(RentalRequested):
        yield rented.provider
    for billed in ledger.every(InvoiceLineSeen):
        yield billed.provider
    for stated in ledger.every(BalanceObserved, where=lambda one: one.source == "provider"):
        yield stated.account.removeprefix(PAYABLE_HOLDER)
