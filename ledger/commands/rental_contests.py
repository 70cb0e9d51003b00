"""Which contest a rented machine works for, and from when to when: its cost is shared by that.

Times are whole Unix seconds. Each command is a no-op when it is called again.
"""

from __future__ import annotations

from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.commands.causes import after
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import Rental


def running_address(ledger: Ledger, rental_id: UUID) -> str:
    """Where a rented machine is reached, ``user@host:port``.

    Raises :class:`DecisionRefusedError` for one that is unknown, does not run, or whose provider
    did not say.
    """
    rental = ledger.load(Rental, rental_id)
    if rental.requested is None:
        msg = f"rental {rental_id} is unknown here"
        raise DecisionRefusedError(msg)
    if rental.started is None or rental.ended is not None:
        msg = f"rental {rental_id} does not run; rent a machine first"
        raise DecisionRefusedError(msg)
    address = rental.reached.address if rental.reached is not None else None
    if address is None:
        msg = f"the provider of rental {rental_id} did not say where it is; give its --host"
        raise DecisionRefusedError(msg)
    return address


def begin_contest_on(ledger: Ledger, rental_id: UUID, contest_id: UUID, now_s: int) -> None:
    """Before the contest: the machine is its from now on.

    Raises :class:`DecisionRefusedError` where it does not run or serves another contest.
    """

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.begin_contest(after(unit, rental), contest_id, now_s)

    ledger.decide(work)


def end_contest_on(ledger: Ledger, rental_id: UUID, contest_id: UUID, now_s: int) -> None:
    """After it, however it ended; nothing where the machine served another or is gone."""

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.end_contest(after(unit, rental), contest_id, now_s)

    ledger.decide(work)
