"""The budget of an arena's rentals: what may be spent a day and a round, reserved before any call.

Identity: arena. Defends: the worst cost of everything that runs or may run, together with what was
booked, never exceeds what policy allows a day and a round. What is asked beyond it is refused, and
the refusal is a fact. Dollars in millionths; a day is a number of days since 1970 in UTC.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from rpds import HashTrieMap

from ledger.decisions.base import Aggregate
from ledger.facts import Context, Fact, fact


@fact("rental_budget.reserved.v1")
class BudgetReserved(Fact, frozen=True, kw_only=True):
    """A rental is about to be asked for: so much it may cost at worst."""

    rental_id: UUID
    day: int
    round: str
    usd_micros: int


@fact("rental_budget.settled.v1")
class BudgetSettled(Fact, frozen=True, kw_only=True):
    """A rental is over: it cost so much, and holds no more than that of its day and round."""

    rental_id: UUID
    usd_micros: int


@fact("rental_budget.refused.v1")
class BudgetRefused(Fact, frozen=True, kw_only=True):
    """A rental was not asked for, because the day or the round would have cost too much.

    ``left_usd_micros`` is what was left of the narrower of the two.
    """

    rental_id: UUID
    day: int
    round: str
    wanted_usd_micros: int
    left_usd_micros: int


class _Held(NamedTuple):
    day: int
    round: str
    usd_micros: int
    settled: bool


class RentalBudget(Aggregate):
    """State and rule of an arena's budget."""

    held: HashTrieMap[UUID, _Held] = HashTrieMap()
    of_day: HashTrieMap[int, int] = HashTrieMap()
    of_round: HashTrieMap[str, int] = HashTrieMap()

    def left(self, day: int, round_: str, *, a_day: int, a_round: int) -> int:
        """What may still be reserved for that day and round, in millionths of a dollar."""
        return min(a_day - self.of_day.get(day, 0), a_round - self.of_round.get(round_, 0))

    def reserve(
        self,
        context: Context,
        rental_id: UUID,
        *,
        day: int,
        round_: str,
        usd_micros: int,
        a_day: int,
        a_round: int,
    ) -> bool:
        """Reserve the worst cost of a rental; False, with a fact, where it is too much.

        For a rental that holds a reservation already it is a no-op.
        """
        if rental_id in self.held:
            return True
        left = self.left(day, round_, a_day=a_day, a_round=a_round)
        if usd_micros > left:
            self.record(
                context,
                BudgetRefused,
                f"budget-refused:{rental_id}",
                rental_id=rental_id,
                day=day,
                round=round_,
                wanted_usd_micros=usd_micros,
                left_usd_micros=left,
            )
            return False
        self.record(
            context,
            BudgetReserved,
            f"budget-reserved:{rental_id}",
            rental_id=rental_id,
            day=day,
            round=round_,
            usd_micros=usd_micros,
        )
        return True

    def settle(self, context: Context, rental_id: UUID, usd_micros: int) -> None:
        """Put what a rental cost in the place of its reservation; without one, a no-op."""
        held = self.held.get(rental_id)
        if held is not None and not held.settled:
            self.record(
                context,
                BudgetSettled,
                f"budget-settled:{rental_id}",
                rental_id=rental_id,
                usd_micros=usd_micros,
            )

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case BudgetReserved():
                held = _Held(fact.day, fact.round, fact.usd_micros, settled=False)
                self._hold(fact.rental_id, held, fact.usd_micros)
            case BudgetSettled():
                old = self.held[fact.rental_id]
                now = old._replace(usd_micros=fact.usd_micros, settled=True)
                self._hold(fact.rental_id, now, fact.usd_micros - old.usd_micros)
            case BudgetRefused():
                pass  # a fact for people; nothing is held
            case _:
                msg = f"a rental budget cannot take a {fact.topic}"
                raise TypeError(msg)

    def _hold(self, rental_id: UUID, held: _Held, more: int) -> None:
        self.held = self.held.insert(rental_id, held)
        self.of_day = self.of_day.insert(held.day, self.of_day.get(held.day, 0) + more)
        self.of_round = self.of_round.insert(held.round, self.of_round.get(held.round, 0) + more)
