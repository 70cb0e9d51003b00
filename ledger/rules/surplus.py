"""Rental first: what of a period's fees is left for buying back (DOMAIN 3).

Pure. TAO in rao, dollars in millionths, prices in millionths of a dollar per whole TAO. Every
rounding is against spending: the rental due in rao and the reserve are rounded up.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.units import PPM, RAO_PER_TAO


class Surplus(NamedTuple):
    """What fees and rental came to. At most one of surplus and deficit is above zero."""

    surplus_rao: int
    deficit_rao: int
    """What the fees did not pay for; it is carried into the next period."""


def due_rao(rental_due_usd_micros: int, usd_micros_per_tao: int) -> int:
    """The rental due in rao at a price, rounded up.

    A credit of the providers (below zero) is rounded towards zero, which is up, too. Raises
    ``ValueError`` for a price below 1.
    """
    if usd_micros_per_tao < 1:
        msg = f"a price of {usd_micros_per_tao} millionths of a dollar per TAO values nothing"
        raise ValueError(msg)
    return -(-rental_due_usd_micros * RAO_PER_TAO // usd_micros_per_tao)


def rental_first(fees_rao: int, rental_due_rao: int, carried_rao: int) -> Surplus:
    """Fees pay for the rental, then for the deficit of earlier periods; the rest is surplus.

    surplus = max(0, fees - rental due - carried), deficit = max(0, rental due + carried - fees).
    Fees are below zero where more was credited than paid. Raises ``ValueError`` for a carried
    deficit below zero.
    """
    if carried_rao < 0:
        msg = f"a deficit of {carried_rao} rao cannot be carried"
        raise ValueError(msg)
    left = fees_rao - rental_due_rao - carried_rao
    return Surplus(max(0, left), max(0, -left))


def reserve_rao(closing_rao: int, reserve_ppm: int) -> int:
    """The share of a closing balance that is kept, rounded up. A share, not a flow."""
    return -(-closing_rao * reserve_ppm // PPM)


def proposed_buyback_rao(
    surplus_rao: int,
    closing_rao: int,
    kept_rao: int,
    unclaimed_rao: int,
    credits_rao: int,
    buybacks_rao: int,
) -> int:
    """The surplus, as far as the closing balance holds it and it is nothing else's.

    max(0, min(surplus, closing - reserve - unclaimed payments - credits - other buybacks)): what
    was paid and nobody took yet, and what was promised back in kind, may have to be given back;
    what other buybacks may still take out of that balance cannot be spent twice.
    """
    promised = unclaimed_rao + credits_rao + buybacks_rao
    return max(0, min(surplus_rao, closing_rao - kept_rao - promised))
