"""The named parts of a residual, and where between two observed balances the rest arose.

A break's ``amount`` is signed as the residual is: what the outside moved less what the books say it
moved. One that is 0 contradicts a booking without touching this account's balance.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from ledger.books.lines import BookedLine, ClaimedDeposit, SeenMovement

BreakKind = Literal[
    "on_chain_not_in_books",
    "in_books_not_on_chain",
    "amount_differs",
    "invoice_without_rental",
    "rental_without_invoice",
    "unexplained",
]


@dataclass(frozen=True, slots=True)
class Break:
    """A named part of a residual, in the smallest unit of the account's asset.

    It arose after ``from_block``, up to and with ``to_block``: one block where it is known.
    ``booked`` and ``seen`` are what the books and the outside say moved, None where that side says
    nothing; ``facts`` are the keys of the facts it is about, and ``detail`` is a sentence.
    """

    kind: BreakKind
    reference: str
    amount: int
    from_block: int
    to_block: int
    booked: int | None = None
    seen: int | None = None
    facts: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Booking:
    """What one fact moved on one account under a reference, net: bought and burned at once is 0."""

    reference: str
    block: int
    position: int
    fact: str
    amount: int
    proof: str


def bookings_of(lines: Iterable[BookedLine]) -> list[Booking]:
    """The lines netted by fact and reference, in the order of the log; those of 0 are left out."""
    found: dict[tuple[int, str, str], Booking] = {}
    for line in sorted(lines, key=lambda line: (line.position, line.about_block)):
        # Lines without a position (of no log) are one booking by reference.
        key = (line.position, line.fact, line.reference or "")
        known = found.get(key)
        found[key] = (
            Booking(
                line.reference or "",
                line.about_block,
                line.position,
                line.fact,
                line.amount,
                line.proof,
            )
            if known is None
            else replace(known, amount=known.amount + line.amount)
        )
    return [booking for booking in found.values() if booking.amount]


def chain_breaks(
    bookings: Sequence[Booking], seen: Sequence[SeenMovement], elsewhere: Mapping[str, str]
) -> list[Break]:
    """What was seen on chain held against the bookings of the same stretch, by extrinsic.

    ``elsewhere`` says in words where a reference that is missing here is to be found.
    """
    movements: dict[str, list[SeenMovement]] = defaultdict(list)
    for movement in seen:
        movements[movement.reference].append(movement)
    by_reference: dict[str, list[Booking]] = defaultdict(list)
    for booking in bookings:
        by_reference[booking.reference].append(booking)
    breaks = []
    for reference, moved in movements.items():
        breaks += _held_against(reference, moved, by_reference.get(reference, ()), elsewhere)
    for reference, booked in by_reference.items():
        if reference not in movements:
            breaks += [
                _without_movement(booking, bookings, elsewhere)
                for booking in booked
                if booking.proof == "needed" and booking.amount < 0
            ]
    breaks += _doubled_deposits(bookings)
    return breaks


def _held_against(
    reference: str,
    moved: Sequence[SeenMovement],
    booked: Sequence[Booking],
    elsewhere: Mapping[str, str],
) -> list[Break]:
    on_chain = sum(movement.amount for movement in moved)
    in_books = sum(booking.amount for booking in booked)
    if on_chain == in_books:
        return []
    block = min(movement.block for movement in moved)
    facts = tuple(movement.fact for movement in moved if movement.fact)
    if not booked:
        what = moved[0].what or "a movement"
        return [
            Break(
                "on_chain_not_in_books",
                reference,
                on_chain,
                block - 1,
                block,
                seen=on_chain,
                facts=facts,
                detail=elsewhere.get(reference, f"{what} that nobody booked"),
            )
        ]
    exact = next((booking for booking in booked if booking.amount == on_chain), None)
    if exact is not None:
        return [
            Break(
                "in_books_not_on_chain",
                reference,
                -booking.amount,
                block - 1,
                block,
                booked=booking.amount,
                facts=(booking.fact,),
                detail=f"booked again: this extrinsic is in the books as {exact.fact}",
            )
            for booking in booked
            if booking is not exact
        ]
    return [
        Break(
            "amount_differs",
            reference,
            on_chain - in_books,
            block - 1,
            block,
            booked=in_books,
            seen=on_chain,
            facts=(*facts, *(booking.fact for booking in booked)),
        )
    ]


def _without_movement(
    booking: Booking, bookings: Sequence[Booking], elsewhere: Mapping[str, str]
) -> Break:
    """A booking of an outflow that was not seen on chain."""
    twin = next(
        (
            other
            for other in bookings
            if (other.block, other.amount) == (booking.block, booking.amount)
            and other.reference != booking.reference
        ),
        None,
    )
    said = "no such movement was seen on chain"
    if twin is not None:
        said += f"; {twin.fact} ({twin.reference}) booked as much in the same block"
    return Break(
        "in_books_not_on_chain",
        booking.reference,
        -booking.amount,
        booking.block - 1,
        booking.block,
        booked=booking.amount,
        facts=(booking.fact,) if booking.fact else (),
        detail=elsewhere.get(booking.reference, said),
    )


def _doubled_deposits(bookings: Sequence[Booking]) -> list[Break]:
    """One extrinsic brings one deposit: a second one of it in the same block is the first again."""
    first: dict[tuple[str, int], Booking] = {}
    breaks = []
    for booking in bookings:
        if booking.proof != "chain" or booking.amount < 0 or not booking.reference:
            continue
        known = first.setdefault((booking.reference, booking.block), booking)
        if known is not booking:
            breaks.append(
                Break(
                    "in_books_not_on_chain",
                    booking.reference,
                    -booking.amount,
                    booking.block - 1,
                    booking.block,
                    booked=booking.amount,
                    facts=(booking.fact,),
                    detail=f"booked again: this extrinsic is in the books as {known.fact}",
                )
            )
    return breaks


def claim_breaks(claims: Iterable[ClaimedDeposit], deposits: Mapping[str, int]) -> list[Break]:
    """Deposits that a booking claims and that were not seen, are smaller, or are taken already.

    ``deposits`` is what each extrinsic was seen to bring. A claim moves nothing of the account
    itself, so that the amount of its break is 0.
    """
    breaks = []
    for claim in claims:
        kind: BreakKind = "in_books_not_on_chain"
        seen = deposits.get(claim.reference)
        if seen is None:
            detail = "no deposit of this extrinsic was seen on chain"
        elif claim.taken_by is not None:
            detail = f"booked again: the deposit of this extrinsic is {claim.taken_by} already"
        elif claim.amount > seen:
            kind, detail = "amount_differs", "the deposit of this extrinsic is smaller"
        else:
            continue
        breaks.append(
            Break(
                kind,
                claim.reference,
                0,
                claim.block - 1,
                claim.block,
                booked=claim.amount,
                seen=seen,
                facts=(claim.fact,),
                detail=detail,
            )
        )
    return breaks


def unexplained_parts(
    points: Sequence[tuple[int, int]],
    bookings: Sequence[Booking],
    breaks: Sequence[Break],
    seen_at: Mapping[str, int],
) -> list[Break]:
    """Between which observed balances the account moved otherwise than books and breaks say.

    ``points`` are (block, balance) in the order of blocks. A booking counts in the block in which
    its movement was seen (``seen_at``, by reference), else in the one it is about; what lies
    outside the points counts for none of them.
    """
    first = points[0][0] if points else 0
    ends = [block for block, _ in points[1:]]
    within: list[list[Booking]] = [[] for _ in ends]
    named = [0] * len(ends)
    for booking in bookings:
        block = seen_at.get(booking.reference, booking.block)
        place = bisect_left(ends, block)
        if first < block and place < len(ends):
            within[place].append(booking)
    for found in breaks:
        place = bisect_left(ends, found.to_block)
        if first < found.to_block and place < len(ends):
            named[place] += found.amount
    parts = []
    for place, ((since, before), (until, after)) in enumerate(pairwise(points)):
        moved = sum(booking.amount for booking in within[place])
        rest = after - before - moved - named[place]
        if rest:
            twins = [one for one in within[place] if one.amount == -rest]
            parts.append(
                Break(
                    "unexplained",
                    twins[-1].reference if twins else "",
                    rest,
                    since,
                    until,
                    facts=tuple(twin.fact for twin in twins),
                    detail=_hint(twins),
                )
            )
    return parts


def _hint(twins: Sequence[Booking]) -> str:
    if not twins:
        return "nothing in the log accounts for it"
    return f"as much as {twins[-1].fact} booked there, so that one may not have happened"
