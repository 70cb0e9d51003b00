"""The same happenings told to the real ledger: one function each, over its commands and aggregates.

A function takes a :class:`~ledger.application.Ledger` and does what a command does, in one unit of
work. Where a command of :mod:`ledger.commands` does the same, it belongs here in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID, uuid5

from ledger.application import Ledger, Unit
from ledger.commands import treasury
from ledger.commands.block_facts import BlockFacts, Deposit, FeePaid
from ledger.commands.blocks import record_block
from ledger.commands.causes import after
from ledger.decisions.base import Aggregate
from ledger.decisions.payment import Payment
from ledger.decisions.rental import Rental
from ledger.decisions.treasury import Treasury
from ledger.keys import NAMESPACE, payment_id, treasury_id
from ledger.observations import (
    AlphaBurnSeen,
    AlphaEarned,
    BalanceObserved,
    EpochObserved,
    InvoiceLineSeen,
    NetworkFeeSeen,
    PriceObserved,
    TreasuryTransferSeen,
)
from tests.property.books.money import FEE_RAO, block_payment
from tests.property.books.paying import SENDER
from tests.unit.ledger.scenes import ARENA, OPENED_AT, TREASURY, block_hash

MAX_PRICE_RAO: Final = 10
USD_MICROS_PER_TAO: Final = 300_000_000


def place_of(number: int) -> tuple[str, int]:
    """The block hash and extrinsic index of a payment or a fee by its number."""
    if number < block_payment(1, 0):
        return block_hash(number, "late"), 3
    return block_hash(number // 1_000), number % 1_000


def extrinsic_of(payment: int) -> str:
    """The hash of the extrinsic that a payment came in."""
    if payment < block_payment(1, 0):
        return extrinsic(f"payment {payment}")
    return block_hash(payment, "tx")


def extrinsic(name: str) -> str:
    """The hash of an extrinsic by the name that the drawn actions give it."""
    return block_hash(0, name)


# -- what is merely seen --------------------------------------------------------------------------


def see_fee(ledger: Ledger, place: int, fee_rao: int) -> None:
    """A transaction fee of the treasury's."""
    at, index = place_of(place)
    _observe(
        ledger,
        NetworkFeeSeen,
        f"fee:{ARENA}:{at}:{index}",
        block=place,
        block_hash=at,
        extrinsic_index=index,
        payer=TREASURY,
        fee_rao=fee_rao,
    )


def see_earned(ledger: Ledger, place: int, how: str, alpha: int) -> None:
    """Alpha that an epoch put under the treasury."""
    _observe(
        ledger,
        AlphaEarned,
        f"alpha-earned:{ARENA}:{place}:{how}",
        block=place,
        block_hash=block_hash(place),
        coldkey=TREASURY,
        how=how,
        alpha=alpha,
    )


def see_nothing_moved(ledger: Ledger, kind: str, place: int, amount: int) -> None:
    """What the outside shows and the books hold themselves against."""
    at = block_hash(place, "late")
    match kind:
        case "price":
            source = {"pair": "TAO/USD", "source": "desk"}
            key = f"price:{ARENA}:TAO/USD:desk:{place}"
            _observe(ledger, PriceObserved, key, price=amount, about_block=place, **source)
        case "balance":
            key = f"balance:{ARENA}:TAO:{TREASURY}:{place}"
            whose = {"asset": "TAO", "account": TREASURY, "source": "chain"}
            _observe(ledger, BalanceObserved, key, amount=amount, about_block=place, **whose)
        case "transfer":
            _observe(
                ledger,
                TreasuryTransferSeen,
                f"out:{ARENA}:{at}:1",
                block=place,
                block_hash=at,
                extrinsic_index=1,
                extrinsic_hash=extrinsic(f"out {place}"),
                destination="somebody",
                amount_rao=amount,
            )
        case "burn":
            _observe(
                ledger,
                AlphaBurnSeen,
                f"burn:{ARENA}:{at}:2",
                block=place,
                block_hash=at,
                extrinsic_index=2,
                extrinsic_hash=extrinsic(f"x{place}"),
                how="burn_alpha",
                coldkey=TREASURY,
                hotkey="h",
                netuid=14,
                spent_rao=None,
                alpha=amount,
                by_treasury=True,
            )
        case "epoch":
            _observe(
                ledger,
                EpochObserved,
                f"epoch:{ARENA}:{OPENED_AT + place}",
                block=OPENED_AT + place,
                block_hash=at,
                uids=(0,),
                hotkeys=("h",),
                coldkeys=(TREASURY,),
                incentive_alpha=(amount,),
                dividends_alpha=(0,),
            )
        case _:
            msg = f"nothing of that kind is seen: {kind}"
            raise ValueError(msg)


# -- blocks ---------------------------------------------------------------------------------------


def block(ledger: Ledger, number: int, deposits: tuple[int, ...], fees: tuple[int, ...]) -> None:
    """A finalized block: payments at the first places, fees of the treasury beside them."""
    paid = tuple(
        Deposit(place, extrinsic_of(block_payment(number, place)), SENDER, rao, "c", ())
        for place, rao in enumerate(deposits)
    )
    took = tuple(FeePaid(place, rao) for place, rao in enumerate(fees))
    facts = BlockFacts(
        number, block_hash(number), block_hash(number - 1), None, 1, deposits=paid, fees=took
    )
    record_block(ledger, facts)


def close(ledger: Ledger, to_block: int, opened_at: int) -> None:
    """A period ends."""
    _treasury(
        ledger, lambda books, unit: books.close_period(unit.context, to_block, opened_at, "op")
    )


# -- payments -------------------------------------------------------------------------------------


def see_payment(ledger: Ledger, number: int, amount_rao: int) -> None:
    """A payment that is noticed by itself, and not with its block."""
    at, index = place_of(number)
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.see(
            unit.context,
            f"payment:{ARENA.genesis}:{at}:{index}",
            block=OPENED_AT,
            block_hash=at,
            extrinsic_index=index,
            extrinsic_hash=extrinsic_of(number),
            sender=SENDER,
            treasury=TREASURY,
            amount_rao=amount_rao,
            outer_call="Utility.batch_all",
            remarks=(),
        ),
    )


def consume(ledger: Ledger, number: int, submission: int, hotkey: str) -> None:
    """A submission takes it."""
    taken_by = uuid5(NAMESPACE, f"submission {submission}")
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.consume(_because(unit, payment), taken_by, hotkey, FEE_RAO),
    )


def credit(ledger: Ledger, number: int, submission: int, hotkey: str) -> None:
    """The infrastructure failed that submission."""
    taken_by = uuid5(NAMESPACE, f"submission {submission}")
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.credit(
            _because(unit, payment), taken_by, hotkey, "pull_failed"
        ),
    )


def claim(ledger: Ledger, number: int, claimant: str, hotkey: str | None, signature: str) -> None:
    """Whoever paid wants it back, or a credit for a hotkey."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.make_claim(
            _because(unit, payment),
            claimant=claimant,
            wants="refund" if hotkey is None else "credit",
            hotkey=hotkey,
            signature=signature,
        ),
    )


def refuse_claim(ledger: Ledger, number: int) -> None:
    """The claim is refused."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.refuse_claim(_because(unit, payment), "op", "late"),
    )


def grant_claim(ledger: Ledger, number: int) -> None:
    """The claim is granted."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.grant_claim(_because(unit, payment), "op", "overpaid"),
    )


def give_credit(ledger: Ledger, number: int, hotkey: str) -> None:
    """A person lets a hotkey pay with it, claimed or not."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.give_credit(_because(unit, payment), hotkey, "op", "theirs"),
    )


def decide_refund(ledger: Ledger, number: int) -> None:
    """A person decides that it goes back, claimed or not."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.decide_refund(_because(unit, payment), "op", "asked for"),
    )


def refund(ledger: Ledger, number: int, transfer: int) -> None:
    """It went back, in that transfer out of the treasury."""
    _payment(
        ledger,
        number,
        lambda payment, unit: payment.refund(
            _because(unit, payment),
            OPENED_AT,
            extrinsic(f"refund {transfer}"),
            f"refund:{ARENA}:{transfer}",
        ),
    )


def give(ledger: Ledger, number: int, amount_rao: int) -> None:
    """A treasurer books it as an operator's contribution: it is in the log as a payment."""
    treasury.contribute(
        ledger,
        asset="TAO",
        amount=amount_rao,
        provider=None,
        contributor="op",
        reference=extrinsic_of(number),
        about_block=None,
        actor="op",
    )


def expire(ledger: Ledger, number: int) -> None:
    """Too old to pay for anything."""
    _payment(ledger, number, lambda payment, unit: payment.expire(_because(unit, payment), 9))


# -- what a treasurer books -----------------------------------------------------------------------


def convert(ledger: Ledger, reference: str, rao: int, usd: int, provider: str) -> None:
    """TAO for dollars."""
    _book(
        ledger,
        "convert",
        reference,
        sold_rao=rao,
        bought_usd_micros=usd,
        usd_micros_per_tao=USD_MICROS_PER_TAO,
        provider=provider,
        source="desk",
    )


def contribute_dollars(ledger: Ledger, reference: str, usd: int, provider: str) -> None:
    """Dollars of an operator."""
    content = {"asset": "USD", "amount": usd, "provider": provider}
    _book(ledger, "contribute", reference, contributor="op", **content)


def adjust(ledger: Ledger, reference: str, asset: str, amount: int, provider: str) -> None:
    """A correction."""
    content = {"asset": asset.partition(":")[0], "amount": amount, "provider": provider}
    _book(ledger, "adjust", reference, reason="found", **content)


def pay(ledger: Ledger, reference: str, provider: str, paid_from: str, usd: int) -> None:
    """A bill is paid."""
    content: dict[str, Any] = {"provider": provider, "paid_from": paid_from, "usd_micros": usd}
    _book(ledger, "pay", reference, invoice=None, **content)


def destroy(ledger: Ledger, reference: str, how: str, alpha: int) -> None:
    """Alpha burned or recycled outside of a buyback."""
    content: dict[str, Any] = {"how": how, "alpha": alpha, "netuid": 14}
    _book(ledger, "destroy_alpha", reference, reason="on purpose", **content)


# -- buybacks -------------------------------------------------------------------------------------


def buyback(ledger: Ledger, step: str, number: int, *details: Any) -> None:
    """One step of a buyback; ``details`` are those of :class:`~tests.property.books.burning`."""

    def work(books: Treasury, unit: Unit) -> None:
        context = after(unit, books)
        match step, details:
            case "approve", (actor,):
                books.approve_buyback(context, number, actor)
            case "send", (rao,):
                books.send_buyback(context, number, rao, number)
            case "execute", (name, rao, alpha):
                found = _found(name)
                books.execute_buyback(context, number, **found, spent_rao=rao, burned_alpha=alpha)
            case "buy", (name, rao, alpha):
                found = _found(name)
                books.buy_for_buyback(context, number, **found, spent_rao=rao, bought_alpha=alpha)
            case "send_burn", ():
                books.send_burn(context, number, nonce=number, signer=TREASURY, after_block=9)
            case "fail_burn", ():
                books.fail_burn(context, number, "dropped")
            case "burn", (name, alpha):
                books.burn_bought(context, number, **_found(name), burned_alpha=alpha)
            case "fail", ():
                books.fail_buyback(context, number, "dropped")
            case _:
                msg = f"a buyback has no step {step} with {details}"
                raise ValueError(msg)

    _treasury(ledger, work)


def plan(ledger: Ledger, request: str, max_rao: int) -> None:
    """A buyback is planned."""
    _treasury(
        ledger,
        lambda books, unit: books.plan_buyback(
            unit.context, max_rao, MAX_PRICE_RAO, "one", request=request
        ),
    )


def _found(name: str) -> dict[str, Any]:
    """Where the chain shows an extrinsic."""
    place = {"block": 12, "block_hash": extrinsic(f"block of {name}"), "extrinsic_index": 2}
    return {**place, "extrinsic_hash": extrinsic(name), "netuid": 14, "about_block": 12}


# -- rentals --------------------------------------------------------------------------------------


def rental(ledger: Ledger, step: str, number: int, *details: Any) -> None:
    """One step of a rental; ``details`` are those of :class:`~tests.property.books.machines`."""

    def work(unit: Unit) -> None:
        found = unit.get(Rental, _rental_id(number))
        context = after(unit, found)
        match step, details:
            case "request", (provider, asked_for):
                found.request(
                    context,
                    provider=provider,
                    tier="8xH200",
                    max_usd_micros_per_hour=10**9,
                    contest_id=asked_for,
                )
            case "refuse", ():
                found.refuse(context, "none is left", 5)
            case "create", ():
                found.create(
                    context, instance=f"i{number}", usd_micros_per_hour=None, created_at_s=5
                )
            case "start", (at, price, step_s, coin, settlement):
                found.start(
                    context,
                    instance=f"i{number}",
                    usd_micros_per_hour=price,
                    started_at_s=at,
                    step_s=step_s,
                    step_usd_micros=coin,
                    settlement=settlement,
                )
            case "reprice", (price, at):
                found.reprice(context, price, at)
            case "begin", (contest, at):
                found.begin_contest(context, contest, at)
            case "leave", (contest, at):
                found.end_contest(context, contest, at)
            case "stop", ():
                found.send_stop(context, "done", 5)
            case "end", (at,):
                found.end(context, at, "done")
            case "book", ():
                found.book_cost(context, 12)
            case "accept_bill", ():
                found.accept_bill(context, "as billed", "op", 12)
            case _:
                msg = f"a rental has no step {step} with {details}"
                raise ValueError(msg)

    ledger.decide(work)


def bill(ledger: Ledger, number: int, invoice: str, line: str, billed: int, provider: str) -> None:
    """A line of an invoice is imported, and matched where its tag is one of our rentals."""

    def work(unit: Unit) -> None:
        seen = unit.observe(
            InvoiceLineSeen,
            f"invoice:{ARENA}:{provider}:{invoice}:{line}",
            provider=provider,
            invoice=invoice,
            line=line,
            instance=f"i{number}",
            tag=str(_rental_id(number)),
            seconds=None,
            from_s=None,
            to_s=None,
            billed_usd_micros=billed,
            about_block=12,
        )
        unit.because(seen)
        found = unit.get(Rental, _rental_id(number))
        if found.requested is not None:
            found.match_invoice(unit.context, invoice, line, billed)

    ledger.decide(work)


def _rental_id(number: int) -> UUID:
    return uuid5(NAMESPACE, f"rental {number}")


# -- inside ---------------------------------------------------------------------------------------


def _observe(ledger: Ledger, kind: Any, key: str, **content: Any) -> None:
    ledger.decide(lambda unit: unit.observe(kind, key, **content))


def _payment(ledger: Ledger, number: int, work: Callable[[Payment, Unit], object]) -> None:
    identity = payment_id(ARENA.genesis, *place_of(number))
    ledger.decide(lambda unit: work(unit.get(Payment, identity), unit))


def _treasury(ledger: Ledger, work: Callable[[Treasury, Unit], object]) -> None:
    ledger.decide(lambda unit: work(unit.get(Treasury, treasury_id(ARENA)), unit))


def _book(ledger: Ledger, booking: str, reference: str, /, **content: Any) -> None:
    """The extrinsic of a reference is named after it, so that a buyback can be found in it too."""
    content |= {"reference": extrinsic(reference), "about_block": 12, "actor": "op"}
    _treasury(ledger, lambda books, unit: getattr(books, booking)(unit.context, **content))


def _because(unit: Unit, aggregate: Aggregate) -> Any:
    return after(unit, aggregate)
