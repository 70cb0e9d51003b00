"""How offers, one rental, a sweep and an imported invoice are laid out."""

from __future__ import annotations

from typing import Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Section

OFFERS: Final[Layout] = (
    Section(
        "Offers, the best first (USD)",
        (
            Column("tier", "tier"),
            Column("provider", "provider"),
            Column("GPU", "gpu"),
            Column("GPUs", "count", Kind.NUMBER),
            Column("per hour", "usd_micros_per_hour", Kind.USD),
            Column("offer", "offer"),
            Column("region", "region"),
            Column("asked for", "requests", Kind.NUMBER),
            Column("went well", "stopped", Kind.NUMBER),
        ),
    ),
)

RENTAL: Final[Layout] = (
    Section(
        "Rental (USD)",
        (
            Column("rental", "rental_id"),
            Column("status", "status"),
            Column("why", "reason", Kind.PROSE),
            Column("provider", "provider"),
            Column("tier", "tier"),
            Column("offer", "offer"),
            Column("region", "region"),
            Column("round", "round"),
            Column("for the contest", "contest_id"),
            Column("works for", "works_for"),
            Column("instance", "instance"),
            Column("reached at", "address"),
            Column("price cap", "max_usd_micros_per_hour", Kind.USD),
            Column("offered", "offered_usd_micros_per_hour", Kind.USD),
            Column("per hour", "usd_micros_per_hour", Kind.USD),
            Column("price changes", "reprices", Kind.NUMBER),
            Column("asked for by", "requested_by"),
            Column("asked for at (Unix)", "requested_at_s", Kind.NUMBER),
            Column("started at (Unix)", "started_at_s", Kind.NUMBER),
            Column("ended at (Unix)", "ended_at_s", Kind.NUMBER),
            Column("assumed", "assumed"),
            Column("seconds", "seconds", Kind.NUMBER),
            Column("billed seconds", "billed_seconds", Kind.NUMBER),
            Column("cost", "cost_usd_micros", Kind.USD),
            Column("corrected by", "corrected_usd_micros", Kind.USD),
            Column("billed", "billed_usd_micros", Kind.USD),
            Column("paid", "settlement"),
            Column("asked to stop", "stops", Kind.NUMBER),
            Column("volumes left", "volumes_left", Kind.NUMBER),
            Column("found by", "found_by"),
        ),
        lambda data: [data],
    ),
)

SWEPT: Final[Layout] = (
    Section(
        "Swept",
        (
            Column("provider", "provider"),
            Column("what", "what"),
            Column("over", "over"),
            Column("why", "detail", Kind.PROSE),
            Column("rental", "rental_id", Kind.ID),
        ),
        lambda data: data["lines"],
    ),
    Section(
        "Ours and left alone: a contest owns them, or they are new",
        (Column("machines", "running", Kind.NUMBER),),
        lambda data: [data] if data["running"] else [],
        only_if_any=True,
    ),
    Section(
        "Not asked",
        (Column("provider", "provider"), Column("why", "why", Kind.PROSE)),
        lambda data: data["unasked"],
        only_if_any=True,
    ),
)

INVOICE: Final[Layout] = (
    Section(
        "Lines of the invoice (USD)",
        (
            Column("invoice", "invoice"),
            Column("line", "line"),
            Column("instance", "instance"),
            Column("billed", "billed_usd_micros", Kind.USD),
            Column("seen before", "was_known"),
            Column("rental", "rental_id", Kind.ID),
        ),
    ),
)

RENTED: Final[Layout] = (
    Section(
        "Rented (USD)",
        (
            Column("rental", "rental_id"),
            Column("provider", "provider"),
            Column("instance", "instance"),
            Column("reached at", "address"),
            Column("per hour", "usd_micros_per_hour", Kind.USD),
        ),
        lambda data: [data],
    ),
)
