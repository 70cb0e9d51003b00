"""Rented machines, how reliable their providers have been, and the lines of their invoices."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from ledger.projections import rentals as view
from ledger.queries.scope import Scope, plain

NOTHING_RUNS = frozenset({"refused", "booked"})
"""Statuses of rentals that cost nothing more, but for volumes that are left."""


class Reliability(msgspec.Struct, frozen=True):
    """What became of the machines asked for by one offer of a provider, so far.

    ``started`` came up; ``refused`` were answered with no; ``lost`` never got an answer.
    """

    provider: str
    offer: str
    requests: int
    started: int
    refused: int
    lost: int


def rentals(scope: Scope) -> list[dict[str, Any]]:
    """Every rental with its meter and cost, in the order in which they were asked for."""
    rows = sorted(
        scope.rows(view.rentals),
        key=lambda row: (row["requested_at_s"] or row["started_at_s"] or 0, row["rental_id"]),
    )
    return [plain(row) for row in rows]


def rental_of(scope: Scope, rental: UUID) -> dict[str, Any] | None:
    """One rental; None where there is none of that id."""
    for line in rentals(scope):
        if line["rental_id"] == str(rental):
            return line
    return None


def open_rentals(scope: Scope) -> list[UUID]:
    """Rentals that may cost something still: not booked and not refused, or with a volume left."""
    return [
        UUID(row["rental_id"])
        for row in scope.rows(view.rentals)
        if row["status"] not in NOTHING_RUNS or row["volumes_left"]
    ]


def reliability(scope: Scope) -> list[Reliability]:
    """How the providers' offers did so far; what nobody asked for is not counted."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in scope.rows(view.rentals):
        if row["adopted"] or row["offer"] is None:
            continue
        count = counts.setdefault((row["provider"], row["offer"]), [0, 0, 0, 0])
        count[0] += 1
        count[1] += row["started_at_s"] is not None
        refused = row["status"] == "refused"
        count[2] += refused and not row["lost"]
        count[3] += refused and row["lost"]
    return [Reliability(*key, *count) for key, count in sorted(counts.items())]


def invoice_lines(scope: Scope) -> list[dict[str, Any]]:
    """Every line of a provider's invoice, and the rental that it bills, None where none is."""
    return [plain(row) for row in scope.rows(view.invoice_lines)]
