"""Which contest a rented machine works for, and from when to when: its cost is shared by that.

Times are whole Unix seconds. Each command is a no-op when it is called again.
"""

from __future__ import annotations

from uuid import UUID

from ledger.application import Ledger, Unit
from ledger.commands.causes import after
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest
from ledger.decisions.rental import Rental
from ledger.keys import block_key
from ledger.observations import BlockObserved


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


def host_key_of(ledger: Ledger, rental_id: UUID) -> str | None:
    """The key that its SSH showed when it was first met, as ``SHA256:…``."""
    seen = ledger.load(Rental, rental_id).host_key
    return None if seen is None else seen.host_key


def note_host_key(ledger: Ledger, rental_id: UUID, host_key: str, now_s: int) -> None:
    """Its SSH showed this key; raises :class:`DecisionRefusedError` where it was another before."""

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.meet(after(unit, rental), host_key, now_s)

    ledger.decide(work)


def begin_contest_on(ledger: Ledger, rental_id: UUID, contest_id: UUID, now_s: int) -> None:
    """Before the contest: the machine is its from now on.

    One that is over, and whose end nobody said here, ends first. Raises
    :class:`DecisionRefusedError` for a contest that the log does not know, and where the machine
    does not run, was asked to stop or serves another contest.
    """

    def work(unit: Unit) -> None:
        must_be_known(unit, contest_id)
        rental = unit.get(Rental, rental_id)
        end_if_over(unit, rental, now_s)
        rental.begin_contest(after(unit, rental), contest_id, now_s)

    ledger.decide(work)


def end_contest_if_over(ledger: Ledger, rental_id: UUID, now_s: int) -> None:
    """Whoever ran it died before saying so: it ended with the block in which the log ended it."""

    def work(unit: Unit) -> None:
        end_if_over(unit, unit.get(Rental, rental_id), now_s)

    ledger.decide(work)


def end_if_over(unit: Unit, rental: Rental, now_s: int) -> None:
    """In a unit of work: end the contest that it serves, if that one is over."""
    serving = rental.contest
    if serving is None:
        return
    contest = unit.get(Contest, serving.contest_id)
    if contest.plan is None or contest.ended is not None:
        over_s = _over_at_s(unit, contest, now_s)
        rental.end_contest(after(unit, rental), contest.id, over_s)


def must_be_known(unit: Unit, contest_id: UUID) -> None:
    """Refuse a contest of which the log has no plan: nothing would ever say that it is over."""
    if unit.get(Contest, contest_id).plan is None:
        msg = f"contest {contest_id} is unknown here, so no machine can be charged to it"
        raise DecisionRefusedError(msg)


def end_contest_on(ledger: Ledger, rental_id: UUID, contest_id: UUID, now_s: int) -> None:
    """After it, however it ended; nothing where the machine served another or is gone."""

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.end_contest(after(unit, rental), contest_id, now_s)

    ledger.decide(work)


def _over_at_s(unit: Unit, contest: Contest, now_s: int) -> int:
    """The time of the block in which it ended, as far as the log has it; else now."""
    key = f"contest-completed:{contest.id}"
    if contest.ended == "void":
        key = f"contest-voided:{contest.id}"
    said = unit.ledger.known(key)
    if said is None:
        return now_s
    block = unit.ledger.known(block_key(unit.context.arena, said.effective_block))
    if not isinstance(block, BlockObserved) or block.timestamp_ms is None:
        return now_s
    return min(now_s, block.timestamp_ms // 1_000)
