"""The treasury of an arena: conversions, buybacks, adjustments, periods.

Identity: arena. Defends: a buyback is planned by one person, approved by another, sent once and
executed once; periods follow each other without gap or overlap; a reference (an exchange's trade, a
transfer's extrinsic) is booked once. Amounts carry their unit in their name; ``about_block`` says
which block a booking is about, which may be long before it was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec
from rpds import HashTrieMap

from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact

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


@fact("treasury.buyback_planned.v1")
class BuybackPlanned(Fact, frozen=True, kw_only=True):
    """Buy alpha for at most ``max_rao`` and burn it, at no more than that price per whole alpha."""

    number: int
    max_rao: int
    max_price_rao: int
    actor: str


@fact("treasury.buyback_approved.v1")
class BuybackApproved(Fact, frozen=True, kw_only=True):
    """A second person agreed."""

    number: int
    actor: str


@fact("treasury.buyback_sent.v1")
class BuybackSent(Fact, frozen=True, kw_only=True):
    """About to send it: recorded before the call, so that a crash never buys twice.

    It is signed with exactly ``nonce``, of which the chain takes one extrinsic only.
    """

    number: int
    amount_rao: int
    after_block: int
    nonce: int


@fact("treasury.buyback_executed.v1")
class BuybackExecuted(Fact, frozen=True, kw_only=True):
    """The chain bought and burned, in one extrinsic (event ``AddStakeBurn``)."""

    number: int
    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    netuid: int
    spent_rao: int
    burned_alpha: int
    about_block: int


@fact("treasury.buyback_failed.v1")
class BuybackFailed(Fact, frozen=True, kw_only=True):
    """The chain refused it; nothing was bought."""

    number: int
    reason: str


@fact("treasury.period_closed.v1")
class PeriodClosed(Fact, frozen=True, kw_only=True):
    """A period of the books ends: after ``from_block``, up to and with ``to_block``."""

    number: int
    from_block: int
    to_block: int
    actor: str


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


@dataclass(frozen=True, slots=True)
class Buyback:
    """How far one buyback has come."""

    planned: BuybackPlanned
    approved_by: str | None = None
    sent: BuybackSent | None = None
    ended: bool = False
    failed: bool = False


class Treasury(Aggregate):
    """State and rule of one treasury.

    Its maps grow with every booking, so they are persistent ones: taking a fact costs the same
    however many there are, and an older state is not touched.
    """

    buybacks: HashTrieMap[int, Buyback] = HashTrieMap()
    references: HashTrieMap[str, Booked] = HashTrieMap()
    closed_to_block: int | None = None
    periods: int = 0
    matched: HashTrieMap[tuple[str, int], int] = HashTrieMap()
    """The buyback that an extrinsic, by block hash and index, was matched to."""

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

    def plan_buyback(
        self, context: Context, max_rao: int, max_price_rao: int, actor: str
    ) -> BuybackPlanned:
        """Plan the next buyback."""
        self._must_be_positive("a buyback", "max_rao", max_rao)
        self._must_be_positive("a buyback", "max_price_rao", max_price_rao)
        number = len(self.buybacks) + 1
        return self.record(
            context,
            BuybackPlanned,
            f"buyback-planned:{context.arena}:{number}",
            number=number,
            max_rao=max_rao,
            max_price_rao=max_price_rao,
            actor=actor,
        )

    def approve_buyback(self, context: Context, number: int, actor: str) -> None:
        """Approve it: never by whoever planned it."""
        buyback = self._buyback(number)
        if buyback.planned.actor == actor:
            msg = f"buyback {number} was planned by {actor}; a second person must approve it"
            raise DecisionRefusedError(msg)
        if buyback.approved_by is None:
            self.record(
                context,
                BuybackApproved,
                f"buyback-approved:{context.arena}:{number}",
                number=number,
                actor=actor,
            )

    def send_buyback(
        self, context: Context, number: int, amount_rao: int, nonce: int
    ) -> BuybackSent:
        """Record that it is about to be sent. Only once: after a crash, look at the chain."""
        buyback = self._buyback(number)
        if buyback.approved_by is None:
            msg = f"buyback {number} is not approved"
            raise DecisionRefusedError(msg)
        if buyback.sent is not None:
            msg = f"buyback {number} was sent already; look for it on chain before anything else"
            raise DecisionRefusedError(msg)
        if not 0 < amount_rao <= buyback.planned.max_rao:
            msg = f"buyback {number} allows up to {buyback.planned.max_rao} rao, not {amount_rao}"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            BuybackSent,
            f"buyback-sent:{context.arena}:{number}",
            number=number,
            amount_rao=amount_rao,
            after_block=context.block,
            nonce=nonce,
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
        """Match it to what the chain did; matching it to the same again is a no-op."""
        buyback = self._buyback(number)
        if buyback.sent is None:
            msg = f"buyback {number} was never sent"
            raise DecisionRefusedError(msg)
        if buyback.failed:
            msg = f"buyback {number} is recorded as failed; book what the chain did by adjustments"
            raise DecisionRefusedError(msg)
        if buyback.ended:
            return
        if (block_hash, extrinsic_index) in self.matched:
            msg = f"extrinsic {extrinsic_index} of block {block_hash} is another buyback's already"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            BuybackExecuted,
            f"buyback-executed:{context.arena}:{number}",
            number=number,
            block_hash=block_hash,
            extrinsic_index=extrinsic_index,
            **content,
        )

    def fail_buyback(self, context: Context, number: int, reason: str) -> None:
        """The chain refused it; saying so again is a no-op."""
        buyback = self._buyback(number)
        if buyback.sent is None:
            msg = f"buyback {number} was never sent, so it cannot have failed"
            raise DecisionRefusedError(msg)
        if buyback.ended and not buyback.failed:
            msg = f"buyback {number} was executed, so it cannot have failed"
            raise DecisionRefusedError(msg)
        if not buyback.ended:
            self.record(
                context,
                BuybackFailed,
                f"buyback-failed:{context.arena}:{number}",
                number=number,
                reason=reason,
            )

    def close_period(self, context: Context, to_block: int, opened_at: int, actor: str) -> None:
        """Close the books up to ``to_block``; the first period begins where the arena opened."""
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
        )

    # -- inside -----------------------------------------------------------------------------

    def _book(
        self,
        context: Context,
        kind: type[TaoConverted] | type[Contributed] | type[Adjusted],
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

    @staticmethod
    def _must_be_positive(what: str, name: str, value: object) -> None:
        if not isinstance(value, int) or not 0 < value <= MAX_AMOUNT:
            msg = f"{what} needs {name} from 1 to {MAX_AMOUNT}, not {value!r}"
            raise DecisionRefusedError(msg)

    def _buyback(self, number: int) -> Buyback:
        try:
            return self.buybacks[number]
        except KeyError:
            msg = f"there is no buyback {number}; {len(self.buybacks)} are planned"
            raise DecisionRefusedError(msg) from None

    def _come_on(self, number: int, **changes: Any) -> None:
        self.buybacks = self.buybacks.insert(number, replace(self.buybacks[number], **changes))

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case TaoConverted() | Contributed() | Adjusted():
                booked = Booked.of(fact.topic, fact.content())
                self.references = self.references.insert(fact.reference, booked)
            case BuybackPlanned():
                self.buybacks = self.buybacks.insert(fact.number, Buyback(fact))
            case BuybackApproved():
                self._come_on(fact.number, approved_by=fact.actor)
            case BuybackSent():
                self._come_on(fact.number, sent=fact)
            case BuybackFailed():
                self._come_on(fact.number, ended=True, failed=True)
            case BuybackExecuted():
                self._come_on(fact.number, ended=True)
                extrinsic = (fact.block_hash, fact.extrinsic_index)
                self.matched = self.matched.insert(extrinsic, fact.number)
            case PeriodClosed():
                self.closed_to_block = fact.to_block
                self.periods = fact.number
            case _:
                msg = f"a treasury cannot take a {fact.topic}"
                raise TypeError(msg)
