"""Rented machines, how reliable their providers have been, and the lines of their invoices."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping

from ledger.projections import rentals as view
from ledger.queries.scope import Scope, plain

NOTHING_RUNS = frozenset({"refused", "booked"})
"""Statuses of rentals that cost nothing more, but for volumes that are left."""


class Reliability(msgspec.Struct, frozen=True):
    """What became of the machines asked for by one offer of a provider, so far.

    ``stopped``: it came up, and went when we stopped it. ``refused`` were answered with no;
    ``failed`` were made and never came up; ``lost`` never got an answer; ``vanished`` came up and
    went by themselves. The rest of the ``requests`` is open.
    """

    provider: str
    offer: str
    requests: int = 0
    stopped: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0
    vanished: int = 0


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
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in scope.rows(view.rentals):
        if row["adopted"] or row["offer"] is None:
            continue
        count = counts.setdefault((row["provider"], row["offer"]), Counter())
        count["requests"] += 1
        became = _became(row)
        if became is not None:
            count[became] += 1
    return [
        msgspec.convert({"provider": provider, "offer": offer, **count}, Reliability)
        for (provider, offer), count in sorted(counts.items())
    ]


def _became(row: RowMapping) -> str | None:
    if row["status"] == "refused":
        return "lost" if row["lost"] else "refused"
    if row["ended_at_s"] is None:
        return None
    if not row["came_up"]:
        return "failed"
    return "stopped" if row["stops"] else "vanished"


def invoice_lines(scope: Scope) -> list[dict[str, Any]]:
    """Every line of a provider's invoice, and the rental that it bills, None where none is."""
    # `line` is a place of a row elsewhere, which is why it is hidden from plain rows.
    return [{**plain(row), "line": row["line"]} for row in scope.rows(view.invoice_lines)]
