"""The `costs` view: which contest bears how much of each rented machine's cost."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Text

from ledger.decisions.rental import RentalContestEnded, RentalCostBooked
from ledger.facts import Fact
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import appended, versioned

used: Final = versioned(
    "rental_contest_seconds",
    [Column("rental_id", Text, primary_key=True), Column("contest_id", Text, primary_key=True)],
    [Column("seconds", BigInteger, nullable=False)],
)
"""How long a machine worked for a contest, over all its stretches."""

costs: Final = appended(
    "rental_costs",
    Column("rental_id", Text, nullable=False),
    Column("contest_id", Text),  # None: time that no contest used
    Column("provider", Text, nullable=False),
    Column("usd_micros", BigInteger, nullable=False),
    Column("seconds", BigInteger),  # None: the contest bears all, and its stretch is not recorded
    Column("about_block", BigInteger, nullable=False),
    indexed=(("contest_id",),),
)


class CostsProjection:
    """Folds what a machine was used for, and the cost when it is booked."""

    name = "costs"
    tables = (used, costs)
    knows: tuple[type[Fact], ...] = (RentalContestEnded, RentalCostBooked)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        rental = str(fact.originator_id)
        match fact:
            case RentalContestEnded():
                key = (rental, str(fact.contest_id))
                known = rows.get(used, *key)
                before = known["seconds"] if known else 0
                rows.put(used, position, *key, seconds=before + fact.to_s - fact.from_s)
            case RentalCostBooked():
                _fold_cost(rows, position, rental, fact)
            case _:
                pass  # not a fact of this view


def _fold_cost(rows: Rows, position: int, rental: str, fact: RentalCostBooked) -> None:
    left, left_s = fact.cost_usd_micros, fact.seconds
    whole = fact.contest_usd_micros == (fact.cost_usd_micros,)
    for contest, usd_micros in zip(fact.contest_ids, fact.contest_usd_micros, strict=True):
        known = rows.get(used, rental, str(contest))
        seconds = known["seconds"] if known else fact.seconds if whole else None
        rows.append(
            costs,
            position,
            rental_id=rental,
            contest_id=str(contest),
            provider=storable_text(fact.provider),
            usd_micros=usd_micros,
            seconds=seconds,
            about_block=fact.about_block,
        )
        left -= usd_micros
        left_s -= seconds or 0
    rows.append(
        costs,
        position,
        rental_id=rental,
        contest_id=None,
        provider=storable_text(fact.provider),
        usd_micros=left,
        seconds=max(0, left_s),
        about_block=fact.about_block,
    )
