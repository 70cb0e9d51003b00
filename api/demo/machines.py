"""The demo's rented machines: one a round, budgeted, used by its attempts, booked, invoiced."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from api.demo import provider
from api.demo.season import Window
from ledger.application import Ledger, Unit
from ledger.commands.causes import after
from ledger.decisions.rental import Rental
from ledger.decisions.rental_budget import RentalBudget
from ledger.keys import natural_id, rental_budget_id
from ledger.observations import InvoiceLineSeen

SECONDS_PER_DAY = 86_400


class Machines:
    """What the operator does with the provider's machines. Doing any of it again is a no-op.

    ``time_s`` gives the Unix time of a block, which is the provider's clock here.
    """

    def __init__(self, ledger: Ledger, operator: str, time_s: Callable[[int], int]) -> None:
        self._ledger = ledger
        self._operator = operator
        self._time_s = time_s

    def start(self, window: Window) -> None:
        """Reserve its worst cost of the budget, ask for it, and note that it runs."""
        now_s = self._time_s(window.start)

        def work(unit: Unit) -> None:
            rental = self._rental(unit, window)
            if rental.requested is not None:
                return
            rules = unit.arena.policy_at(unit.block).treasury.rental
            tier = rules.tiers[0]
            budget = unit.get(RentalBudget, rental_budget_id(unit.context.arena))
            granted = budget.reserve(
                unit.context,
                rental.id,
                day=now_s // SECONDS_PER_DAY,
                round_=window.name,
                usd_micros=tier.max_usd_micros_per_hour * rules.max_seconds // 3_600,
                a_day=rules.max_usd_micros_per_day,
                a_round=rules.max_usd_micros_per_round,
            )
            if not granted:
                msg = f"the demo's own budget refused the machine of '{window.name}'"
                raise AssertionError(msg)
            rental.request(
                after(unit, budget),
                provider=provider.NAME,
                tier=tier.name,
                max_usd_micros_per_hour=tier.max_usd_micros_per_hour,
                contest_id=None,
                offer=provider.OFFER,
                region=provider.REGION,
                offered_usd_micros_per_hour=provider.USD_MICROS_PER_HOUR,
                max_seconds=rules.max_seconds,
                round=window.name,
                requested_by=self._operator,
                requested_at_s=now_s,
            )
            rental.start(
                after(unit, rental),
                instance=provider.instance_of(window),
                usd_micros_per_hour=provider.USD_MICROS_PER_HOUR,
                started_at_s=now_s,
            )

        self._ledger.decide(work)

    def begin(self, window: Window, contest: UUID, seed_block: int) -> None:
        """It works for an attempt from now on; one that a killed run left open ends first."""

        def work(unit: Unit) -> None:
            rental = self._rental(unit, window)
            if rental.contest is not None and rental.contest.contest_id != contest:
                self._end(unit, rental, rental.contest.contest_id)
            rental.begin_contest(after(unit, rental), contest, self._time_s(seed_block))

        self._ledger.decide(work)

    def end(self, window: Window, contest: UUID) -> None:
        """The attempt is over."""
        self._ledger.decide(lambda unit: self._end(unit, self._rental(unit, window), contest))

    @staticmethod
    def _end(unit: Unit, rental: Rental, contest: UUID) -> None:
        # The chain stands still while servers are measured, so the clock says how long by itself.
        if rental.contest is not None:
            to_s = rental.contest.from_s + provider.ATTEMPT_S
            rental.end_contest(after(unit, rental), contest, to_s)

    def give_back(self, window: Window) -> None:
        """It ends with its round; its cost is booked and takes the reservation's place."""
        ended_at_s = self._time_s(window.end)

        def work(unit: Unit) -> None:
            rental = self._rental(unit, window)
            if rental.cost is not None:
                return
            rental.send_stop(after(unit, rental), "the round is over", ended_at_s)
            rental.end(after(unit, rental), ended_at_s, "the round is over")
            rental.book_cost(after(unit, rental), window.end)
            budget = unit.get(RentalBudget, rental_budget_id(unit.context.arena))
            if rental.cost is not None:
                budget.settle(after(unit, rental), rental.id, rental.cost.cost_usd_micros)

        self._ledger.decide(work)

    def invoice(self, window: Window) -> None:
        """The provider's bill for a round's machine arrives and is held against the meter."""

        def work(unit: Unit) -> None:
            rental = self._rental(unit, window)
            arena, number, line = unit.context.arena, f"demo-{window.start}", "1"
            seen = unit.observe(
                InvoiceLineSeen,
                f"invoice:{arena}:{provider.NAME}:{number}:{line}",
                provider=provider.NAME,
                invoice=number,
                line=line,
                instance=provider.instance_of(window),
                tag=f"cacheon-{rental.id}",
                seconds=provider.seconds_of(window),
                from_s=self._time_s(window.start),
                to_s=self._time_s(window.end),
                billed_usd_micros=provider.billed_usd_micros(window),
                about_block=window.end,
            )
            context = unit.context.because(seen)
            rental.match_invoice(context, number, line, seen.billed_usd_micros)

        self._ledger.decide(work)

    def _rental(self, unit: Unit, window: Window) -> Rental:
        return unit.get(Rental, natural_id("demo rental", self._ledger.arena, window.start))
