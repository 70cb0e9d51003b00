"""What providers billed, as the reconciler takes it."""

from __future__ import annotations

from sqlalchemy import select

from ledger.books.lines import InvoicedLine
from ledger.projections.rentals import invoice_lines as table
from ledger.queries.scope import Scope


def invoice_lines(scope: Scope) -> list[InvoicedLine]:
    """Every line of every invoice, once as it was seen and again as it was matched."""
    query = select(table).where(
        table.c.log_id == scope.head.log_id, table.c.since <= scope.position
    )
    return [
        InvoicedLine(
            provider=row["provider"],
            invoice=row["invoice"],
            line=row["line"],
            instance=row["instance"],
            billed_usd_micros=row["billed_usd_micros"],
            about_block=row["about_block"],
            rental=row["rental_id"],
            position=row["since"],
        )
        for row in scope.connection.execute(query).mappings()
    ]
