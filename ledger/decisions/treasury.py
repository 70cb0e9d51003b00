"""The treasury of an arena: conversions, buybacks, adjustments, periods.

Identity: arena. Defends: a buyback is planned by one person, approved by another, sent once and
executed once; periods follow each other without gap or overlap; a reference (an exchange's trade, a
transfer's extrinsic) is booked once. Amounts carry their unit in their name; ``about_block`` says
which block a booking is about, which may be long before it was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec
from rpds import HashTrieMap

from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.decisions.buybacks import (
    UNKNOWN_KEY,
    Buyback,
    BuybackApproved,
    BuybackBought,
    BuybackBurned,
    BuybackBurnFailed,
    BuybackBurnSent,
    BuybackExecuted,
    BuybackFailed,
    BuybackPlanned,
    BuybackSent,
    BuyCall,
    must_be_a_request,
    must_be_a_treasurer,
)
from ledger.facts import Context, Fact, fact, upcast
from ledger.rules.buybacks import ObservedPrice, Signed

Asset = Literal["TAO", "USD", "ALPHA"]

_DIGEST_BYTES: Final = 16

MAX_AMOUNT: Final = 2**63 - 1
"""The largest amount of any unit: what the views of both databases can hold."""


@fact("treasury.converted.v1")
class TaoConverted(Fact, frozen=True, kw_only=True):
    """TAO was sold for dollars that were paid in at a provider.

    The price is what the source states; ``sold_rao`` left the treasury's address in the extrinsic
    ``reference``, ``bought_usd_micros`` arrived at ``provider``.
    """

    sold_rao: int
    bought_usd_micros: int
    usd_micros_per_tao: int
    provider: str
    source: str
    reference: str
    about_block: int
    actor: str


@fact("treasury.contributed.v1")
class Contributed(Fact, frozen=True, kw_only=True):
    """Somebody gave money that no fee stands for: TAO to the address, or dollars to a provider.

    TAO arrived in the extrinsic ``reference``, which the log holds as an unclaimed payment.
    """

    asset: Asset
    amount: int
    provider: str | None
    contributor: str
    reference: str
    about_block: int
    actor: str


@fact("treasury.adjusted.v1")
class Adjusted(Fact, frozen=True, kw_only=True):
    """A correction with a reason; ``amount`` is signed, in the asset's smallest unit."""

    asset: Asset
    amount: int
    provider: str | None
    reason: str
    reference: str
    about_block: int
    actor: str


@fact("treasury.payable_paid.v1")
class PayablePaid(Fact, frozen=True, kw_only=True):
    """What a provider had billed was paid: dollars left the account ``paid_from`` (a provider's
    name, where conversions and contributions are paid in)."""

    provider: str
    paid_from: str
    usd_micros: int
    invoice: str | None
    reference: str
    about_block: int
    actor: str


@fact("treasury.alpha_destroyed.v1")
class AlphaDestroyed(Fact, frozen=True, kw_only=True):
    """The treasury's own alpha was burned or recycled outside of a buyback, on purpose.

    Burning and recycling are two things (DOMAIN 3). ``reference`` is the extrinsic's hash.
    """

    how: Literal["burned", "recycled"]
    alpha: int
    netuid: int
    reason: str
    reference: str
    about_block: int
    actor: str


@fact("treasury.period_closed.v1")
class PeriodClosedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`PeriodClosed`, without what the period came to."""

    number: int
    from_block: int
    to_block: int
    actor: str


@fact("treasury.period_closed.v2")
class PeriodClosed(Fact, frozen=True, kw_only=True):
    """A period of the books ends: after ``from_block``, up to and with ``to_block``.

    What it came to by the rule "rental first" (:mod:`ledger.rules.surplus`): the fees earned and
    the rental due, the price that values it, with its source and block, the deficit carried in, and
    then either a surplus, of which a buyback is proposed, or a deficit carried on. All None in
    version 1, which did not say. The price is None where no rental was due, reserve and proposal
    where the closing balance was not known. ``counted_to_position`` is the last position of the log
    that was counted: what was recorded after it counts in the next period.
    """

    number: int
    from_block: int
    to_block: int
    actor: str
    fees_rao: int | None = None
    rental_due_usd_micros: int | None = None
    price_usd_micros_per_tao: int | None = None
    price_source: str | None = None
    price_block: int | None = None
    rental_due_rao: int | None = None
    carried_in_rao: int | None = None
    surplus_rao: int | None = None
    deficit_rao: int | None = None
    reserve_rao: int | None = None
    proposed_buyback_rao: int | None = None
    counted_to_position: int | None = None


@upcast("treasury.period_closed.v1")
def closed_without_figures(old: PeriodClosedV1) -> PeriodClosed:
    """Closing only drew a line then."""
    return PeriodClosed(**msgspec.structs.asdict(old))


Booking = TaoConverted | Contributed | Adjusted | PayablePaid | AlphaDestroyed
"""What a treasurer books under a reference of the outside."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What a reference was booked as: enough to know the same booking again."""

    topic: str
    digest: bytes

    @classmethod
    def of(cls, topic: str, content: Mapping[str, object]) -> Booked:
        """The booking of that content, whatever the order of its fields."""
        ordered = msgspec.json.encode(content, order="sorted")
        return cls(topic, hashlib.sha256(ordered).digest()[:_DIGEST_BYTES])


class Treasury(Aggregate):
    """State and rule of one treasury.

    Its maps grow with every booking, so they are persistent ones: taking a fact costs the same
    however many there are, and an older state is not touched.
    """

    buybacks: HashTrieMap[int, Buyback] = HashTrieMap()
    requests: HashTrieMap[str, int] = HashTrieMap()
    """The number of the buyback that a request became."""
    references: HashTrieMap[str, Booked] = HashTrieMap()
    closed_to_block: int | None = None
    periods: int = 0
    deficit_rao: int | None = None
    """The deficit carried on by the last period that said what it came to; None before one did."""
    matched: HashTrieMap[tuple[str, int], int] = HashTrieMap()
    """The buyback that an extrinsic, by block hash and index, was matched to."""
    burnt_in: HashTrieMap[str, int] = HashTrieMap()
    """The same by the extrinsic's hash, for those that burned."""

    # -- commands ---------------------------------------------------------------------------

    def convert(self, context: Context, *, reference: str, **content: object) -> None:
        """Book a conversion; the same booking again is a no-op."""
        for name in ("sold_rao", "bought_usd_micros"):
            self._must_be_positive("a conversion", name, content.get(name))
        key = f"converted:{context.arena}:{reference}"
        self._book(context, TaoConverted, key, reference, content)

    def contribute(self, context: Context, *, reference: str, **content: object) -> None:
        """Book a contribution; the same booking again is a no-op."""
        self._must_be_positive("a contribution", "amount", content.get("amount"))
        key = f"contributed:{context.arena}:{reference}"
        self._book(context, Contributed, key, reference, content)

    def adjust(self, context: Context, *, reference: str, **content: object) -> None:
        """Book an adjustment; the same booking again is a no-op."""
        if not str(content.get("reason", "")).strip():
            msg = f"adjustment '{reference}' cannot be booked without a reason"
            raise DecisionRefusedError(msg)
        key = f"adjusted:{context.arena}:{reference}"
        self._book(context, Adjusted, key, reference, content)

    def pay(self, context: Context, *, reference: str, **content: object) -> None:
        """Book that a provider's bill was paid; the same booking again is a no-op."""
        self._must_be_positive("a payment", "usd_micros", content.get("usd_micros"))
        key = f"payable-paid:{context.arena}:{reference}"
        self._book(context, PayablePaid, key, reference, content)

    def destroy_alpha(self, context: Context, *, reference: str, **content: object) -> None:
        """Book alpha that was burned or recycled on purpose; the same again is a no-op."""
        self._must_be_positive("what was destroyed", "alpha", content.get("alpha"))
        if reference in self.burnt_in:
            number = self.burnt_in[reference]
            msg = f"what extrinsic '{reference}' destroyed is buyback {number}'s, and in the books"
            raise DecisionRefusedError(msg)
        key = f"alpha-destroyed:{context.arena}:{reference}"
        self._book(context, AlphaDestroyed, key, reference, content)

    def plan_buyback(
        self,
        context: Context,
        max_rao: int,
        max_price_rao: int,
        actor: str,
        *,
        request: str | None = None,
        price: ObservedPrice | None = None,
        max_slippage_ppm: int | None = None,
        signed: Signed | None = None,
        treasurers: Collection[str] = (),
    ) -> BuybackPlanned:
        """Plan the next buyback; for a ``request`` that was planned already, that plan.

        With ``treasurers`` one of them must have ``signed`` it. That the signature holds is for
        whoever can check one to say before.
        """
        known = self.plan_of(max_rao, max_price_rao, actor, request, max_slippage_ppm)
        if known is not None:
            return known
        must_be_a_treasurer(f"a plan of {actor}", signed, treasurers)
        number = len(self.buybacks) + 1
        request = str(number) if request is None else request
        return self.record(
            context,
            BuybackPlanned,
            f"buyback-planned:{context.arena}:{request}",
            number=number,
            request=request,
            max_rao=max_rao,
            max_price_rao=max_price_rao,
            price_rao=price.rao if price else None,
            price_block=price.block if price else None,
            price_block_hash=price.block_hash if price else None,
            max_slippage_ppm=max_slippage_ppm,
            actor=actor,
            key=signed.key if signed else None,
            signature=signed.signature if signed else None,
        )

    def plan_of(
        self,
        max_rao: int,
        max_price_rao: int,
        actor: str,
        request: str | None,
        max_slippage_ppm: int | None,
    ) -> BuybackPlanned | None:
        """The plan that this ``request`` is already, None where it would be a new one.

        Refuses what cannot be planned, whoever signs it.
        """
        self._must_be_positive("a buyback", "max_rao", max_rao)
        self._must_be_positive("a buyback", "max_price_rao", max_price_rao)
        if request is None:
            return None
        must_be_a_request(request)
        known = self.requests.get(request)
        if known is None:
            return None
        return self.buybacks[known].planned_again(max_rao, max_slippage_ppm, actor)

    def approve_buyback(
        self,
        context: Context,
        number: int,
        actor: str,
        *,
        signed: Signed | None = None,
        treasurers: Collection[str] = (),
    ) -> None:
        """Approve it: never by whoever planned it, nor by the same key. Again is a no-op."""
        buyback = self.buyback(number)
        buyback.must_be_approvable(actor, signed, treasurers)
        if buyback.approved is None:
            self.record(
                context,
                BuybackApproved,
                f"buyback-approved:{context.arena}:{number}",
                number=number,
                actor=actor,
                key=signed.key if signed else None,
                signature=signed.signature if signed else None,
            )

    def send_buyback(
        self,
        context: Context,
        number: int,
        amount_rao: int,
        nonce: int,
        *,
        how: BuyCall = "add_stake_burn",
        hotkey: str = UNKNOWN_KEY,
        signer: str = UNKNOWN_KEY,
        after_block: int | None = None,
        max_price_rao: int | None = None,
        treasurers: Collection[str] = (),
    ) -> BuybackSent:
        """Record that it is about to be sent. Only once: after a crash, look at the chain.

        With ``treasurers`` both keys must be among them still. ``after_block`` is the arena's
        newest block where none is given, ``max_price_rao`` the plan's limit, and never above it.
        """
        buyback = self.buyback(number)
        buyback.must_be_sendable(amount_rao, treasurers)
        limit = buyback.planned.max_price_rao
        if max_price_rao is not None and not 0 < max_price_rao <= limit:
            msg = f"buyback {number} allows a price of up to {limit} rao, not {max_price_rao}"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            BuybackSent,
            f"buyback-sent:{context.arena}:{number}",
            number=number,
            how=how,
            amount_rao=amount_rao,
            max_price_rao=limit if max_price_rao is None else max_price_rao,
            hotkey=hotkey,
            signer=signer,
            nonce=nonce,
            after_block=context.block if after_block is None else after_block,
        )

    def execute_buyback(
        self,
        context: Context,
        number: int,
        *,
        block_hash: str,
        extrinsic_index: int,
        **content: object,
    ) -> None:
        """Match it to the one extrinsic that bought and burned; to the same again is a no-op."""
        buyback = self._sent(number)
        if buyback.ended:
            return
        if buyback.bought is not None:
            msg = f"buyback {number} bought already in another extrinsic; its burn is missing"
            raise DecisionRefusedError(msg)
        self._must_be_unmatched(number, block_hash, extrinsic_index)
        self._must_not_be_destroyed(number, content.get("extrinsic_hash"))
        self.record(
            context,
            BuybackExecuted,
            f"buyback-executed:{context.arena}:{number}",
            number=number,
            block_hash=block_hash,
            extrinsic_index=extrinsic_index,
            **content,
        )

    def buy_for_buyback(
        self,
        context: Context,
        number: int,
        *,
        block_hash: str,
        extrinsic_index: int,
        **content: object,
    ) -> None:
        """Match it to the extrinsic that bought what is to be burned; again is a no-op."""
        buyback = self._sent(number)
        if buyback.bought is not None:
            return
        if buyback.ended:
            msg = f"buyback {number} was executed in one extrinsic, so it bought nothing to burn"
            raise DecisionRefusedError(msg)
        self._must_be_unmatched(number, block_hash, extrinsic_index)
        self.record(
            context,
            BuybackBought,
            f"buyback-bought:{context.arena}:{number}",
            number=number,
            block_hash=block_hash,
            extrinsic_index=extrinsic_index,
            **content,
        )

    def send_burn(
        self, context: Context, number: int, *, nonce: int, signer: str, after_block: int
    ) -> BuybackBurnSent:
        """Record that the burn of what was bought is about to be sent: all of it, one at a time."""
        buyback = self._sent(number)
        bought, sent = buyback.must_be_burnable()
        attempt = buyback.burn_attempts + 1
        return self.record(
            context,
            BuybackBurnSent,
            f"buyback-burn-sent:{context.arena}:{number}:{attempt}",
            number=number,
            attempt=attempt,
            alpha=bought.bought_alpha,
            hotkey=sent.hotkey,
            signer=signer,
            nonce=nonce,
            after_block=after_block,
        )

    def fail_burn(self, context: Context, number: int, reason: str) -> None:
        """The open sending of the burn burned nothing and never will; again is a no-op."""
        burn = self._sent(number).burn_sent
        if burn is not None:
            self.record(
                context,
                BuybackBurnFailed,
                f"buyback-burn-failed:{context.arena}:{number}:{burn.attempt}",
                number=number,
                attempt=burn.attempt,
                reason=reason,
            )

    def burn_bought(
        self,
        context: Context,
        number: int,
        *,
        block_hash: str,
        extrinsic_index: int,
        **content: object,
    ) -> None:
        """Match the burn to its extrinsic; again is a no-op."""
        buyback = self._sent(number)
        if buyback.ended:
            return
        if buyback.burn_sent is None:
            msg = f"no burn of buyback {number} was sent"
            raise DecisionRefusedError(msg)
        self._must_be_unmatched(number, block_hash, extrinsic_index)
        self._must_not_be_destroyed(number, content.get("extrinsic_hash"))
        self.record(
            context,
            BuybackBurned,
            f"buyback-burned:{context.arena}:{number}",
            number=number,
            block_hash=block_hash,
            extrinsic_index=extrinsic_index,
            **content,
        )

    def fail_buyback(self, context: Context, number: int, reason: str) -> None:
        """Nothing was bought; saying so again is a no-op."""
        buyback = self.buyback(number)
        buyback.must_be_able_to_fail()
        if not buyback.ended:
            self.record(
                context,
                BuybackFailed,
                f"buyback-failed:{context.arena}:{number}",
                number=number,
                reason=reason,
            )

    def close_period(
        self, context: Context, to_block: int, opened_at: int, actor: str, **figures: object
    ) -> None:
        """Close the books up to ``to_block``; the first period begins where the arena opened.

        ``figures`` are what the period came to, by the names of :class:`PeriodClosed`. The same
        block again is a no-op.
        """
        start = opened_at if self.closed_to_block is None else self.closed_to_block
        if self.closed_to_block == to_block:
            return
        if not start < to_block <= context.block:
            msg = (
                f"a period cannot end at block {to_block}: the last one ended at {start} and "
                f"block {context.block} is the newest recorded"
            )
            raise DecisionRefusedError(msg)
        self.record(
            context,
            PeriodClosed,
            f"period-closed:{context.arena}:{self.periods + 1}",
            number=self.periods + 1,
            from_block=start,
            to_block=to_block,
            actor=actor,
            **figures,
        )

    # -- inside -----------------------------------------------------------------------------

    def _book(
        self,
        context: Context,
        kind: type[Booking],
        key: str,
        reference: str,
        content: dict[str, object],
    ) -> None:
        """Book a reference once. The same key with other content is the recorder's to refuse."""
        known = self.references.get(reference)
        if known is not None and known.topic != kind.topic:
            msg = f"reference '{reference}' is booked already, by a {known.topic}"
            raise DecisionRefusedError(msg)
        if known != Booked.of(kind.topic, {"reference": reference, **content}):
            self.record(context, kind, key, reference=reference, **content)

    def _must_not_be_destroyed(self, number: int, extrinsic_hash: object) -> None:
        """Alpha that a treasurer booked as destroyed is not burned once more by a buyback."""
        booked = self.references.get(str(extrinsic_hash))
        if booked is not None and booked.topic == AlphaDestroyed.topic:
            msg = (
                f"extrinsic {extrinsic_hash} is booked as alpha destroyed already, so it cannot be "
                f"buyback {number}'s burn too; book what it spent as an adjustment"
            )
            raise DecisionRefusedError(msg)

    @staticmethod
    def _must_be_positive(what: str, name: str, value: object) -> None:
        if not isinstance(value, int) or not 0 < value <= MAX_AMOUNT:
            msg = f"{what} needs {name} from 1 to {MAX_AMOUNT}, not {value!r}"
            raise DecisionRefusedError(msg)

    def _must_be_unmatched(self, number: int, block_hash: str, extrinsic_index: int) -> None:
        if self.matched.get((block_hash, extrinsic_index), number) != number:
            msg = f"extrinsic {extrinsic_index} of block {block_hash} is another buyback's already"
            raise DecisionRefusedError(msg)

    def _sent(self, number: int) -> Buyback:
        """A buyback that was sent and has not failed."""
        buyback = self.buyback(number)
        buyback.must_be_under_way()
        return buyback

    def buyback(self, number: int) -> Buyback:
        """How far a buyback has come; :class:`DecisionRefusedError` where there is none."""
        try:
            return self.buybacks[number]
        except KeyError:
            msg = f"there is no buyback {number}; {len(self.buybacks)} are planned"
            raise DecisionRefusedError(msg) from None

    def _match(self, fact: BuybackExecuted | BuybackBought | BuybackBurned) -> None:
        extrinsic = (fact.block_hash, fact.extrinsic_index)
        self.matched = self.matched.insert(extrinsic, fact.number)
        if not isinstance(fact, BuybackBought):
            self.burnt_in = self.burnt_in.insert(fact.extrinsic_hash, fact.number)

    def _come_on(self, number: int, **changes: Any) -> None:
        self.buybacks = self.buybacks.insert(number, replace(self.buybacks[number], **changes))

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case TaoConverted() | Contributed() | Adjusted() | PayablePaid() | AlphaDestroyed():
                booked = Booked.of(fact.topic, fact.content())
                self.references = self.references.insert(fact.reference, booked)
            case BuybackPlanned():
                self.buybacks = self.buybacks.insert(fact.number, Buyback(fact))
                self.requests = self.requests.insert(fact.request, fact.number)
            case BuybackApproved():
                self._come_on(fact.number, approved=fact)
            case BuybackSent():
                self._come_on(fact.number, sent=fact)
            case BuybackFailed():
                self._come_on(fact.number, ended=True, failed=True)
            case BuybackExecuted():
                self._come_on(fact.number, ended=True)
                self._match(fact)
            case BuybackBought():
                self._come_on(fact.number, bought=fact)
                self._match(fact)
            case BuybackBurnSent():
                self._come_on(fact.number, burn_sent=fact, burn_attempts=fact.attempt)
            case BuybackBurnFailed():
                self._come_on(fact.number, burn_sent=None)
            case BuybackBurned():
                self._come_on(fact.number, burn_sent=None, ended=True)
                self._match(fact)
            case PeriodClosed():
                self.closed_to_block = fact.to_block
                self.periods = fact.number
                if fact.fees_rao is not None:
                    self.deficit_rao = fact.deficit_rao
            case _:
                msg = f"a treasury cannot take a {fact.topic}"
                raise TypeError(msg)
