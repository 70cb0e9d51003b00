"""Importing a provider's invoice: every line seen once, and held against the rental that it bills.

A file is recorded whole or not at all. A line that was seen before is a no-op; with other content
it is a conflict, which is recorded and alarms, and nothing of its file is. A line that matches no
rental stays, as such: importing it again matches it if the rental has become known meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from ledger.application import Ledger, Unit
from ledger.commands.providers import must_be_a_provider
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import Rental, RentalCreated, RentalStarted
from ledger.observations import InvoiceLineSeen
from ledger.store.logs import newest_facts
from ledger.texts import is_one_line

MAX_LINES: Final = 5_000
"""Of one file: each is up to two facts, and all are recorded at once."""
MAX_WORD_CHARS: Final = 60
MAX_PROVIDER_CHARS: Final = 32
"""Of an invoice's number and a line's, and of its provider's name: parts of a fact's key."""
MAX_INSTANCE_CHARS: Final = 256


class InvoiceLine(msgspec.Struct, frozen=True):
    """One line: what is None the invoice does not say. ``tag`` is our request's UUID."""

    invoice: str
    line: str
    instance: str
    tag: str | None
    seconds: int | None
    from_s: int | None
    to_s: int | None
    billed_usd_micros: int


class Imported(msgspec.Struct, frozen=True):
    """What became of one line: ``rental_id`` is None where it bills no rental that is known of."""

    invoice: str
    line: str
    instance: str
    billed_usd_micros: int
    rental_id: str | None
    was_known: bool


def import_invoice(
    ledger: Ledger,
    provider: str,
    lines: Sequence[InvoiceLine],
    *,
    about_block: int | None = None,
    new_provider: bool = False,
) -> list[Imported]:
    """Record an invoice's lines, each matched to its rental by tag, else by instance and time.

    A line is about the block at which its rental was booked, else about ``about_block``, by default
    the newest. A provider that nobody knows is refused unless it is said to be a new one. Raises
    :class:`~ledger.store.conflicts.FactConflictError` for a line that is known otherwise.
    """
    if len(lines) > MAX_LINES:
        msg = f"an invoice of {len(lines)} lines is too long; split it into {MAX_LINES} each"
        raise DecisionRefusedError(msg)
    if not is_one_line(provider, MAX_PROVIDER_CHARS) or ":" in provider:
        msg = f"a provider's name must be 1 to {MAX_PROVIDER_CHARS} characters without a colon"
        raise DecisionRefusedError(msg)

    def work(unit: Unit) -> list[Imported]:
        must_be_a_provider(unit, provider, new=new_provider)
        block = unit.block if about_block is None else about_block
        if not 0 <= block <= unit.block:
            msg = f"an invoice cannot be about block {block}; the newest is {unit.block}"
            raise DecisionRefusedError(msg)
        machines = _machines(ledger)
        return [_import(unit, provider, line, machines, block) for line in lines]

    return ledger.decide(work)


def _import(
    unit: Unit,
    provider: str,
    line: InvoiceLine,
    machines: Mapping[str, Sequence[UUID]],
    about_block: int,
) -> Imported:
    rental = _rental(unit, provider, line, machines)
    key = f"invoice:{unit.context.arena}:{provider}:{line.invoice}:{line.line}"
    known = unit.ledger.known(key)
    if isinstance(known, InvoiceLineSeen):
        about_block = known.about_block  # whatever is the newest block now
    elif rental is not None and rental.cost is not None:
        about_block = rental.cost.about_block
    seen = unit.observe(
        InvoiceLineSeen,
        key,
        provider=provider,
        about_block=about_block,
        **msgspec.structs.asdict(line),
    )
    if rental is not None:
        rental.match_invoice(
            unit.context.because(seen), line.invoice, line.line, line.billed_usd_micros
        )
    return Imported(
        invoice=line.invoice,
        line=line.line,
        instance=line.instance,
        billed_usd_micros=line.billed_usd_micros,
        rental_id=None if rental is None else str(rental.id),
        was_known=known is not None,
    )


def _rental(
    unit: Unit, provider: str, line: InvoiceLine, machines: Mapping[str, Sequence[UUID]]
) -> Rental | None:
    tagged = None if line.tag is None else unit.get(Rental, UUID(line.tag))
    if tagged is not None and not _is_of(unit, tagged, provider):
        tagged = None
    named = [unit.get(Rental, identity) for identity in machines.get(line.instance, ())]
    named = [one for one in named if _is_of(unit, one, provider)]
    for one in (*named, *([] if tagged is None else [tagged])):
        # A provider may use a machine's name again: what was billed to one is not billed to two.
        if (line.invoice, line.line) in one.invoiced:
            return one
    if tagged is not None and tagged.instance in {None, line.instance}:
        return tagged
    return next((one for one in named if _overlaps(one, line)), tagged)


def _is_of(unit: Unit, rental: Rental, provider: str) -> bool:
    requested = rental.requested
    if requested is None or requested.arena != str(unit.context.arena):
        return False
    return requested.provider == provider


def _overlaps(rental: Rental, line: InvoiceLine) -> bool:
    """Whether the machine ran in the stretch that is billed, as far as both are known."""
    begun = rental.started.started_at_s if rental.started else None
    ended = rental.ended.ended_at_s if rental.ended else None
    before = line.from_s is not None and ended is not None and line.from_s > ended
    after = line.to_s is not None and begun is not None and line.to_s < begun
    return not (before or after)


def _machines(ledger: Ledger) -> Mapping[str, Sequence[UUID]]:
    """Every rental of the arena by its provider's name of its machine, the newest first."""
    found: dict[str, list[UUID]] = {}
    with ledger.engine.connect() as connection:
        for topic in (RentalCreated.topic, RentalStarted.topic):
            for fact in newest_facts(connection, ledger.arena, topic):
                if isinstance(fact, RentalCreated | RentalStarted):
                    of_name = found.setdefault(fact.instance, [])
                    if fact.originator_id not in of_name:
                        of_name.append(fact.originator_id)
    return found
