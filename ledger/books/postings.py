"""From facts to postings: which money each fact moves, balanced per asset (DOMAIN 3).

Every fact that moves money is listed in :data:`MONEY_FACTS`, every one that carries an amount and
moves none in :data:`SILENT_FACTS` with the reason; a test holds every event type against the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self

import msgspec

from ledger.books import accounts
from ledger.decisions.buybacks import BuybackBought, BuybackBurned, BuybackExecuted
from ledger.decisions.credits import CreditRedeemed, PaymentCredited
from ledger.decisions.payment import PaymentConsumed, PaymentSeen
from ledger.decisions.rental import RentalCostBooked, RentalCostCorrected, Settlement
from ledger.decisions.treasury import (
    Adjusted,
    AlphaDestroyed,
    Contributed,
    PayablePaid,
    TaoConverted,
)
from ledger.decisions.unclaimed import PaymentRefunded
from ledger.facts import Fact
from ledger.observations import AlphaEarned, NetworkFeeSeen
from ledger.units import Alpha, Amount, Rao, UsdMicros, amount_of


class UnbalancedError(AssertionError):
    """A fact's postings do not sum to zero per asset: a defect of this module."""


class Posting(msgspec.Struct, frozen=True, gc=False):
    """One line of an entry: so much of an asset, in its smallest unit. Above zero is a debit."""

    account: str
    asset: str
    value: int

    @classmethod
    def of(cls, account: str, amount: Amount) -> Self:
        """The line of an amount, which knows its asset."""
        return cls(account, amount.asset, amount.value)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The postings of one fact, and the block the money moved at.

    ``reference`` is the extrinsic hash where one moved it on chain, the reference it was booked
    under where a person booked it, the rental's id where a machine cost it, else None.
    """

    about_block: int
    postings: tuple[Posting, ...]
    reference: str | None


def _seen(fact: PaymentSeen) -> Entry:
    return Entry(
        fact.block,
        _move(Rao(fact.amount_rao), accounts.UNCLAIMED, accounts.TREASURY),
        fact.extrinsic_hash,
    )


def _consumed(fact: PaymentConsumed) -> Entry:
    return Entry(
        fact.effective_block,
        _move(Rao(fact.fee_rao), accounts.FEE_INCOME, accounts.UNCLAIMED)
        + _move(Rao(fact.overpaid_rao), accounts.OVERPAID, accounts.UNCLAIMED),
        None,
    )


def _refunded(fact: PaymentRefunded) -> Entry:
    return Entry(
        fact.block,
        _move(Rao(fact.amount_rao), accounts.TREASURY, accounts.UNCLAIMED),
        fact.extrinsic_hash,
    )


def _network_fee(fact: NetworkFeeSeen) -> Entry:
    return Entry(
        fact.block,
        _move(Rao(fact.fee_rao), accounts.TREASURY, accounts.NETWORK_FEES),
        None,
    )


def _converted(fact: TaoConverted) -> Entry:
    paid_in = accounts.provider(fact.provider)
    return Entry(
        fact.about_block,
        _move(Rao(fact.sold_rao), accounts.TREASURY, accounts.CONVERSION)
        + _move(UsdMicros(fact.bought_usd_micros), accounts.CONVERSION, paid_in),
        fact.reference,
    )


def _contributed(fact: Contributed) -> Entry:
    amount, account = _place(fact)
    if isinstance(amount, Rao):
        # Every transfer to the address is in the books as a payment nobody claimed yet; that this
        # one is a gift moves no TAO again.
        account = accounts.UNCLAIMED
    return Entry(
        fact.about_block,
        _move(amount, accounts.CONTRIBUTIONS, account),
        fact.reference,
    )


def _adjusted(fact: Adjusted) -> Entry:
    amount, account = _place(fact)
    return Entry(
        fact.about_block,
        _move(amount, accounts.ADJUSTMENTS, account),
        fact.reference,
    )


def _rental(fact: RentalCostBooked) -> Entry:
    source = _settled(fact.provider, fact.settlement)
    borne = dict(zip(fact.contest_ids, fact.contest_usd_micros, strict=True))
    unused = fact.cost_usd_micros - sum(borne.values())
    postings = [
        line
        for contest, cost in (*borne.items(), (None, unused))
        for line in _move(UsdMicros(cost), source, accounts.rental_of(contest))
    ]
    return Entry(fact.about_block, tuple(postings), str(fact.originator_id))


def _corrected(fact: RentalCostCorrected) -> Entry:
    source = _settled(fact.provider, fact.settlement)
    return Entry(
        fact.about_block,
        _move(UsdMicros(fact.difference_usd_micros), source, accounts.RENTAL),
        str(fact.originator_id),
    )


def _paid(fact: PayablePaid) -> Entry:
    source, target = accounts.provider(fact.paid_from), accounts.payable(fact.provider)
    return Entry(
        fact.about_block, _move(UsdMicros(fact.usd_micros), source, target), fact.reference
    )


def _credited(fact: PaymentCredited) -> Entry:
    # A fee that is to be given back in kind is earned only when it is used after all.
    return Entry(
        fact.effective_block,
        _move(Rao(fact.fee_rao or 0), accounts.CREDITS, accounts.FEE_INCOME),
        None,
    )


def _redeemed(fact: CreditRedeemed) -> Entry:
    return Entry(
        fact.effective_block,
        _move(Rao(fact.fee_rao or 0), accounts.FEE_INCOME, accounts.CREDITS),
        None,
    )


def _earned(fact: AlphaEarned) -> Entry:
    source = accounts.OWNER_CUT if fact.how == "owner_cut" else accounts.ALPHA_EARNED
    earned = Alpha(fact.alpha, fact.arena_key.netuid)
    return Entry(fact.block, _move(earned, source, accounts.TREASURY), None)


def _destroyed(fact: AlphaDestroyed) -> Entry:
    burned = fact.how == "burned"
    target = accounts.ALPHA_BURNED if burned else accounts.ALPHA_RECYCLED
    return Entry(
        fact.about_block,
        _move(Alpha(fact.alpha, fact.netuid), accounts.TREASURY, target),
        fact.reference,
    )


def _buyback(fact: BuybackExecuted) -> Entry:
    burned = Alpha(fact.burned_alpha, fact.netuid)
    return Entry(
        fact.about_block,
        _move(Rao(fact.spent_rao), accounts.TREASURY, accounts.BUYBACK_SPENT)
        + _move(burned, accounts.BUYBACK, accounts.TREASURY)
        + _move(burned, accounts.TREASURY, accounts.ALPHA_BURNED),
        fact.extrinsic_hash,
    )


def _bought(fact: BuybackBought) -> Entry:
    bought = Alpha(fact.bought_alpha, fact.netuid)
    return Entry(
        fact.about_block,
        _move(Rao(fact.spent_rao), accounts.TREASURY, accounts.BUYBACK_SPENT)
        + _move(bought, accounts.BUYBACK, accounts.TREASURY),
        fact.extrinsic_hash,
    )


def _burned(fact: BuybackBurned) -> Entry:
    return Entry(
        fact.about_block,
        _move(Alpha(fact.burned_alpha, fact.netuid), accounts.TREASURY, accounts.ALPHA_BURNED),
        fact.extrinsic_hash,
    )


MONEY_FACTS: Final[dict[type[Fact], Callable[[Any], Entry]]] = {
    PaymentSeen: _seen,
    PaymentConsumed: _consumed,
    PaymentRefunded: _refunded,
    PaymentCredited: _credited,
    CreditRedeemed: _redeemed,
    NetworkFeeSeen: _network_fee,
    TaoConverted: _converted,
    Contributed: _contributed,
    Adjusted: _adjusted,
    RentalCostBooked: _rental,
    RentalCostCorrected: _corrected,
    PayablePaid: _paid,
    AlphaEarned: _earned,
    AlphaDestroyed: _destroyed,
    BuybackExecuted: _buyback,
    BuybackBought: _bought,
    BuybackBurned: _burned,
}
"""The facts that move money, and how."""

SILENT_FACTS: Final[dict[str, str]] = {
    "arena.opened.v1": "states the fee, moves none",
    "submission.accepted.v1": "the payment's own fact moves the fee",
    "payment.credited.v1": "read as its next version, which moves nothing for it",
    "payment.credit_redeemed.v1": "read as its next version, which moves nothing for it",
    "payment.refund_decided.v1": "an intention; the refunded one moves money",
    "payment.refunded.v1": "read as its next version",
    "rental.requested.v1": "a price cap",
    "rental.requested.v2": "a price cap and an offer",
    "rental.created.v1": "a price; the cost is booked when the meter stopped",
    "rental.price_stated.v1": "a price; the cost is booked when the meter stopped",
    "rental.started.v1": "a price; the cost is booked when the meter stopped",
    "rental.started.v2": "a price; the cost is booked when the meter stopped",
    "rental.repriced.v1": "a price; the cost is booked when the meter stopped",
    "rental.cost_booked.v1": "read as its next version",
    "rental.invoice_matched.v1": "evidence beside the metered cost",
    "rental_budget.reserved.v1": "what may be spent at worst",
    "rental_budget.settled.v1": "the rental's own fact moves the cost",
    "rental_budget.refused.v1": "what was not spent",
    "treasury.period_closed.v2": "sums of what other facts moved, and a proposal",
    "treasury.buyback_planned.v1": "an intention",
    "treasury.buyback_planned.v2": "an intention",
    "treasury.buyback_sent.v1": "an intention; the executed one moves money",
    "treasury.buyback_sent.v2": "an intention; the executed one, or what it bought, moves money",
    "treasury.buyback_burn_sent.v1": "an intention; the burned one moves money",
    "seen.treasury_transfer.v1": "what it was for is a decision; until then it is a break",
    "seen.alpha_burn.v1": "read as its next version",
    "seen.alpha_burn.v2": "matched to an executed buyback, or a break",
    "seen.balance.v1": "read as its next version",
    "seen.balance.v2": "the outside's own statement, which the books are held against",
    "seen.epoch.v1": "the miners' and validators' money, not the treasury's",
    "seen.lock.v1": "a state",
    "seen.pool.v1": "the pool's money, not the treasury's",
    "seen.registration_cost.v1": "paid by who registers, not by the treasury",
    "seen.invoice_line.v1": "read as its next version",
    "seen.invoice_line.v2": "evidence beside the metered cost",
    "seen.price.v1": "a price",
}
"""Facts that carry an amount and move no money of the treasury, each with its reason."""


def entry_of(fact: Fact) -> Entry | None:
    """The entry of a fact; None for one that moves no money. Lines of zero are left out."""
    make = MONEY_FACTS.get(type(fact))
    if make is None:
        return None
    entry = make(fact)
    if left := _left(entry.postings):
        said = ", ".join(map(str, left))
        msg = f"the postings of '{fact.fact_key}' do not balance, they leave {said}"
        raise UnbalancedError(msg)
    return entry if entry.postings else None


def _left(postings: tuple[Posting, ...]) -> list[Amount]:
    """What the postings leave of each unit that they do not balance in."""
    if len(postings) == 2:  # one amount from one account to another, as most entries are
        first, second = postings
        if first.value + second.value == 0 and first.asset == second.asset:
            return []
    sums: dict[str, int] = {}
    for posting in postings:
        asset = posting.asset
        sums[asset] = sums.get(asset, 0) + posting.value
    if not any(sums.values()):
        return []
    return [amount_of(asset, value) for asset, value in sums.items() if value]


def _move(amount: Amount, source: str, target: str) -> tuple[Posting, ...]:
    value = amount.value
    if not value:
        return ()
    asset = amount.asset
    return (Posting(target, asset, value), Posting(source, asset, -value))


def _settled(provider: str, settlement: Settlement) -> str:
    """Where a provider's money comes from."""
    prepaid = settlement == "prepaid"
    return accounts.provider(provider) if prepaid else accounts.payable(provider)


def _place(fact: Contributed | Adjusted) -> tuple[Amount, str]:
    if fact.asset == "USD":
        return UsdMicros(fact.amount), accounts.provider(fact.provider or "unnamed")
    if fact.asset == "TAO":
        return Rao(fact.amount), accounts.TREASURY
    return Alpha(fact.amount, fact.arena_key.netuid), accounts.TREASURY
