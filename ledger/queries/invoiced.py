"""What providers billed, as the reconciler takes it."""

from __future__ import annotations

from ledger.books.lines import InvoicedLine
from ledger.projections import treasury as view
from ledger.queries.scope import Scope


def invoice_lines(scope: Scope) -> list[InvoicedLine]:
    """The invoice lines of every provider, from what the rentals' view has matched."""
    return [
        InvoicedLine(
            provider=row["provider"],
            invoice="matched",
            line=row["rental_id"],
            instance=row["instance"] or "",
            billed_usd_micros=row["billed_usd_micros"],
            about_block=0,
            rental=row["rental_id"],
            position=row["since"],
        )
        for row in scope.rows(view.rentals)
        if row["billed_usd_micros"] is not None
    ]
