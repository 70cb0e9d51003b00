"""Booking what the treasurer knows and no chain tells, and closing periods.

One command per booking, each under a reference of the outside (an exchange's trade, an extrinsic, a
bank's transfer): the same booking again is a no-op. Where the log can tell whether what is booked
happened, a contradiction is refused, and what the log does not know yet is booked and said.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ledger.application import Ledger, Unit
from ledger.books.accounts import PAYABLE_HOLDER
from ledger.books.periods import Closing
from ledger.commands.providers import must_be_a_provider, must_hold_dollars
from ledger.commands.said import check_actor, must_be_one_line
from ledger.commands.treasury_checks import (
    MAX_REFERENCE_CHARS,
    block_of,
    check,
    must_be_a_price,
    must_be_that_burn,
    must_carry_no_refund,
    must_fit,
    must_have_a_place,
)
from ledger.commands.treasury_evidence import burn_in, payment_in, statements_of, transfers_in
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment
from ledger.decisions.treasury import MAX_AMOUNT, Asset, Treasury
from ledger.keys import treasury_id
from ledger.observations import BalanceObserved, PriceObserved
from ledger.units import Alpha, Rao, UsdMicros

MAX_PRICE_SOURCE_CHARS: Final = 128
"""Of a price's source, which is part of the fact's key."""


class Booked(msgspec.Struct, frozen=True):
    """What came of a booking: whether it is new, and what the log does not bear out (yet)."""

    reference: str
    about_block: int
    new: bool
    notes: tuple[str, ...] = ()


def convert(
    ledger: Ledger,
    *,
    sold_rao: int,
    bought_usd_micros: int,
    usd_micros_per_tao: int,
    provider: str,
    source: str,
    reference: str,
    about_block: int | None,
    actor: str,
    new_provider: bool = False,
) -> Booked:
    """Book that TAO was sold for dollars at a provider; ``reference`` is the transfer's extrinsic.

    ``about_block`` may be None where the log knows that transfer. Refused where the stated price
    does not give the dollars within a cent, the transfer was in another block, or it carried a
    refund out. A provider that nobody knows is refused unless it is said to be a new one.
    """
    check(actor, reference, provider=provider, source=source)
    must_be_a_price(usd_micros_per_tao)
    must_fit(sold_rao, bought_usd_micros, usd_micros_per_tao)

    def work(unit: Unit) -> Booked:
        must_be_a_provider(unit, provider, new=new_provider)
        left = transfers_in(unit, reference, about_block)
        seen = left[0] if left else None
        left_rao = sum(fact.amount_rao for fact in left)
        treasury = _treasury(unit)
        if reference not in treasury.references:
            must_carry_no_refund(unit, reference)
        notes = []
        if seen is None:
            notes.append(
                f"no transfer out of the treasury in extrinsic {reference} is in the log yet; "
                "until it is, the sale is a break: in_books_not_on_chain"
            )
        elif left_rao != sold_rao:
            notes.append(
                f"the log knows {Rao(left_rao)} to have left in it, not {Rao(sold_rao)}: "
                "the difference is a break: amount_differs"
            )
        block = block_of(unit, about_block, seen.block if seen else None, "transfer")
        before = len(unit.facts)
        treasury.convert(
            unit.context if seen is None else unit.context.because(seen),
            reference=reference,
            sold_rao=sold_rao,
            bought_usd_micros=bought_usd_micros,
            usd_micros_per_tao=usd_micros_per_tao,
            provider=provider,
            source=source,
            about_block=block,
            actor=actor,
        )
        return Booked(reference, block, len(unit.facts) > before, tuple(notes))

    return ledger.decide(work)


def contribute(
    ledger: Ledger,
    *,
    asset: Asset,
    amount: int,
    provider: str | None,
    contributor: str,
    reference: str,
    about_block: int | None,
    actor: str,
    new_provider: bool = False,
) -> Booked:
    """Book money that somebody gave: dollars paid in at a provider, alpha, or TAO.

    TAO is in the books already, as the unclaimed payment of the extrinsic ``reference``: that must
    be in the log, unclaimed, and of that amount. It pays no fee any more.
    """
    check(actor, reference, provider=provider, contributor=contributor)
    must_have_a_place(asset, provider, new_provider=new_provider)

    def work(unit: Unit) -> Booked:
        if provider is not None:
            must_be_a_provider(unit, provider, new=new_provider)
        context, block = unit.context, about_block
        before = len(unit.facts)
        if asset == "TAO":
            seen = payment_in(unit, reference, about_block)
            block = block_of(unit, about_block, seen.block, "payment")
            context = context.because(seen)
        else:
            block = block_of(unit, about_block, None, "contribution")
        _treasury(unit).contribute(
            context,
            reference=reference,
            asset=asset,
            amount=amount,
            provider=provider,
            contributor=contributor,
            about_block=block,
            actor=actor,
        )
        if asset == "TAO" and len(unit.facts) > before:
            unit.get(Payment, seen.originator_id).contribute(
                context,
                amount_rao=amount,
                contributor=contributor,
                reference=reference,
                actor=actor,
            )
        return Booked(reference, block, len(unit.facts) > before)

    return ledger.decide(work)


def adjust(
    ledger: Ledger,
    *,
    asset: Asset,
    amount: int,
    provider: str | None,
    reason: str,
    reference: str,
    about_block: int,
    actor: str,
    new_provider: bool = False,
) -> Booked:
    """Book a signed correction with its reason; about a closed period, too."""
    check(actor, reference, provider=provider, reason=reason)
    must_have_a_place(asset, provider, new_provider=new_provider)
    if not 0 < abs(amount) <= MAX_AMOUNT:
        msg = (
            f"adjustment '{reference}' needs an amount above or below zero, of up to {MAX_AMOUNT} "
            f"of the smallest unit, not {amount}"
        )
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> Booked:
        if provider is not None:
            must_be_a_provider(unit, provider, new=new_provider)
        block = block_of(unit, about_block, None, "adjustment")
        before = len(unit.facts)
        _treasury(unit).adjust(
            unit.context,
            reference=reference,
            asset=asset,
            amount=amount,
            provider=provider,
            reason=reason,
            about_block=block,
            actor=actor,
        )
        return Booked(reference, block, len(unit.facts) > before)

    return ledger.decide(work)


def pay(
    ledger: Ledger,
    *,
    provider: str,
    paid_from: str,
    usd_micros: int,
    invoice: str | None,
    reference: str,
    about_block: int,
    actor: str,
    new_provider: bool = False,
) -> Booked:
    """Book that a provider's bill was paid out of the dollars at ``paid_from``.

    That one must be known; only the provider can be new.
    """
    check(actor, reference, provider=provider, paid_from=paid_from, invoice=invoice)

    def work(unit: Unit) -> Booked:
        must_be_a_provider(unit, provider, new=new_provider)
        must_hold_dollars(unit, paid_from)
        block = block_of(unit, about_block, None, "payment")
        before = len(unit.facts)
        _treasury(unit).pay(
            unit.context,
            reference=reference,
            provider=provider,
            paid_from=paid_from,
            usd_micros=usd_micros,
            invoice=invoice,
            about_block=block,
            actor=actor,
        )
        return Booked(reference, block, len(unit.facts) > before)

    return ledger.decide(work)


def destroy_alpha(
    ledger: Ledger,
    *,
    how: Literal["burned", "recycled"],
    alpha: int,
    reason: str,
    reference: str,
    about_block: int | None,
    actor: str,
) -> Booked:
    """Book the treasury's own alpha that was burned or recycled outside of a buyback.

    Refused where the log knows the extrinsic to have done another thing, or as a buyback's.
    """
    check(actor, reference, reason=reason)

    def work(unit: Unit) -> Booked:
        netuid = unit.context.arena.netuid
        seen = burn_in(unit, reference, about_block)
        context, notes = unit.context, []
        treasury = _treasury(unit)
        if seen is None:
            notes.append(
                f"no {_NOUN[how]} by the treasury in extrinsic {reference} is in the log yet; "
                "until it is, it is a break: in_books_not_on_chain"
            )
        else:
            context = context.because(seen)
            must_be_that_burn(treasury, seen, how)
            if seen.alpha != alpha:
                notes.append(
                    f"the log knows {Alpha(seen.alpha, netuid)} to have gone in it, not "
                    f"{Alpha(alpha, netuid)}: the difference is a break: amount_differs"
                )
        block = block_of(unit, about_block, seen.block if seen else None, _NOUN[how])
        before = len(unit.facts)
        treasury.destroy_alpha(
            context,
            reference=reference,
            how=how,
            alpha=alpha,
            netuid=netuid,
            reason=reason,
            about_block=block,
            actor=actor,
        )
        return Booked(reference, block, len(unit.facts) > before, tuple(notes))

    return ledger.decide(work)


def observe_price(
    ledger: Ledger, *, usd_micros_per_tao: int, source: str, about_block: int
) -> Booked:
    """Record what a TAO cost in dollars by a source; one price a source and block."""
    must_be_one_line("a source", source, MAX_PRICE_SOURCE_CHARS)
    must_be_a_price(usd_micros_per_tao)

    def work(unit: Unit) -> Booked:
        block = block_of(unit, about_block, None, "price")
        key = f"price:{unit.context.arena}:TAO/USD:{source}:{block}"
        new = ledger.known(key) is None
        unit.observe(
            PriceObserved,
            key,
            pair="TAO/USD",
            price=usd_micros_per_tao,
            source=source,
            about_block=block,
        )
        return Booked(source, block, new)

    return ledger.decide(work)


def observe_statement(
    ledger: Ledger,
    *,
    provider: str,
    usd_micros: int,
    statement: str,
    about_block: int,
    actor: str,
    correction: str | None = None,
    new_provider: bool = False,
) -> Booked:
    """Record the dollars that a provider's statement shows at a block; one a provider and block.

    ``provider`` is ``payable:<name>`` for what is owed to it. A ``correction`` says why what
    was recorded before was wrong and takes its place; both facts stay, and a period that is closed
    stays as it was.
    """
    check(actor, None, provider=provider.removeprefix(PAYABLE_HOLDER), reason=correction)
    must_be_one_line("a statement's name", statement, MAX_REFERENCE_CHARS)
    if abs(usd_micros) > MAX_AMOUNT:
        msg = f"a statement shows up to {UsdMicros(MAX_AMOUNT)}, not {UsdMicros(usd_micros)}"
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> Booked:
        must_be_a_provider(unit, provider.removeprefix(PAYABLE_HOLDER), new=new_provider)
        block = block_of(unit, about_block, None, "statement")
        key = f"balance:{unit.context.arena}:USD:{provider}:{block}"
        recorded = statements_of(unit, key)
        offered = (usd_micros, statement, actor, correction)
        same = next((fact for fact in recorded if _stated(fact) == offered), None)
        if same is not None:
            notes = []
            if same is not recorded[-1]:
                now = UsdMicros(recorded[-1].amount)
                notes.append(f"it was corrected since, and {now} counts there now")
            return Booked(statement, block, new=False, notes=tuple(notes))
        _must_correct(provider, block, recorded, correction)
        further = f":{len(recorded) + 1}" if recorded else ""
        if recorded:
            unit.because(recorded[-1])
        unit.observe(
            BalanceObserved,
            f"{key}{further}",
            asset="USD",
            account=provider,
            amount=usd_micros,
            source="provider",
            about_block=block,
            statement=statement,
            actor=actor,
            reason=correction,
        )
        notes = [f"it takes the place of {UsdMicros(recorded[-1].amount)}"] if recorded else []
        return Booked(statement, block, new=True, notes=tuple(notes))

    return ledger.decide(work)


def close_period(ledger: Ledger, closing: Closing, actor: str) -> bool:
    """Close the open period with these figures; whether it was still open.

    The figures are of :func:`ledger.queries.periods.closing_at`. What was recorded since they were
    made counts in the next period. Refused where another period was closed meanwhile.
    """
    check_actor(actor)

    def work(unit: Unit) -> bool:
        treasury = _treasury(unit)
        if treasury.closed_to_block == closing.to_block:
            return False
        opened = unit.arena.opened_at_block
        begins = opened if treasury.closed_to_block is None else treasury.closed_to_block
        expected = (treasury.periods + 1, begins, treasury.deficit_rao or 0)
        if expected != (closing.number, closing.from_block, closing.carried_in_rao):
            msg = (
                f"period {closing.number} was counted on from block {closing.from_block}, and "
                f"meanwhile period {treasury.periods} was closed at block {begins}; close again"
            )
            raise DecisionRefusedError(msg)
        treasury.close_period(unit.context, closing.to_block, opened, actor, **closing.content())
        return True

    return ledger.decide(work)


# -- inside ---------------------------------------------------------------------------------------


def _stated(fact: BalanceObserved) -> tuple[int, str | None, str | None, str | None]:
    return fact.amount, fact.statement, fact.actor, fact.reason


def _must_correct(
    provider: str, block: int, recorded: list[BalanceObserved], correction: str | None
) -> None:
    if recorded and correction is None:
        last = recorded[-1]
        msg = (
            f"the statement of {provider} at block {block} is recorded already, as "
            f"{UsdMicros(last.amount)} by {last.actor or 'nobody named'} out of "
            f"'{last.statement or 'no statement named'}'; say why it is wrong with --correction"
        )
        raise DecisionRefusedError(msg)
    if not recorded and correction is not None:
        msg = (
            f"no statement of {provider} at block {block} is recorded, so there is none to "
            "correct; record it without --correction"
        )
        raise DecisionRefusedError(msg)


_NOUN: Final = {"burned": "burn", "recycled": "recycling"}


def _treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))
