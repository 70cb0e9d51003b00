"""Renting machines: what is recorded before and after every call to a provider.

The caller is the desk or the sweep of :mod:`evaluation.pods`, which has the network and the clock.
Each function is one unit of work and a no-op when called again. Dollars in millionths, times in
Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.commands.causes import after
from ledger.commands.rental_contests import end_if_over, must_be_known
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import Rental, Settlement
from ledger.decisions.rental_budget import BudgetRefused, RentalBudget
from ledger.facts import Fact
from ledger.keys import rental_budget_id
from ledger.rental_policy import MAX_USD_MICROS, RentalPolicy, RentalTier
from ledger.rules.rental_cost import PriceFrom, metered
from ledger.texts import is_one_line

SECONDS_PER_DAY: Final = 86_400
MAX_ROUND_CHARS: Final = 128
MAX_REASON_CHARS: Final = 500
"""How much of a reason is kept: a provider's may be a page."""
MAX_WORD_CHARS: Final = 256
"""How much of a provider's own word for something (an instance, a region) is kept."""
CLOCKS_DIFFER_S: Final = 600
"""A provider's clock may go so wrong; what it says of a machine beyond that cannot be."""
ADOPTED: Final = "adopted"
"""The tier and the round of a machine that nobody asked for as far as the log knows."""


@dataclass(frozen=True, slots=True)
class Billed:
    """How the provider bills: begun steps, the sum rounded up to a coin, before or afterwards."""

    step_s: int = 1
    step_usd_micros: int = 1
    settlement: Settlement = "prepaid"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A machine about to be asked for: ``offer`` and ``region`` are the provider's own words."""

    provider: str
    tier: str
    offer: str
    region: str
    offered_usd_micros_per_hour: int
    round: str
    contest_id: UUID | None
    by: str
    billed: Billed = Billed()


@dataclass(frozen=True, slots=True)
class Found:
    """A machine as its provider states it; None for what it does not say."""

    instance: str
    usd_micros_per_hour: int | None
    started_at_s: int | None
    address: str | None = None
    runs: bool = False
    """Whether it is up, so that its meter runs whatever is stated of its start."""


def rental_policy(ledger: Ledger) -> RentalPolicy:
    """What may be rented now, by the policy in force."""
    head = ledger.head().effective_block
    return ledger.arena_state().policy_at(head).treasury.rental


def must_be_told(text: str, what: str) -> None:
    """Refuse what a person gave as a reason or a name, and cannot be recorded as one."""
    if not is_one_line(text, MAX_REASON_CHARS):
        msg = f"the {what} must be 1 to {MAX_REASON_CHARS} printable characters of one line"
        raise DecisionRefusedError(msg)


def request_rental(
    ledger: Ledger, rental: UUID, wanted: Wanted, *, now_s: int
) -> BudgetRefused | None:
    """Before the call: reserve the worst cost and note the request; the refusal where the day or
    the round would cost too much, which is a fact too.

    The worst is the tier's price cap for as long as a machine may run. Refused without a fact
    (:class:`DecisionRefusedError`): a tier that the policy has not, and an offer above its cap.
    """
    if not is_one_line(wanted.round, MAX_ROUND_CHARS):
        msg = f"a round's name must be 1 to {MAX_ROUND_CHARS} printable characters of one line"
        raise DecisionRefusedError(msg)
    must_be_told(wanted.by, "actor")

    def work(unit: Unit) -> BudgetRefused | None:
        own = unit.get(Rental, rental)
        if own.requested is not None:
            return None
        if wanted.contest_id is not None:
            must_be_known(unit, wanted.contest_id)
        rules = _rules(unit)
        tier = _tier(rules, wanted)
        budget = _budget(unit)
        context = unit.context
        granted = budget.reserve(
            context,
            rental,
            day=now_s // SECONDS_PER_DAY,
            round_=wanted.round,
            usd_micros=worst_usd_micros(tier, rules, wanted.billed),
            a_day=rules.max_usd_micros_per_day,
            a_round=rules.max_usd_micros_per_round,
        )
        if not granted:
            return _last(budget.last, BudgetRefused)
        own.request(
            after(unit, budget),
            provider=wanted.provider,
            tier=tier.name,
            max_usd_micros_per_hour=tier.max_usd_micros_per_hour,
            contest_id=wanted.contest_id,
            offer=wanted.offer[:MAX_WORD_CHARS],
            region=wanted.region[:MAX_WORD_CHARS],
            offered_usd_micros_per_hour=wanted.offered_usd_micros_per_hour,
            max_seconds=rules.max_seconds,
            round=wanted.round,
            requested_by=wanted.by,
            requested_at_s=now_s,
        )
        return None

    return ledger.decide(work)


def worst_usd_micros(tier: RentalTier, rules: RentalPolicy, billed: Billed) -> int:
    """What a machine of a tier costs at worst, by its provider's rounding."""
    price = PriceFrom(0, tier.max_usd_micros_per_hour)
    return metered(
        [price], rules.max_seconds, step_s=billed.step_s, step_usd_micros=billed.step_usd_micros
    ).cost_usd_micros


def refuse_rental(
    ledger: Ledger, rental: UUID, reason: str, *, now_s: int, lost: bool = False
) -> bool:
    """After the call: it gave nothing, and holds nothing of the budget; whether that is new.

    ``lost``: it was never answered, and nothing was found of it.
    """

    def work(unit: Unit) -> bool:
        own = unit.get(Rental, rental)
        if own.refused is not None:
            return False
        own.refuse(after(unit, own), reason[:MAX_REASON_CHARS], now_s, lost=lost)
        _budget(unit).settle(after(unit, own), rental, 0)
        return True

    return ledger.decide(work)


def adopt(
    ledger: Ledger,
    rental: UUID,
    provider: str,
    billed: Billed,
    *,
    now_s: int,
    found: Found | None = None,
    volume: str | None = None,
) -> bool:
    """A machine or volume under our tag of which the log knows no request: take it on, so that it
    can be stopped and booked. Whether that is new.

    Its budget holds what the machine has cost so far by what is stated.
    """

    def work(unit: Unit) -> bool:
        own = unit.get(Rental, rental)
        if own.requested is not None:
            return False
        budget, day = _budget(unit), now_s // SECONDS_PER_DAY
        spent = 0 if found is None else _spent(found, billed, now_s)
        budget.hold(unit.context, rental, day=day, round_=ADOPTED, usd_micros=spent)
        price = None if found is None else found.usd_micros_per_hour
        own.request(
            after(unit, budget),
            provider=provider,
            tier=ADOPTED,
            max_usd_micros_per_hour=price or 0,
            contest_id=None,
            round=ADOPTED,
            requested_by="sweep",
            requested_at_s=now_s,
            adopted=True,
        )
        if found is not None:
            _note(unit, own, found, billed, now_s)
        if volume is not None:
            own.create_volume(after(unit, own), volume, now_s)
        return True

    return ledger.decide(work)


def note_machine(ledger: Ledger, rental: UUID, found: Found, billed: Billed, *, now_s: int) -> bool:
    """After the call, and at every look at it: what the provider says of the machine.

    It is created once, started once its start is stated or it is up, and repriced where the price
    is another. Whether anything was new.
    """

    def work(unit: Unit) -> bool:
        own = unit.get(Rental, rental)
        if own.ended is None:
            _note(unit, own, found, billed, now_s)
        return bool(unit.facts)

    return ledger.decide(work)


def end_rental(
    ledger: Ledger,
    rental: UUID,
    billed: Billed,
    *,
    stated_end_s: int | None,
    now_s: int,
    reason: str,
    found_by: str | None = None,
) -> bool:
    """The machine is gone: end it, book its cost and settle its budget, at once.

    It ended when its provider says, else at this look, the first at which it is gone. Without a
    start that was ever stated it is metered from its request. False where it has ended, but nobody
    ever stated a price of it, so that its cost is unknown until :func:`state_price`.
    """

    def work(unit: Unit) -> bool:
        own = unit.get(Rental, rental)
        if own.ended is not None:
            return own.cost is not None
        if own.started is None:
            _start_assumed(unit, own, billed)
        begun = own.started.started_at_s if own.started else 0
        believed = _believed(stated_end_s, 0, now_s)
        end_s = max(begun, now_s if believed is None else believed)
        end_if_over(unit, own, end_s)
        own.end(after(unit, own), end_s, reason[:MAX_REASON_CHARS])
        if found_by is not None and own.instance is not None:
            own.stop_orphan(after(unit, own), own.instance, found_by)
        return _book(unit, own)

    return ledger.decide(work)


def state_price(
    ledger: Ledger,
    rental: UUID,
    billed: Billed,
    usd_micros_per_hour: int,
    *,
    reason: str,
    actor: str,
) -> None:
    """A person says what a machine costs an hour whose price its provider never stated.

    One that has ended already is booked by it at once.
    """
    must_be_told(reason, "reason")
    must_be_told(actor, "actor")
    if not 0 < usd_micros_per_hour <= MAX_USD_MICROS:
        msg = "a price must be above 0 and at most a billion dollars an hour"
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.state_price(after(unit, own), usd_micros_per_hour, reason, actor)
        _start_assumed(unit, own, billed)
        if own.ended is not None:
            _book(unit, own)

    ledger.decide(work)


def send_stop(ledger: Ledger, rental: UUID, reason: str, *, now_s: int) -> None:
    """Before the call that stops it."""

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.send_stop(after(unit, own), reason[:MAX_REASON_CHARS], now_s)

    ledger.decide(work)


def request_volume(ledger: Ledger, rental: UUID, gigabytes: int, *, now_s: int) -> None:
    """Before the call that makes a volume."""

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.request_volume(after(unit, own), gigabytes, now_s)

    ledger.decide(work)


def note_volume(ledger: Ledger, rental: UUID, volume: str, *, now_s: int) -> None:
    """After the call, or where one is listed under the rental's tag."""

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.create_volume(after(unit, own), volume, now_s)

    ledger.decide(work)


def volume_gone(ledger: Ledger, rental: UUID, volume: str, *, now_s: int) -> None:
    """The provider has deleted a volume."""

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.delete_volume(after(unit, own), volume, now_s)

    ledger.decide(work)


def accept_bill(ledger: Ledger, rental: UUID, *, reason: str, actor: str) -> None:
    """A treasurer takes what the provider billed for what the rental cost."""
    must_be_told(reason, "reason")
    must_be_told(actor, "actor")

    def work(unit: Unit) -> None:
        own = unit.get(Rental, rental)
        own.accept_bill(after(unit, own), reason, actor, unit.block)

    ledger.decide(work)


# -- inside ---------------------------------------------------------------------------------------


def _believed(stated_s: int | None, earliest_s: int, now_s: int) -> int | None:
    """A time by the provider's clock; None where none is stated, or one that cannot be."""
    if stated_s is None or not earliest_s - CLOCKS_DIFFER_S <= stated_s <= now_s + CLOCKS_DIFFER_S:
        return None
    return stated_s


def _book(unit: Unit, own: Rental) -> bool:
    """Book what has ended and settle its budget; False where its price is not known."""
    if own.started is None:
        return False
    own.book_cost(after(unit, own), unit.block)
    if own.cost is not None:
        _budget(unit).settle(after(unit, own), own.id, own.cost.cost_usd_micros)
    return own.cost is not None


def _spent(found: Found, billed: Billed, now_s: int) -> int:
    price, since = found.usd_micros_per_hour, found.started_at_s
    if price is None or since is None or since >= now_s:
        return 0
    steps = {"step_s": billed.step_s, "step_usd_micros": billed.step_usd_micros}
    return metered([PriceFrom(since, price)], now_s, **steps).cost_usd_micros


def _note(unit: Unit, own: Rental, found: Found, billed: Billed, now_s: int) -> None:
    found = _with_a_start_that_can_be(own, found, now_s)
    if own.refused is not None:
        _hold_again(unit, own, billed)
    if own.instance is None:
        own.create(
            after(unit, own),
            instance=found.instance[:MAX_WORD_CHARS],
            usd_micros_per_hour=found.usd_micros_per_hour,
            created_at_s=now_s,
            started_at_s=found.started_at_s,
        )
    stated = found.started_at_s is not None and found.usd_micros_per_hour is not None
    if own.started is None and (stated or found.runs):
        _start(unit, own, found, billed)
    if own.started is not None and found.usd_micros_per_hour is not None:
        own.reprice(after(unit, own), found.usd_micros_per_hour, now_s)
    if own.started is not None and found.runs:
        own.reach(after(unit, own), found.address, now_s)


def _with_a_start_that_can_be(own: Rental, found: Found, now_s: int) -> Found:
    """No machine began before it was asked for, nor will one begin later: such a time is none.

    Of one that nobody asked for as far as the log knows, only the second can be told.
    """
    requested = own.requested
    asked_s = 0 if requested is None or requested.adopted else requested.requested_at_s or 0
    return replace(found, started_at_s=_believed(found.started_at_s, asked_s, now_s))


def _start_assumed(unit: Unit, own: Rental, billed: Billed) -> bool:
    if own.instance is None:
        msg = f"rental {own.id} cannot end: no machine of it was ever seen"
        raise DecisionRefusedError(msg)
    return _start(unit, own, Found(own.instance, None, None), billed)


def _start(unit: Unit, own: Rental, found: Found, billed: Billed) -> bool:
    """Start the meter; what was not stated is taken from what was asked for, and named."""
    requested, created = own.requested, own.created
    if requested is None:
        return False
    price, start, assumed = found.usd_micros_per_hour, found.started_at_s, []
    if price is None and created is not None:
        price = created.usd_micros_per_hour
    if price is None:
        stated = own.price_stated
        offered = requested.offered_usd_micros_per_hour
        price = offered if stated is None else stated.usd_micros_per_hour
        assumed.append("price")
    if start is None and created is not None:
        start = created.started_at_s
    if start is None:
        start = requested.requested_at_s
        assumed.append("start")
    if price is None or start is None:
        return False
    own.start(
        after(unit, own),
        instance=found.instance[:MAX_WORD_CHARS],
        usd_micros_per_hour=price,
        started_at_s=start,
        step_s=billed.step_s,
        step_usd_micros=billed.step_usd_micros,
        settlement=billed.settlement,
        assumed=tuple(assumed),
    )
    return True


def _hold_again(unit: Unit, own: Rental, billed: Billed) -> None:
    requested, rules = own.requested, _rules(unit)
    if requested is None:
        return
    worst = metered(
        [PriceFrom(0, requested.max_usd_micros_per_hour)],
        requested.max_seconds or rules.max_seconds,
        step_s=billed.step_s,
        step_usd_micros=billed.step_usd_micros,
    ).cost_usd_micros
    day = (requested.requested_at_s or 0) // SECONDS_PER_DAY
    _budget(unit).hold(
        after(unit, own), own.id, day=day, round_=requested.round or ADOPTED, usd_micros=worst
    )


def _tier(rules: RentalPolicy, wanted: Wanted) -> RentalTier:
    tier = next((one for one in rules.tiers if one.name == wanted.tier), None)
    if tier is None:
        names = ", ".join(f"'{one.name}'" for one in rules.tiers) or "none"
        msg = f"the policy in force has no tier '{wanted.tier}' of machines; it has: {names}"
        raise DecisionRefusedError(msg)
    if wanted.offered_usd_micros_per_hour > tier.max_usd_micros_per_hour:
        msg = f"an offer of {wanted.provider} is above the price cap of the tier '{tier.name}'"
        raise DecisionRefusedError(msg)
    return tier


def _rules(unit: Unit) -> RentalPolicy:
    return unit.arena.policy_at(unit.block).treasury.rental


def _budget(unit: Unit) -> RentalBudget:
    return unit.get(RentalBudget, rental_budget_id(unit.context.arena))


def _last(fact: Fact | None, kind: type[BudgetRefused]) -> BudgetRefused:
    if not isinstance(fact, kind):
        msg = "a refusal of the budget is its newest fact"
        raise TypeError(msg)
    return fact
