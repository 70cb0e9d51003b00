"""Invoices against the meter: what a provider billed beside what the books say its machines cost.

The amounts are signed as a residual on the provider's account is: who bills more than the books say
takes more out of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ledger.books.breaks import Break
from ledger.books.lines import InvoicedLine, MeteredCost, Period


def invoice_breaks(
    provider: str, period: Period, costs: Sequence[MeteredCost], invoiced: Sequence[InvoicedLine]
) -> list[Break]:
    """The breaks of one provider in a stretch; ``costs`` and ``invoiced`` may reach beyond it.

    A rental without an invoice is a break only once an invoice of that provider covers its time: a
    line that is about its block or a later one. A difference lies where the cost was booked first,
    and a correction that the books hold in another stretch is its counterpart there.
    """
    newest: dict[tuple[str, str], InvoicedLine] = {}
    for line in sorted(invoiced, key=lambda line: line.position):
        if line.provider == provider:
            newest[line.invoice, line.line] = line
    own = list(newest.values())
    covered_to = max((line.about_block for line in own), default=None)
    billed_for: dict[str, list[InvoicedLine]] = defaultdict(list)
    for line in own:
        if line.rental is not None:
            billed_for[line.rental].append(line)
    booked_for: dict[str, list[MeteredCost]] = defaultdict(list)
    for cost in sorted(costs, key=lambda cost: cost.position):
        if cost.provider == provider:
            booked_for[cost.rental].append(cost)
    breaks = [
        _without_rental(line)
        for line in own
        if (line.rental is None or line.rental not in booked_for) and line.about_block in period
    ]
    for rental, booked in booked_for.items():
        here = [cost for cost in booked if cost.about_block in period]
        if not here:
            continue
        first = booked[0].about_block in period
        cost_here = sum(cost.cost_usd_micros for cost in here)
        lines = billed_for.get(rental, [])
        billed = sum(line.billed_usd_micros for line in lines) if first else 0
        if lines and billed != cost_here:
            breaks.append(_differs(here, lines, cost_here, billed))
        elif not lines and covered_to is not None and here[0].about_block <= covered_to:
            breaks.append(_without_invoice(here, cost_here))
    return breaks


def billed_to(
    invoiced: Sequence[InvoicedLine],
    own: Sequence[MeteredCost],
    other: Sequence[MeteredCost],
    *,
    payable: bool,
) -> list[InvoicedLine]:
    """The lines of a provider that count for one of its two accounts, each for one of them.

    A line counts where its rental's cost was booked first. One without counts for the prepaid
    account, and for the payable one where the provider's machines cost something only there.
    """
    first: dict[str, tuple[int, bool]] = {}
    for here, costs in ((True, own), (False, other)):
        for cost in costs:
            found = (cost.position, here)
            known = first.get(cost.rental, found)
            first[cost.rental] = found if found[0] < known[0] else known
    only_payable = bool(own and not other) if payable else bool(other and not own)
    default = only_payable if payable else not only_payable
    return [
        line for line in invoiced if (first[line.rental][1] if line.rental in first else default)
    ]


def _without_rental(line: InvoicedLine) -> Break:
    what = f"instance {line.instance}" if line.rental is None else f"rental {line.rental}"
    return Break(
        "invoice_without_rental",
        _name(line),
        -line.billed_usd_micros,
        line.about_block - 1,
        line.about_block,
        seen=-line.billed_usd_micros,
        detail=f"billed for {what}, of which the books have no cost",
    )


def _differs(
    here: Sequence[MeteredCost], lines: Sequence[InvoicedLine], cost: int, billed: int
) -> Break:
    block = here[0].about_block
    return Break(
        "amount_differs",
        ", ".join(_name(line) for line in lines),
        cost - billed,
        block - 1,
        block,
        booked=-cost,
        seen=-billed,
        facts=tuple(one.fact for one in here),
        detail=f"the cost of rental {here[0].rental} and its bill differ in these blocks",
    )


def _without_invoice(here: Sequence[MeteredCost], cost: int) -> Break:
    block = here[0].about_block
    return Break(
        "rental_without_invoice",
        here[0].rental,
        cost,
        block - 1,
        block,
        booked=-cost,
        facts=tuple(one.fact for one in here),
        detail="an invoice of the provider covers its time and does not name it",
    )


def _name(line: InvoicedLine) -> str:
    return f"{line.invoice}/{line.line}"
