"""Booking what the treasurer knows and no chain tells, and closing periods.

One command per booking, each under a reference of the outside (an exchange's trade, an extrinsic, a
bank's transfer): the same booking again is a no-op. Where the log can tell whether what is booked
happened, a contradiction is refused, and what the log does not know yet is booked and said.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ledger.application import Ledger, Unit
from ledger.books.periods import Closing
from ledger.commands.refunds import refunds_sent_in
from ledger.commands.said import check_actor, must_be_one_line
from ledger.commands.treasury_evidence import burn_in, payment_in, statements_of, transfers_in
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment
from ledger.decisions.treasury import MAX_AMOUNT, Asset, Treasury
from ledger.keys import treasury_id
from ledger.observations import (
    AlphaBurnSeen,
    BalanceObserved,
    PriceObserved,
)
from ledger.units import RAO_PER_TAO, Alpha, Rao, UsdMicros

MAX_NAME_CHARS: Final = 64
"""Of a provider's name, or a contributor's."""
MAX_REFERENCE_CHARS: Final = 128
MAX_TEXT_CHARS: Final = 256
"""Of a reason or a source."""
MAX_PRICE_SOURCE_CHARS: Final = 128
"""Of a price's source, which is part of the fact's key."""

PAYABLE: Final = "payable:"
"""Before a provider's name: a statement of what is owed to it."""

CENT_USD_MICROS: Final = 10_000
"""Exchanges round what they pay out to a cent, and state a price to a millionth at best."""


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
) -> Booked:
    """Book that TAO was sold for dollars at a provider; ``reference`` is the transfer's extrinsic.

    ``about_block`` may be None where the log knows that transfer. Refused where the stated price
    does not give the dollars within a cent, the transfer was in another block, or it carried a
    refund out.
    """
    _check(actor, reference, provider=provider, source=source)
    _must_be_a_price(usd_micros_per_tao)
    _must_fit(sold_rao, bought_usd_micros, usd_micros_per_tao)

    def work(unit: Unit) -> Booked:
        left = transfers_in(unit, reference, about_block)
        seen = left[0] if left else None
        left_rao = sum(fact.amount_rao for fact in left)
        treasury = _treasury(unit)
        if reference not in treasury.references:
            _must_carry_no_refund(unit, reference)
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
        block = _block(unit, about_block, seen.block if seen else None, "transfer")
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
) -> Booked:
    """Book money that somebody gave: dollars paid in at a provider, alpha, or TAO.

    TAO is in the books already, as the unclaimed payment of the extrinsic ``reference``: that must
    be in the log, unclaimed, and of that amount. It pays no fee any more.
    """
    _check(actor, reference, provider=provider, contributor=contributor)
    _must_have_a_place(asset, provider)

    def work(unit: Unit) -> Booked:
        context, block = unit.context, about_block
        before = len(unit.facts)
        if asset == "TAO":
            seen = payment_in(unit, reference, about_block)
            block = _block(unit, about_block, seen.block, "payment")
            context = context.because(seen)
        else:
            block = _block(unit, about_block, None, "contribution")
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
) -> Booked:
    """Book a signed correction with its reason; about a closed period, too."""
    _check(actor, reference, provider=provider, reason=reason)
    _must_have_a_place(asset, provider)
    if not 0 < abs(amount) <= MAX_AMOUNT:
        msg = (
            f"adjustment '{reference}' needs an amount above or below zero, of up to {MAX_AMOUNT} "
            f"of the smallest unit, not {amount}"
        )
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> Booked:
        block = _block(unit, about_block, None, "adjustment")
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
) -> Booked:
    """Book that a provider's bill was paid out of the dollars at ``paid_from``."""
    _check(actor, reference, provider=provider, paid_from=paid_from, invoice=invoice)

    def work(unit: Unit) -> Booked:
        block = _block(unit, about_block, None, "payment")
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
    _check(actor, reference, reason=reason)

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
            _must_be_that_burn(treasury, seen, how)
            if seen.alpha != alpha:
                notes.append(
                    f"the log knows {Alpha(seen.alpha, netuid)} to have gone in it, not "
                    f"{Alpha(alpha, netuid)}: the difference is a break: amount_differs"
                )
        block = _block(unit, about_block, seen.block if seen else None, _NOUN[how])
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
    _must_be_a_price(usd_micros_per_tao)

    def work(unit: Unit) -> Booked:
        block = _block(unit, about_block, None, "price")
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
) -> Booked:
    """Record the dollars that a provider's statement shows at a block; one a provider and block.

    ``provider`` is ``payable:<name>`` for what is owed to it. A ``correction`` says why what
    was recorded before was wrong and takes its place; both facts stay, and a period that is closed
    stays as it was.
    """
    _check(actor, None, provider=provider.removeprefix(PAYABLE), reason=correction)
    must_be_one_line("a statement's name", statement, MAX_REFERENCE_CHARS)
    if abs(usd_micros) > MAX_AMOUNT:
        msg = f"a statement shows up to {UsdMicros(MAX_AMOUNT)}, not {UsdMicros(usd_micros)}"
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> Booked:
        block = _block(unit, about_block, None, "statement")
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
_CALL: Final = {"burned": "burn_alpha", "recycled": "recycle_alpha"}


def _treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))


_TEXTS: Final = {
    "provider": ("a provider's name", MAX_NAME_CHARS),
    "paid_from": ("the name of the account paid from", MAX_NAME_CHARS),
    "contributor": ("a contributor's name", MAX_NAME_CHARS),
    "invoice": ("an invoice's number", MAX_NAME_CHARS),
    "reason": ("a reason", MAX_TEXT_CHARS),
    "source": ("a source", MAX_TEXT_CHARS),
}


_PLACES: Final = frozenset({"provider", "paid_from"})
"""Names that become part of an account's, whose parts a colon divides."""


def _check(actor: str, reference: str | None, **texts: str | None) -> None:
    check_actor(actor)
    if reference is not None:
        must_be_one_line("a reference", reference, MAX_REFERENCE_CHARS)
    for name, text in texts.items():
        if text is not None:
            must_be_one_line(_TEXTS[name][0], text, _TEXTS[name][1])
            if name in _PLACES and ":" in text:
                msg = f"{_TEXTS[name][0]} has no colon, and {text!r} does; name the provider alone"
                raise DecisionRefusedError(msg)


def _must_fit(sold_rao: int, bought_usd_micros: int, usd_micros_per_tao: int) -> None:
    """The stated price gives the dollars, within a cent and the price's own last place."""
    allowed = CENT_USD_MICROS * RAO_PER_TAO + sold_rao
    if abs(bought_usd_micros * RAO_PER_TAO - sold_rao * usd_micros_per_tao) > allowed:
        msg = (
            f"{Rao(sold_rao)} at {UsdMicros(usd_micros_per_tao)} per TAO is not "
            f"{UsdMicros(bought_usd_micros)}; give the price that the source states for this sale, "
            "after its charges"
        )
        raise DecisionRefusedError(msg)


def _must_be_a_price(usd_micros_per_tao: int) -> None:
    if not 1 <= usd_micros_per_tao <= MAX_AMOUNT:
        msg = (
            f"a price of {UsdMicros(usd_micros_per_tao)} per TAO is none; give one above zero and "
            f"up to {UsdMicros(MAX_AMOUNT)}"
        )
        raise DecisionRefusedError(msg)


def _must_have_a_place(asset: Asset, provider: str | None) -> None:
    if (asset == "USD") == (provider is None):
        msg = "dollars lie at a provider, and nothing else does: name one for dollars only"
        raise DecisionRefusedError(msg)


def _block(unit: Unit, said: int | None, known: int | None, what: str) -> int:
    """The block that a booking is about; within the log, and the one that the log knows."""
    if said is None and known is None:
        msg = f"the log does not know this {what}, so say the block that it is about"
        raise DecisionRefusedError(msg)
    if said is not None and known is not None and said != known:
        msg = f"the {what} is in the log at block {known}, so it is not about block {said}"
        raise DecisionRefusedError(msg)
    block = known if said is None else said
    opened = unit.arena.opened_at_block
    if block is None or not opened <= block <= unit.block:
        msg = f"block {block} is not in the log, which goes from block {opened} to {unit.block}"
        raise DecisionRefusedError(msg)
    return block


def _must_carry_no_refund(unit: Unit, reference: str) -> None:
    """What left for a refund is in the books as that, and was sold to nobody."""
    refunds = refunds_sent_in(unit.ledger, reference)
    if refunds:
        msg = (
            f"extrinsic {reference} carried out the refund of payment {refunds[0].originator_id}, "
            "so it is no sale; name the transfer that was one"
        )
        raise DecisionRefusedError(msg)


def _must_be_that_burn(treasury: Treasury, seen: AlphaBurnSeen, how: str) -> None:
    buyback = treasury.matched.get((seen.block_hash, seen.extrinsic_index))
    if buyback is not None:
        msg = f"extrinsic {seen.extrinsic_hash} is buyback {buyback}'s, which is booked"
        raise DecisionRefusedError(msg)
    if seen.how != _CALL[how]:
        msg = (
            f"the log knows extrinsic {seen.extrinsic_hash} as {seen.how}, which is not alpha of "
            f"the treasury's own that was {how}"
        )
        raise DecisionRefusedError(msg)
