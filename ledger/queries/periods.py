"""Periods of the books: what each came to when it was closed, and what the open one comes to."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, or_, select

from ledger.books import accounts
from ledger.books.periods import Closing, Flows, Held, closing
from ledger.decisions.base import DecisionRefusedError
from ledger.policy import Policy, PolicyFrom, parse_policy_json, policy_at
from ledger.projections import treasury as treasury_view
from ledger.projections import weights as weights_view
from ledger.projections.journal import postings
from ledger.projections.periods import figures
from ledger.queries.prices import price_at
from ledger.queries.rentals import rentals
from ledger.queries.scope import Scope, plain
from ledger.queries.standing import gaps, missing_blocks
from ledger.units import Rao

UNBOOKED: dict[str, str] = {
    "requested": "was asked for and has not started",
    "created": "was made and has not started",
    "running": "still runs",
    "stopping": "is being stopped",
    "ended": "has ended and its cost is not booked",
}
"""Rentals whose cost belongs to a later period, by their status."""


class PeriodLine(msgspec.Struct, frozen=True):
    """A closed period with the figures that its closing froze.

    The ``late_`` parts are of facts about earlier, closed periods, which were recorded in this one;
    they are in the sums beside them. ``status`` is ``counted``, ``unresolved`` where the closing
    balance was not known (reserve and proposal are then None), or ``not counted`` where the closing
    only drew a line (all figures None; the next one that counts counts for it, too).
    """

    number: int
    from_block: int
    to_block: int
    closed_at_block: int
    actor: str
    status: str
    fees_rao: int | None
    late_fees_rao: int | None
    rental_due_usd_micros: int | None
    late_rental_usd_micros: int | None
    price_usd_micros_per_tao: int | None
    price_source: str | None
    price_block: int | None
    rental_due_rao: int | None
    carried_in_rao: int | None
    surplus_rao: int | None
    deficit_rao: int | None
    reserve_rao: int | None
    proposed_buyback_rao: int | None


class _Counted(msgspec.Struct, frozen=True):
    """Up to where closings have counted: a position of the log, and a block of the books."""

    position: int
    block: int


def periods(scope: Scope) -> list[PeriodLine]:
    """Every period closed so far, in order. A later fact changes none of them."""
    counted = _Counted(0, opened_at(scope))
    lines = []
    for row in scope.rows(figures):
        late_fees = late_rental = None
        if row["fees_rao"] is not None:
            end = row["counted_to_position"] or row["position"]
            late_fees = -_sum(scope, _is_fee(), counted.position, end, counted.block)
            late_rental = _sum(scope, _is_rental(), counted.position, end, counted.block)
            counted = _Counted(end, row["to_block"])
        values = plain(row, without=("counted_to_position",))
        lines.append(
            PeriodLine(
                **values,
                status=_status(row["fees_rao"], row["reserve_rao"]),
                late_fees_rao=late_fees,
                late_rental_usd_micros=late_rental,
            )
        )
    return lines


def opened_at(scope: Scope) -> int:
    """The block that the arena's books begin at."""
    return min(int(row["from_block"]) for row in scope.rows(weights_view.policies))


def closing_at(scope: Scope, to_block: int, *, closing_rao: int | None = None) -> Closing:
    """What the open period comes to if it is closed at ``to_block`` now; records nothing.

    ``closing_rao`` stands for the treasury's balance there where the log does not hold it. Raises
    :class:`DecisionRefusedError` for a block that a period cannot end at, and for rental due
    without a price.
    """
    rows = scope.rows(figures)
    opened = opened_at(scope)
    from_block = rows[-1]["to_block"] if rows else opened
    _must_be_an_end(scope, from_block, to_block)
    counted, carried = _Counted(0, opened), 0
    for row in rows:
        if row["fees_rao"] is not None:
            counted = _Counted(row["counted_to_position"] or row["position"], row["to_block"])
            carried = row["deficit_rao"]
    rules = _policy_at(scope, to_block)
    observed = _observed(scope, accounts.TAO, rules.fee.treasury_ss58, to_block)
    closing_rao = closing_rao if observed is None else observed
    return closing(
        len(rows) + 1,
        from_block,
        to_block,
        counted_to_position=scope.position,
        flows=_flows(scope, counted, to_block),
        price=price_at(scope, to_block),
        carried_in_rao=carried,
        held=Held(
            closing_rao,
            -_sum(scope, postings.c.account == accounts.UNCLAIMED, 0, scope.position, to_block),
            -_sum(scope, postings.c.account == accounts.CREDITS, 0, scope.position, to_block),
            sum(_planned(scope).values()) + _spent_since(scope, to_block),
        ),
        reserve_ppm=rules.treasury.reserve_ppm,
        warnings=tuple(_warnings(scope, from_block, to_block, closing_rao)),
    )


def line_of(found: Closing, actor: str, closed_at_block: int) -> PeriodLine:
    """The line that a closing gives, once it is recorded at that block."""
    price = found.price
    return PeriodLine(
        number=found.number,
        from_block=found.from_block,
        to_block=found.to_block,
        closed_at_block=closed_at_block,
        actor=actor,
        status=_status(found.flows.fees_rao, found.reserve_rao),
        fees_rao=found.flows.fees_rao,
        late_fees_rao=found.flows.late_fees_rao,
        rental_due_usd_micros=found.flows.rental_due_usd_micros,
        late_rental_usd_micros=found.flows.late_rental_usd_micros,
        price_usd_micros_per_tao=price.usd_micros_per_tao if price else None,
        price_source=price.source if price else None,
        price_block=price.block if price else None,
        rental_due_rao=found.rental_due_rao,
        carried_in_rao=found.carried_in_rao,
        surplus_rao=found.surplus_rao,
        deficit_rao=found.deficit_rao,
        reserve_rao=found.reserve_rao,
        proposed_buyback_rao=found.proposed_buyback_rao,
    )


# -- inside ---------------------------------------------------------------------------------------


def _flows(scope: Scope, counted: _Counted, to_block: int) -> Flows:
    # All that is known now of blocks up to the end, less what closings counted: so nothing is
    # counted twice, nothing is left out, and what came late counts now.
    def of(which: ColumnElement[bool]) -> tuple[int, int]:
        total = _sum(scope, which, 0, scope.position, to_block)
        before = _sum(scope, which, 0, counted.position, counted.block)
        late = _sum(scope, which, counted.position, scope.position, counted.block)
        return total - before, late

    fees, late_fees = of(_is_fee())
    rental, late_rental = of(_is_rental())
    return Flows(-fees, -late_fees, rental, late_rental)


def _is_fee() -> ColumnElement[bool]:
    return postings.c.account == accounts.FEE_INCOME


def _is_rental() -> ColumnElement[bool]:
    # A colon and all that begins with one, without LIKE, which knows no plain underscore.
    below, beyond = f"{accounts.RENTAL}:", f"{accounts.RENTAL};"
    account = postings.c.account
    return or_(account == accounts.RENTAL, (account >= below) & (account < beyond))


def _sum(scope: Scope, which: ColumnElement[bool], after: int, upto: int, to_block: int) -> int:
    """Postings about blocks up to ``to_block``, recorded after one position and up to another."""
    query = select(func.sum(postings.c.amount)).where(
        postings.c.log_id == scope.head.log_id,
        postings.c.position > after,
        postings.c.position <= min(upto, scope.position),
        postings.c.about_block <= to_block,
        which,
    )
    return int(scope.connection.execute(query).scalar() or 0)


def _must_be_an_end(scope: Scope, from_block: int, to_block: int) -> None:
    if not from_block < to_block <= scope.block:
        msg = (
            f"a period cannot end at block {to_block}: the last one ended at {from_block} and "
            f"block {scope.block} is the newest recorded"
        )
        raise DecisionRefusedError(msg)
    for first, last in missing_blocks(gaps(scope)):
        if first <= to_block <= last:
            msg = (
                f"a period cannot end at block {to_block}: blocks {first} to {last} are not in the "
                "log; fill them by 'ingest', or end it before or after them"
            )
            raise DecisionRefusedError(msg)


def _policy_at(scope: Scope, block: int) -> Policy:
    rows = scope.rows(weights_view.policies)
    timeline = [
        PolicyFrom(row["from_block"], parse_policy_json(row["policy_json"])) for row in rows
    ]
    return policy_at(timeline, block)


def _observed(scope: Scope, asset: str, account: str, block: int) -> int | None:
    table = treasury_view.balances
    query = (
        select(table.c.amount)
        .where(table.c.log_id == scope.head.log_id, table.c.position <= scope.position)
        .where(table.c.about_block == block, table.c.asset == asset, table.c.account == account)
        .order_by(table.c.position.desc())
        .limit(1)
    )
    amount: int | None = scope.connection.execute(query).scalar()
    return amount


def _planned(scope: Scope) -> dict[int, int]:
    """The limits in rao of the buybacks that spent nothing yet and may at any time, by number."""
    return {
        row["number"]: row["max_rao"]
        for row in scope.rows(treasury_view.buybacks)
        if row["status"] != "failed" and row["spent_rao"] is None
    }


def _spent_since(scope: Scope, block: int) -> int:
    """Rao that buybacks spent after a block, out of what the treasury had there."""
    which = (postings.c.account == accounts.BUYBACK_SPENT) & (postings.c.about_block > block)
    return _sum(scope, which, 0, scope.position, scope.block)


def _warnings(scope: Scope, from_block: int, to_block: int, closing_rao: int | None) -> list[str]:
    """What a treasurer should know before closing; none of it keeps anybody from it."""
    said = []
    if closing_rao is None:
        said.append(
            f"the treasury's TAO at block {to_block} was not observed, so reserve and proposal are "
            "unresolved; give --node"
        )
    for number, rao in _planned(scope).items():
        said.append(
            f"buyback {number} is planned and not executed; the proposal leaves {Rao(rao)} to it"
        )
    spent = _spent_since(scope, to_block)
    if spent:
        said.append(
            f"buybacks spent {Rao(spent)} after block {to_block}; the proposal leaves that out"
        )
    for provider in _providers(scope, to_block):
        if _observed(scope, accounts.USD, provider, to_block) is None:
            said.append(
                f"no statement of {provider} at block {to_block} is recorded, so its dollars stay "
                f"unresolved; see 'treasury balance {provider} --at-block {to_block}'"
            )
    for first, last in missing_blocks(gaps(scope)):
        if first <= to_block and last > from_block:
            said.append(
                f"blocks {first} to {last} are not in the log; what moved in them will count in "
                "the period in which they are filled"
            )
    for rental in rentals(scope):
        if rental["status"] in UNBOOKED:
            said.append(
                f"rental {rental['rental_id']} at {rental['provider']} {UNBOOKED[rental['status']]}"
                "; its cost counts in the period in which it is booked"
            )
    return said


def _providers(scope: Scope, to_block: int) -> list[str]:
    """Providers that the books hold dollars at, by name."""
    prefix = accounts.provider("")
    query = (
        select(postings.c.account)
        .where(postings.c.log_id == scope.head.log_id, postings.c.position <= scope.position)
        .where(postings.c.about_block <= to_block, postings.c.asset == accounts.USD)
        .distinct()
    )
    names: list[Any] = [name for (name,) in scope.connection.execute(query)]
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _status(fees_rao: int | None, reserve_rao: int | None) -> str:
    if fees_rao is None:
        return "not counted"
    return "unresolved" if reserve_rao is None else "counted"
