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
    """A rental is about to be asked for, or was found running: so much it may cost at worst."""

    rental_id: UUID
    day: int
    round: str
    usd_micros: int


@fact("rental_budget.settled.v1")
class BudgetSettled(Fact, frozen=True, kw_only=True):
    """A rental is over: it cost so much, and holds no more than that of its day and round.

    A further one of a rental corrects the one before.
    """

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
    changes: int
    """How often what it holds was said anew."""


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
                f"budget-refused:{rental_id}:{self.version}",
                rental_id=rental_id,
                day=day,
                round=round_,
                wanted_usd_micros=usd_micros,
                left_usd_micros=left,
            )
            return False
        self.hold(context, rental_id, day=day, round_=round_, usd_micros=usd_micros)
        return True

    def hold(
        self, context: Context, rental_id: UUID, *, day: int, round_: str, usd_micros: int
    ) -> None:
        """Hold so much for a machine that runs, whatever is left: it was not asked for by us, or
        was thought to be refused. For one that holds as much unsettled it is a no-op.

        A rental keeps the day and round that it was first held for.
        """
        held = self.held.get(rental_id)
        if held is not None:
            if not held.settled and held.usd_micros == usd_micros:
                return
            day, round_ = held.day, held.round
        self.record(
            context,
            BudgetReserved,
            f"budget-reserved:{rental_id}{_again(held)}",
            rental_id=rental_id,
            day=day,
            round=round_,
            usd_micros=usd_micros,
        )

    def settle(self, context: Context, rental_id: UUID, usd_micros: int) -> None:
        """Put what a rental cost in the place of its reservation; without one, a no-op."""
        held = self.held.get(rental_id)
        if held is not None and (not held.settled or held.usd_micros != usd_micros):
            self.record(
                context,
                BudgetSettled,
                f"budget-settled:{rental_id}{_again(held, 1)}",
                rental_id=rental_id,
                usd_micros=usd_micros,
            )

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case BudgetReserved():
                old = self.held.get(fact.rental_id)
                changes = 0 if old is None else old.changes + 1
                now = _Held(fact.day, fact.round, fact.usd_micros, settled=False, changes=changes)
                self._hold(fact.rental_id, now, 0 if old is None else old.usd_micros)
            case BudgetSettled():
                old = self.held[fact.rental_id]
                now = old._replace(
                    usd_micros=fact.usd_micros, settled=True, changes=old.changes + 1
                )
                self._hold(fact.rental_id, now, old.usd_micros)
            case BudgetRefused():
                pass  # a fact for people; nothing is held
            case _:
                msg = f"a rental budget cannot take a {fact.topic}"
                raise TypeError(msg)

    def _hold(self, rental_id: UUID, held: _Held, before: int) -> None:
        more = held.usd_micros - before
        self.held = self.held.insert(rental_id, held)
        self.of_day = self.of_day.insert(held.day, self.of_day.get(held.day, 0) + more)
        self.of_round = self.of_round.insert(held.round, self.of_round.get(held.round, 0) + more)


def _again(held: _Held | None, first: int = 0) -> str:
    """What tells the key of a rental's later facts of a kind from that of its first."""
    changes = 0 if held is None else held.changes + 1
    return "" if changes <= first else f":{changes}"
