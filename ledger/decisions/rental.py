"""A rental: a rented GPU machine is an asset with a meter.

Identity: our own request UUID, sent to the provider as its tag. Defends: facts before and after
every call, started after requested, cost booked once and only after the end, so that a crash
leaves no unknown machine and no unbooked cost. Dollars in millionths, time in whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact


@fact("rental.requested.v1")
class RentalRequested(Fact, frozen=True, kw_only=True):
    """About to ask a provider for a machine, at no more than that price per hour."""

    provider: str
    tier: str
    max_usd_micros_per_hour: int
    contest_id: UUID | None


@fact("rental.started.v1")
class RentalStarted(Fact, frozen=True, kw_only=True):
    """The provider gave a machine; the meter runs from ``started_at_s`` (its clock, Unix)."""

    instance: str
    usd_micros_per_hour: int
    started_at_s: int


@fact("rental.ended.v1")
class RentalEnded(Fact, frozen=True, kw_only=True):
    """The provider stopped the machine."""

    ended_at_s: int
    reason: str


@fact("rental.cost_booked.v1")
class RentalCostBooked(Fact, frozen=True, kw_only=True):
    """What it cost by the meter: ``cost_usd_micros`` for ``seconds``, from the prepaid account."""

    provider: str
    seconds: int
    cost_usd_micros: int
    contest_id: UUID | None
    about_block: int


@fact("rental.invoice_matched.v1")
class RentalInvoiceMatched(Fact, frozen=True, kw_only=True):
    """A line of the provider's invoice says what it billed for this rental."""

    invoice: str
    line: str
    billed_usd_micros: int


@fact("rental.orphan_stopped.v1")
class RentalOrphanStopped(Fact, frozen=True, kw_only=True):
    """A machine under our tag that no live contest owned was found running and stopped."""

    instance: str
    found_by: str


class Rental(Aggregate):
    """State and rule of one rental."""

    requested: RentalRequested | None = None
    started: RentalStarted | None = None
    ended: RentalEnded | None = None
    booked: bool = False
    invoiced: Mapping[tuple[str, str], int] = NOTHING
    """What was billed, by invoice and line."""

    def request(self, context: Context, **content: object) -> None:
        """Before the call."""
        if self.requested is None:
            self.record(context, RentalRequested, f"rental-requested:{self.id}", **content)

    def start(self, context: Context, **content: object) -> None:
        """After the call."""
        self._must(self.requested is not None, "start before it was requested")
        if self.started is None:
            self.record(context, RentalStarted, f"rental-started:{self.id}", **content)

    def end(self, context: Context, ended_at_s: int, reason: str) -> None:
        """The machine is gone."""
        started = self.started
        self._must(started is not None, "end before it started")
        if self.ended is None and started is not None:
            self._must(ended_at_s >= started.started_at_s, "end before its own start")
            self.record(
                context,
                RentalEnded,
                f"rental-ended:{self.id}",
                ended_at_s=ended_at_s,
                reason=reason,
            )

    def book_cost(self, context: Context, about_block: int) -> None:
        """Book the metered cost once: seconds x price per hour, rounded up to a whole micro."""
        started, ended, requested = self.started, self.ended, self.requested
        if started is None or ended is None or requested is None:
            msg = f"rental {self.id} cannot be booked: its meter still runs"
            raise DecisionRefusedError(msg)
        if self.booked:
            return
        seconds = ended.ended_at_s - started.started_at_s
        self.record(
            context,
            RentalCostBooked,
            f"rental-booked:{self.id}",
            provider=requested.provider,
            seconds=seconds,
            cost_usd_micros=-(-seconds * started.usd_micros_per_hour // 3_600),
            contest_id=requested.contest_id,
            about_block=about_block,
        )

    def match_invoice(
        self, context: Context, invoice: str, line: str, billed_usd_micros: int
    ) -> None:
        """Note what the provider billed; the same line again is a no-op."""
        self._must(self.requested is not None, "be invoiced before it was requested")
        if self.invoiced.get((invoice, line)) == billed_usd_micros:
            return
        self.record(
            context,
            RentalInvoiceMatched,
            f"invoice-matched:{self.id}:{invoice}:{line}",
            invoice=invoice,
            line=line,
            billed_usd_micros=billed_usd_micros,
        )

    def stop_orphan(self, context: Context, instance: str, found_by: str) -> None:
        """A sweep found and stopped it."""
        self.record(
            context,
            RentalOrphanStopped,
            f"orphan-stopped:{self.id}:{instance}",
            instance=instance,
            found_by=found_by,
        )

    def _must(self, fine: bool, what: str) -> None:
        if not fine:
            msg = f"rental {self.id} cannot {what}"
            raise DecisionRefusedError(msg)

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case RentalRequested():
                self.requested = fact
            case RentalStarted():
                self.started = fact
            case RentalEnded():
                self.ended = fact
            case RentalCostBooked():
                self.booked = True
            case RentalInvoiceMatched():
                line = (fact.invoice, fact.line)
                self.invoiced = {**self.invoiced, line: fact.billed_usd_micros}
            case RentalOrphanStopped():
                pass  # evidence beside the meter; no rule depends on it
            case _:
                msg = f"a rental cannot take a {fact.topic}"
                raise TypeError(msg)
