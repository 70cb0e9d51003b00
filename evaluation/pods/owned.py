"""Whether a machine may go on running: pure, of what the log and the provider say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from ledger.decisions.rental import Rental
from ledger.rental_policy import RentalPolicy

LOST_AFTER_S: Final = 300
"""A request that was never answered counts as lost this long after it at the earliest, however
short the grace: a provider may list a machine minutes after it was asked for."""


def why_not_owned(
    rental: Rental, rules: RentalPolicy, now_s: int, is_open: Callable[[UUID], bool]
) -> str | None:
    """Why a machine must be stopped; None while it may run.

    ``is_open`` says of a contest whether the log has it open. A machine is owned while an open
    contest works on it or is what it was asked for, and for the policy's grace after its request
    and after its last contest. Beyond its longest time, above its price cap, and once it was asked
    to stop, nothing owns it.
    """
    requested = rental.requested
    if requested is None or requested.adopted:
        return "the log knows no request for it"
    since = rental.started.started_at_s if rental.started else requested.requested_at_s
    longest = requested.max_seconds or rules.max_seconds
    price = rental.prices[-1].usd_micros_per_hour if rental.prices else 0
    for holds, why in (
        (rental.stops > 0, "it was asked to stop before"),
        (since is not None and now_s - since >= longest, f"it has run its longest, {longest} s"),
        (price > requested.max_usd_micros_per_hour, "its price is above its cap"),
    ):
        if holds:
            return why
    working = rental.contest.contest_id if rental.contest else None
    contests = (working, requested.contest_id)
    last = max([requested.requested_at_s or 0, *(one.to_s for one in rental.used)])
    if now_s - last < rules.grace_seconds or any(one and is_open(one) for one in contests):
        return None
    return f"no open contest has owned it for {rules.grace_seconds} s"


def is_lost(rental: Rental, rules: RentalPolicy, now_s: int) -> bool:
    """Whether a request of which no machine was ever seen has been waited for long enough."""
    requested = rental.requested
    if requested is None or rental.instance is not None or rental.refused is not None:
        return False
    return now_s - (requested.requested_at_s or 0) >= lost_after_s(rules)


def lost_after_s(rules: RentalPolicy) -> int:
    """How long after its request an unanswered one counts as lost."""
    return max(rules.grace_seconds, LOST_AFTER_S)
