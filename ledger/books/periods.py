"""What a period comes to when it is closed, by the rule "rental first" (DOMAIN 3).

Pure: sums of the journal, a price and balances in, the figures of a closing out. A fact that was
recorded after its own period was closed counts in the period in which it was recorded; its part of
the sums is shown as late.
"""

from __future__ import annotations

import msgspec

from ledger.decisions.base import DecisionRefusedError
from ledger.rules.surplus import due_rao, proposed_buyback_rao, rental_first, reserve_rao


class TaoPrice(msgspec.Struct, frozen=True):
    """Millionths of a dollar per whole TAO, as stated about a block.

    ``stated`` is ``observed`` for a price, ``converted`` where TAO was sold at it.
    """

    usd_micros_per_tao: int
    source: str
    block: int
    stated: str


class Flows(msgspec.Struct, frozen=True):
    """What the journal holds of a period; the late parts are about closed periods, and in the sums.

    Below zero where more fees were credited than earned, or more rental corrected than booked.
    """

    fees_rao: int
    late_fees_rao: int
    rental_due_usd_micros: int
    late_rental_usd_micros: int


class Held(msgspec.Struct, frozen=True):
    """The treasury's observed TAO at the end, and what of it is not the treasury's to plan with.

    ``closing_rao`` is None where nobody observed it. ``buybacks_rao`` is what buybacks that are
    planned, approved or sent may take, and what others took after the end.
    """

    closing_rao: int | None
    unclaimed_rao: int
    credits_rao: int
    buybacks_rao: int


class Closing(msgspec.Struct, frozen=True):
    """A period as it would be closed now. ``counted_to_position`` ends what was counted.

    ``price`` is None where no rental is due and none is known; ``reserve_rao`` and
    ``proposed_buyback_rao`` are None where the closing balance is not known.
    """

    number: int
    from_block: int
    to_block: int
    counted_to_position: int
    flows: Flows
    price: TaoPrice | None
    rental_due_rao: int
    carried_in_rao: int
    surplus_rao: int
    deficit_rao: int
    held: Held
    reserve_ppm: int
    reserve_rao: int | None
    proposed_buyback_rao: int | None
    warnings: tuple[str, ...] = ()

    def content(self) -> dict[str, object]:
        """The figures by their names in the fact."""
        return {
            "fees_rao": self.flows.fees_rao,
            "rental_due_usd_micros": self.flows.rental_due_usd_micros,
            "price_usd_micros_per_tao": self.price.usd_micros_per_tao if self.price else None,
            "price_source": self.price.source if self.price else None,
            "price_block": self.price.block if self.price else None,
            "rental_due_rao": self.rental_due_rao,
            "carried_in_rao": self.carried_in_rao,
            "surplus_rao": self.surplus_rao,
            "deficit_rao": self.deficit_rao,
            "reserve_rao": self.reserve_rao,
            "proposed_buyback_rao": self.proposed_buyback_rao,
            "counted_to_position": self.counted_to_position,
        }


def closing(
    number: int,
    from_block: int,
    to_block: int,
    *,
    counted_to_position: int,
    flows: Flows,
    price: TaoPrice | None,
    carried_in_rao: int,
    held: Held,
    reserve_ppm: int,
    warnings: tuple[str, ...] = (),
) -> Closing:
    """The figures of a period; :class:`DecisionRefusedError` for rental due without a price."""
    if flows.rental_due_usd_micros and price is None:
        msg = (
            f"rental of {flows.rental_due_usd_micros} millionths of a dollar is due and the log "
            f"holds no price of TAO at or before block {to_block}; record one with 'treasury price'"
        )
        raise DecisionRefusedError(msg)
    due = due_rao(flows.rental_due_usd_micros, price.usd_micros_per_tao) if price else 0
    surplus, deficit = rental_first(flows.fees_rao, due, carried_in_rao)
    kept = proposed = None
    if held.closing_rao is not None:
        kept = reserve_rao(held.closing_rao, reserve_ppm)
        proposed = proposed_buyback_rao(
            surplus,
            held.closing_rao,
            kept,
            held.unclaimed_rao,
            held.credits_rao,
            held.buybacks_rao,
        )
    return Closing(
        number=number,
        from_block=from_block,
        to_block=to_block,
        counted_to_position=counted_to_position,
        flows=flows,
        price=price,
        rental_due_rao=due,
        carried_in_rao=carried_in_rao,
        surplus_rao=surplus,
        deficit_rao=deficit,
        held=held,
        reserve_ppm=reserve_ppm,
        reserve_rao=kept,
        proposed_buyback_rao=proposed,
        warnings=warnings,
    )
