"""The `rentals` view: every rented machine with its meter and cost, and the invoices' lines."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, Text

from ledger.decisions.rental import (
    RentalContestBegan,
    RentalContestEnded,
    RentalCostBooked,
    RentalCostCorrected,
    RentalCreated,
    RentalEnded,
    RentalHostKeySeen,
    RentalInvoiceMatched,
    RentalOrphanStopped,
    RentalPriceStated,
    RentalReached,
    RentalRefused,
    RentalRepriced,
    RentalRequested,
    RentalStarted,
    RentalStopSent,
    VolumeCreated,
    VolumeDeleted,
    VolumeRequested,
)
from ledger.facts import Fact
from ledger.observations import InvoiceLineSeen
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

rentals: Final = versioned(
    "treasury_rentals",
    [Column("rental_id", Text, primary_key=True)],
    [
        Column("provider", Text, nullable=False),
        Column("tier", Text, nullable=False),
        Column("offer", Text),
        Column("region", Text),
        Column("round", Text),
        Column("contest_id", Text),
        Column("status", Text, nullable=False),
        Column("adopted", Boolean, nullable=False),
        Column("lost", Boolean, nullable=False),
        Column("found_by", Text),
        Column("reason", Text),
        Column("instance", Text),
        Column("address", Text),
        Column("assumed", Text),
        Column("came_up", Boolean, nullable=False),
        Column("max_usd_micros_per_hour", BigInteger, nullable=False),
        Column("offered_usd_micros_per_hour", BigInteger),
        Column("usd_micros_per_hour", BigInteger),
        Column("reprices", Integer, nullable=False),
        Column("requested_by", Text),
        Column("requested_at_s", BigInteger),
        Column("started_at_s", BigInteger),
        Column("ended_at_s", BigInteger),
        Column("works_for", Text),
        Column("stops", Integer, nullable=False),
        Column("volumes_left", Integer, nullable=False),
        Column("seconds", BigInteger),
        Column("billed_seconds", BigInteger),
        Column("settlement", Text),
        Column("cost_usd_micros", BigInteger),
        Column("corrected_usd_micros", BigInteger, nullable=False),
        Column("billed_usd_micros", BigInteger),
        Column("about_block", BigInteger),
    ],
)
"""``status``: requested, refused, created, running, stopping, ended, booked. ``works_for`` is the
contest it serves now; ``billed_usd_micros`` what invoices billed for it; ``about_block`` of the
booking."""

invoice_lines: Final = versioned(
    "invoice_lines",
    [
        Column("provider", Text, primary_key=True),
        Column("invoice", Text, primary_key=True),
        Column("line", Text, primary_key=True),
    ],
    [
        Column("instance", Text, nullable=False),
        Column("tag", Text),
        Column("seconds", BigInteger),
        Column("billed_usd_micros", BigInteger, nullable=False),
        Column("about_block", BigInteger, nullable=False),
        Column("rental_id", Text),
    ],
)
"""``rental_id`` is None for a line that matches no rental."""


def _of_rental(rows: Rows, position: int, fact: Fact) -> None:
    identity = str(fact.originator_id)
    changes: dict[str, Any]
    match fact:
        case RentalRequested():
            rows.put_new(rentals, position, identity, **_requested(fact))
            return
        case RentalRefused():
            changes = {"status": "refused", "lost": fact.lost, "reason": fact.reason}
        case RentalCreated():
            changes = {
                "status": "created",
                "lost": False,
                "reason": None,
                "instance": fact.instance,
                "usd_micros_per_hour": fact.usd_micros_per_hour,
            }
        case RentalStarted():
            changes = {
                "status": "running",
                "lost": False,
                "reason": None,
                "instance": fact.instance,
                "assumed": ", ".join(fact.assumed) or None,
                "usd_micros_per_hour": fact.usd_micros_per_hour,
                "started_at_s": fact.started_at_s,
                "settlement": fact.settlement,
            }
        case RentalReached():
            changes = {"came_up": True, "address": fact.address}
        case RentalContestBegan():
            changes = {"works_for": str(fact.contest_id)}
        case RentalContestEnded():
            changes = {"works_for": None}
        case RentalEnded():
            changes = {"status": "ended", "ended_at_s": fact.ended_at_s, "reason": fact.reason}
        case RentalCostBooked():
            changes = {
                "status": "booked",
                "seconds": fact.seconds,
                "billed_seconds": fact.billed_seconds,
                "cost_usd_micros": fact.cost_usd_micros,
                "about_block": fact.about_block,
            }
        case RentalOrphanStopped():
            changes = {"found_by": fact.found_by}
        case _:
            changes = _counted(rows.get(rentals, identity) or {}, fact)
    if rows.get(rentals, identity) is not None:
        rows.put(rentals, position, identity, **changes)


def _requested(fact: RentalRequested) -> dict[str, Any]:
    return {
        "provider": fact.provider,
        "tier": fact.tier,
        "offer": fact.offer,
        "region": fact.region,
        "round": fact.round,
        "contest_id": str(fact.contest_id) if fact.contest_id else None,
        "status": "requested",
        "adopted": fact.adopted,
        "lost": False,
        "came_up": False,
        "max_usd_micros_per_hour": fact.max_usd_micros_per_hour,
        "offered_usd_micros_per_hour": fact.offered_usd_micros_per_hour,
        "requested_by": fact.requested_by,
        "requested_at_s": fact.requested_at_s,
        **{"reprices": 0, "stops": 0, "volumes_left": 0, "corrected_usd_micros": 0},
    }


def _counted(row: Any, fact: Fact) -> dict[str, Any]:
    """What changes by as much as a fact says."""
    match fact:
        case RentalRepriced():
            price = fact.usd_micros_per_hour
            return {"usd_micros_per_hour": price, "reprices": row.get("reprices", 0) + 1}
        case RentalStopSent():
            # A stop that is sent again after the end changes no status.
            runs = row.get("status") in {"requested", "created", "running"}
            return {"stops": fact.attempt, **({"status": "stopping"} if runs else {})}
        case VolumeCreated() | VolumeDeleted():
            more = 1 if isinstance(fact, VolumeCreated) else -1
            return {"volumes_left": row.get("volumes_left", 0) + more}
        case RentalCostCorrected():
            corrected = row.get("corrected_usd_micros", 0) + fact.difference_usd_micros
            return {"corrected_usd_micros": corrected}
        case RentalInvoiceMatched():
            return {
                "billed_usd_micros": (row.get("billed_usd_micros") or 0) + fact.billed_usd_micros
            }
        case _:
            return {}


def _invoice_line(rows: Rows, position: int, fact: InvoiceLineSeen) -> None:
    rows.put_new(
        invoice_lines,
        position,
        *(fact.provider, fact.invoice, fact.line),
        instance=fact.instance,
        tag=fact.tag,
        seconds=fact.seconds,
        billed_usd_micros=fact.billed_usd_micros,
        about_block=fact.about_block,
        rental_id=None,
    )


def _matched(rows: Rows, position: int, fact: RentalInvoiceMatched) -> None:
    rental = rows.get(rentals, str(fact.originator_id))
    if rental is None:
        return
    key = (rental["provider"], fact.invoice, fact.line)
    if rows.get(invoice_lines, *key) is not None:
        rows.put(invoice_lines, position, *key, rental_id=str(fact.originator_id))


class RentalsProjection:
    """Folds rented machines, and the invoices' lines held against them."""

    name = "rentals"
    tables = (rentals, invoice_lines)
    knows: tuple[type[Fact], ...] = (
        InvoiceLineSeen,
        RentalContestBegan,
        RentalContestEnded,
        RentalCostBooked,
        RentalCostCorrected,
        RentalCreated,
        RentalEnded,
        RentalHostKeySeen,
        RentalInvoiceMatched,
        RentalOrphanStopped,
        RentalPriceStated,
        RentalReached,
        RentalRefused,
        RentalRepriced,
        RentalRequested,
        RentalStarted,
        RentalStopSent,
        VolumeCreated,
        VolumeDeleted,
        VolumeRequested,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case InvoiceLineSeen():
                _invoice_line(rows, position, fact)
            case RentalInvoiceMatched():
                _of_rental(rows, position, fact)
                _matched(rows, position, fact)
            case _:
                _of_rental(rows, position, fact)
