"""A rental: a rented GPU machine is an asset with a meter.

Identity: our own request UUID, sent to the provider as its tag. Defends: facts before and after
every call, started after requested, contests one after the other, cost booked once and only after
the end, so that a crash leaves no unknown machine and no unbooked cost. Dollars in millionths, time
in whole Unix seconds by the provider's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact, upcast
from ledger.rules.rental_cost import PriceFrom, Used, metered, shares

Settlement = Literal["prepaid", "payable"]
"""How a provider takes its money: from what was paid in before, or by an invoice afterwards."""


@fact("rental.requested.v1")
class RentalRequestedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`RentalRequested`."""

    provider: str
    tier: str
    max_usd_micros_per_hour: int
    contest_id: UUID | None


@fact("rental.requested.v2")
class RentalRequested(Fact, frozen=True, kw_only=True):
    """About to ask a provider for a machine, at no more than that price per hour.

    ``offer`` is the provider's own name of what is asked for, at ``offered_usd_micros_per_hour``;
    ``max_seconds`` is how long it may run at most; ``round`` is what its budget is counted under.
    None where version 1 did not record it.
    """

    provider: str
    tier: str
    max_usd_micros_per_hour: int
    contest_id: UUID | None
    offer: str | None = None
    region: str | None = None
    offered_usd_micros_per_hour: int | None = None
    max_seconds: int | None = None
    round: str | None = None
    requested_by: str | None = None
    requested_at_s: int | None = None
    adopted: bool = False
    """Nobody asked for it that the log knows of: a machine under our tag was found running."""


@upcast("rental.requested.v1")
def requested_without_an_offer(old: RentalRequestedV1) -> RentalRequested:
    """What was offered was not recorded then."""
    return RentalRequested(**msgspec.structs.asdict(old))


@fact("rental.refused.v1")
class RentalRefused(Fact, frozen=True, kw_only=True):
    """The provider gave no machine: nothing runs and nothing is owed.

    ``lost``: it never answered, and nothing under our tag was listed for so long that nothing was
    made. Should one be seen after all, it starts all the same.
    """

    reason: str
    refused_at_s: int
    lost: bool = False


@fact("rental.created.v1")
class RentalCreated(Fact, frozen=True, kw_only=True):
    """The provider made a machine, or lists one under our tag; its meter may not run yet.

    Price and start are None where the provider did not say them yet. ``created_at_s`` is when we
    learned of it.
    """

    instance: str
    usd_micros_per_hour: int | None
    created_at_s: int
    started_at_s: int | None = None


@fact("rental.price_stated.v1")
class RentalPriceStated(Fact, frozen=True, kw_only=True):
    """A person says what an hour costs of a machine whose price its provider never stated."""

    usd_micros_per_hour: int
    reason: str
    actor: str


@fact("rental.started.v1")
class RentalStartedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`RentalStarted`: every provider billed seconds and millionths."""

    instance: str
    usd_micros_per_hour: int
    started_at_s: int


@fact("rental.started.v2")
class RentalStarted(Fact, frozen=True, kw_only=True):
    """The provider gave a machine; the meter runs from ``started_at_s`` (its clock, Unix).

    It bills begun steps of ``step_s`` seconds and rounds up to ``step_usd_micros``. ``assumed``
    names what the provider never stated: ``price`` (what was offered stands for it) and ``start``
    (when it was asked for, or found, stands for it).
    """

    instance: str
    usd_micros_per_hour: int
    started_at_s: int
    step_s: int = 1
    step_usd_micros: int = 1
    settlement: Settlement = "prepaid"
    assumed: tuple[str, ...] = ()


@upcast("rental.started.v1")
def started_by_the_second(old: RentalStartedV1) -> RentalStarted:
    """Every provider was prepaid and billed by the second then."""
    return RentalStarted(**msgspec.structs.asdict(old))


@fact("rental.reached.v1")
class RentalReached(Fact, frozen=True, kw_only=True):
    """The machine is up. ``address`` is where it is reached, None where its provider says none."""

    address: str | None
    reached_at_s: int


@fact("rental.host_key_seen.v1")
class RentalHostKeySeen(Fact, frozen=True, kw_only=True):
    """The key that the machine's SSH showed when it was first met, as ``SHA256:…``."""

    host_key: str
    seen_at_s: int


@fact("rental.repriced.v1")
class RentalRepriced(Fact, frozen=True, kw_only=True):
    """The provider changed the price of a running machine from that second on."""

    usd_micros_per_hour: int
    from_s: int


@fact("rental.contest_began.v1")
class RentalContestBegan(Fact, frozen=True, kw_only=True):
    """The machine works for a contest, which owns it until that ends."""

    contest_id: UUID
    from_s: int


@fact("rental.contest_ended.v1")
class RentalContestEnded(Fact, frozen=True, kw_only=True):
    """The machine has done its work for a contest."""

    contest_id: UUID
    from_s: int
    to_s: int


@fact("rental.volume_requested.v1")
class VolumeRequested(Fact, frozen=True, kw_only=True):
    """About to ask the provider for a volume for this rental."""

    gigabytes: int
    requested_at_s: int


@fact("rental.volume_created.v1")
class VolumeCreated(Fact, frozen=True, kw_only=True):
    """The provider made a volume, which costs until it is deleted."""

    volume: str
    created_at_s: int


@fact("rental.volume_deleted.v1")
class VolumeDeleted(Fact, frozen=True, kw_only=True):
    """The provider has deleted a volume. It refuses to for minutes after the machine is gone."""

    volume: str
    deleted_at_s: int


@fact("rental.stop_sent.v1")
class RentalStopSent(Fact, frozen=True, kw_only=True):
    """About to ask the provider to stop the machine; ``attempt`` counts from 1."""

    attempt: int
    reason: str
    sent_at_s: int


@fact("rental.ended.v1")
class RentalEnded(Fact, frozen=True, kw_only=True):
    """The provider stopped the machine."""

    ended_at_s: int
    reason: str


@fact("rental.cost_booked.v1")
class RentalCostBookedV1(Fact, frozen=True, kw_only=True):
    """The first form of :class:`RentalCostBooked`: one contest bore all, from the prepaid."""

    provider: str
    seconds: int
    cost_usd_micros: int
    contest_id: UUID | None
    about_block: int


@fact("rental.cost_booked.v2")
class RentalCostBooked(Fact, frozen=True, kw_only=True):
    """What it cost by the meter: ``cost_usd_micros`` for ``billed_seconds``.

    The parallel tuples say which contest bears how much of it; the rest was used by none. It is
    taken from the prepaid account or owed, as ``settlement`` says.
    """

    provider: str
    seconds: int
    billed_seconds: int
    cost_usd_micros: int
    contest_ids: tuple[UUID, ...]
    contest_usd_micros: tuple[int, ...]
    settlement: Settlement
    about_block: int


@upcast("rental.cost_booked.v1")
def booked_for_one_contest(old: RentalCostBookedV1) -> RentalCostBooked:
    """One contest bore the whole, if any did."""
    content = msgspec.structs.asdict(old)
    contest = content.pop("contest_id")
    return RentalCostBooked(
        **content,
        billed_seconds=old.seconds,
        contest_ids=() if contest is None else (contest,),
        contest_usd_micros=() if contest is None else (old.cost_usd_micros,),
        settlement="prepaid",
    )


@fact("rental.invoice_matched.v1")
class RentalInvoiceMatched(Fact, frozen=True, kw_only=True):
    """A line of the provider's invoice says what it billed for this rental."""

    invoice: str
    line: str
    billed_usd_micros: int


@fact("rental.cost_corrected.v1")
class RentalCostCorrected(Fact, frozen=True, kw_only=True):
    """A treasurer takes the provider's bill for the cost: ``difference_usd_micros`` is signed.

    What is billed beyond the meter, or below it, is no contest's.
    """

    provider: str
    settlement: Settlement
    difference_usd_micros: int
    reason: str
    actor: str
    about_block: int


@fact("rental.orphan_stopped.v1")
class RentalOrphanStopped(Fact, frozen=True, kw_only=True):
    """A machine under our tag that no live contest owned was found running and stopped."""

    instance: str
    found_by: str


class Rental(Aggregate):
    """State and rule of one rental."""

    requested: RentalRequested | None = None
    refused: RentalRefused | None = None
    created: RentalCreated | None = None
    started: RentalStarted | None = None
    reached: RentalReached | None = None
    host_key: RentalHostKeySeen | None = None
    price_stated: RentalPriceStated | None = None
    prices: tuple[PriceFrom, ...] = ()
    contest: RentalContestBegan | None = None
    """The contest it works for now."""
    used: tuple[Used[UUID], ...] = ()
    volumes: Mapping[str, bool] = NOTHING
    """Every volume made for it, and whether it still exists."""
    volume_asked: VolumeRequested | None = None
    stops: int = 0
    """How often the provider was asked to stop it."""
    ended: RentalEnded | None = None
    cost: RentalCostBooked | None = None
    corrected_usd_micros: int = 0
    invoiced: Mapping[tuple[str, str], int] = NOTHING
    """What was billed, by invoice and line."""

    @property
    def booked(self) -> bool:
        """Whether its cost is in the books."""
        return self.cost is not None

    @property
    def is_open(self) -> bool:
        """Whether something may still run, or something that ran is not booked."""
        return self.requested is not None and self.refused is None and self.cost is None

    def request(self, context: Context, **content: object) -> None:
        """Before the call."""
        if self.requested is None:
            self.record(context, RentalRequested, f"rental-requested:{self.id}", **content)

    @property
    def instance(self) -> str | None:
        """The provider's name of its machine, as far as one is known of."""
        known = self.started or self.created
        return None if known is None else known.instance

    @property
    def volumes_left(self) -> tuple[str, ...]:
        """Its volumes that still exist, and cost."""
        return tuple(volume for volume, exists in self.volumes.items() if exists)

    def refuse(
        self, context: Context, reason: str, refused_at_s: int, *, lost: bool = False
    ) -> None:
        """The call gave nothing."""
        self._must(self.requested is not None, "be refused before it was requested")
        self._must(self.instance is None, "be refused: it has a machine")
        if self.refused is None:
            self.record(
                context,
                RentalRefused,
                f"rental-refused:{self.id}",
                reason=reason,
                refused_at_s=refused_at_s,
                lost=lost,
            )

    def create(self, context: Context, **content: object) -> None:
        """After the call: there is a machine, also where the call seemed to have given none."""
        self._must(self.requested is not None, "have a machine before it was requested")
        if self.instance is None:
            self.record(context, RentalCreated, f"rental-created:{self.id}", **content)

    def start(self, context: Context, **content: object) -> None:
        """The meter runs. A machine that is seen running overrules that it was refused."""
        self._must(self.requested is not None, "start before it was requested")
        if self.started is None:
            self.record(context, RentalStarted, f"rental-started:{self.id}", **content)

    def state_price(
        self, context: Context, usd_micros_per_hour: int, reason: str, actor: str
    ) -> None:
        """A person states the price that its provider did not; the same again is a no-op."""
        self._must(self.instance is not None, "have a price: no machine of it was ever seen")
        self._must(self.started is None, "be priced by hand: its price is known; accept its bill")
        self._must(usd_micros_per_hour > 0, "cost nothing")
        stated = self.price_stated
        if stated is None or stated.usd_micros_per_hour != usd_micros_per_hour:
            self.record(
                context,
                RentalPriceStated,
                f"rental-price-stated:{self.id}:{self.version}",
                usd_micros_per_hour=usd_micros_per_hour,
                reason=reason,
                actor=actor,
            )

    def reach(self, context: Context, address: str | None, reached_at_s: int) -> None:
        """It is up; an address that was said already, or none any more, is a no-op."""
        self._must(self.started is not None and self.ended is None, "be reached: it does not run")
        if self.reached is None or address not in {None, self.reached.address}:
            self.record(
                context,
                RentalReached,
                f"rental-reached:{self.id}:{self.version}",
                address=address,
                reached_at_s=reached_at_s,
            )

    def meet(self, context: Context, host_key: str, seen_at_s: int) -> None:
        """Its SSH showed this key; the same again is a no-op, another is another machine."""
        self._must(self.started is not None, "be met: it does not run")
        if self.host_key is None:
            key = f"rental-host-key-seen:{self.id}"
            self.record(context, RentalHostKeySeen, key, host_key=host_key, seen_at_s=seen_at_s)
        self._must(
            self.host_key is not None and self.host_key.host_key == host_key,
            f"show the key {host_key}: it showed another before",
        )

    def reprice(self, context: Context, usd_micros_per_hour: int, from_s: int) -> None:
        """The provider asks another price from now on; the same price again is a no-op."""
        self._must(self.started is not None and self.ended is None, "be repriced: it does not run")
        last = self.prices[-1]
        if last.usd_micros_per_hour == usd_micros_per_hour:
            return
        self.record(
            context,
            RentalRepriced,
            f"rental-repriced:{self.id}:{len(self.prices)}",
            usd_micros_per_hour=usd_micros_per_hour,
            from_s=max(from_s, last.from_s),
        )

    def begin_contest(self, context: Context, contest_id: UUID, from_s: int) -> None:
        """It works for a contest now; one at a time."""
        self._must(self.started is not None and self.ended is None, "serve a contest: not running")
        if self.contest is not None and self.contest.contest_id == contest_id:
            return
        self._must(self.contest is None, "serve two contests at once")
        self._must(not self.stops, "serve a contest: it was asked to stop")
        began = max(from_s, self._busy_until_s())
        self.record(
            context,
            RentalContestBegan,
            f"rental-contest-began:{self.id}:{contest_id}:{len(self.used)}",
            contest_id=contest_id,
            from_s=began,
        )

    def end_contest(self, context: Context, contest_id: UUID, to_s: int) -> None:
        """Its work for a contest is over; saying so again is a no-op."""
        if self.contest is None or self.contest.contest_id != contest_id:
            return
        self.record(
            context,
            RentalContestEnded,
            f"rental-contest-ended:{self.id}:{contest_id}:{len(self.used)}",
            contest_id=contest_id,
            from_s=self.contest.from_s,
            to_s=max(to_s, self.contest.from_s),
        )

    def request_volume(self, context: Context, gigabytes: int, requested_at_s: int) -> None:
        """Before the call that makes a volume: one for a rental."""
        self._must(self.requested is not None, "have a volume before it was requested")
        if self.volume_asked is None:
            self.record(
                context,
                VolumeRequested,
                f"volume-requested:{self.id}",
                gigabytes=gigabytes,
                requested_at_s=requested_at_s,
            )

    def create_volume(self, context: Context, volume: str, created_at_s: int) -> None:
        """After the call; the same volume again is a no-op."""
        if volume not in self.volumes:
            self.record(
                context,
                VolumeCreated,
                f"volume-created:{self.id}:{volume}",
                volume=volume,
                created_at_s=created_at_s,
            )

    def delete_volume(self, context: Context, volume: str, deleted_at_s: int) -> None:
        """The volume is gone; saying so again is a no-op."""
        self._must(volume in self.volumes, f"lose the volume '{volume}', which it never had")
        if self.volumes[volume]:
            self.record(
                context,
                VolumeDeleted,
                f"volume-deleted:{self.id}:{volume}",
                volume=volume,
                deleted_at_s=deleted_at_s,
            )

    def send_stop(self, context: Context, reason: str, sent_at_s: int) -> None:
        """Before the call that stops it, every time; also of one that runs though it ended."""
        self._must(self.requested is not None, "be stopped before it was requested")
        self.record(
            context,
            RentalStopSent,
            f"rental-stop-sent:{self.id}:{self.stops + 1}",
            attempt=self.stops + 1,
            reason=reason,
            sent_at_s=sent_at_s,
        )

    def end(self, context: Context, ended_at_s: int, reason: str) -> None:
        """The machine is gone; a contest that it still worked for ends with it.

        That its price is not known keeps it from being booked, and not from having ended.
        """
        self._must(self.instance is not None, "end before it started")
        if self.ended is None:
            begun = 0 if self.started is None else self.started.started_at_s
            self._must(ended_at_s >= begun, "end before its own start")
            if self.contest is not None:
                self.end_contest(context, self.contest.contest_id, ended_at_s)
            self.record(
                context,
                RentalEnded,
                f"rental-ended:{self.id}",
                ended_at_s=ended_at_s,
                reason=reason,
            )

    def book_cost(self, context: Context, about_block: int) -> None:
        """Book the metered cost once, by the provider's own rounding."""
        started, ended, requested = self.started, self.ended, self.requested
        if started is None or ended is None or requested is None:
            msg = f"rental {self.id} cannot be booked: its meter still runs"
            raise DecisionRefusedError(msg)
        if self.cost is not None:
            return
        prices = [one for one in self.prices if one.from_s <= ended.ended_at_s]
        cost = metered(
            prices,
            ended.ended_at_s,
            step_s=started.step_s,
            step_usd_micros=started.step_usd_micros,
        )
        borne = self._borne(cost.cost_usd_micros, cost.seconds, ended.ended_at_s)
        self.record(
            context,
            RentalCostBooked,
            f"rental-booked:{self.id}",
            provider=requested.provider,
            seconds=cost.seconds,
            billed_seconds=cost.billed_seconds,
            cost_usd_micros=cost.cost_usd_micros,
            contest_ids=tuple(borne),
            contest_usd_micros=tuple(borne.values()),
            settlement=started.settlement,
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

    def accept_bill(self, context: Context, reason: str, actor: str, about_block: int) -> None:
        """Take what was billed for what it cost; where the books say so already, a no-op."""
        cost, requested = self.cost, self.requested
        if requested is None:
            msg = f"there is no rental {self.id}; 'cacheon-ledger rentals' lists them"
            raise DecisionRefusedError(msg)
        if cost is None or not self.invoiced:
            lacks = "bill" if cost is not None else "booked cost"
            msg = (
                f"rental {self.id} has no {lacks} yet that could be held against the other; "
                "see 'cacheon-ledger rentals show'"
            )
            raise DecisionRefusedError(msg)
        billed = sum(self.invoiced.values())
        difference = billed - cost.cost_usd_micros - self.corrected_usd_micros
        if difference:
            self.record(
                context,
                RentalCostCorrected,
                f"rental-corrected:{self.id}:{billed}:{self.version}",
                provider=requested.provider,
                settlement=cost.settlement,
                difference_usd_micros=difference,
                reason=reason,
                actor=actor,
                about_block=about_block,
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

    # -- inside -----------------------------------------------------------------------------

    def _borne(self, cost: int, seconds: int, ended_at_s: int) -> dict[UUID, int]:
        """What each contest bears; all of it one that the rental was asked for and that is the
        only one known of."""
        requested = self.requested
        if not self.used and requested is not None and requested.contest_id is not None:
            return {requested.contest_id: cost}
        if not seconds:
            return {}
        used = [one._replace(to_s=min(one.to_s, ended_at_s)) for one in self.used]
        return shares(cost, seconds, used)

    def _busy_until_s(self) -> int:
        started = self.started.started_at_s if self.started else 0
        return max([started, *(one.to_s for one in self.used)])

    def _must(self, fine: bool, what: str) -> None:
        if not fine:
            msg = f"rental {self.id} cannot {what}"
            raise DecisionRefusedError(msg)

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case RentalRequested():
                self.requested = fact
            case RentalRefused():
                self.refused = fact
            case RentalCreated():
                self.created, self.refused = fact, None
            case RentalStarted():
                self.started, self.refused = fact, None
                self.prices = (PriceFrom(fact.started_at_s, fact.usd_micros_per_hour),)
            case RentalPriceStated():
                self.price_stated = fact
            case RentalReached() | RentalHostKeySeen():
                self._apply_met(fact)
            case RentalRepriced():
                self.prices = (*self.prices, PriceFrom(fact.from_s, fact.usd_micros_per_hour))
            case RentalContestBegan():
                self.contest = fact
            case RentalContestEnded():
                self.contest = None
                self.used = (*self.used, Used(fact.contest_id, fact.from_s, fact.to_s))
            case RentalStopSent():
                self.stops = fact.attempt
            case RentalEnded():
                self.ended = fact
            case RentalCostBooked():
                self.cost = fact
            case RentalCostCorrected() | RentalInvoiceMatched():
                self._apply_bill(fact)
            case VolumeRequested() | VolumeCreated() | VolumeDeleted():
                self._apply_volume(fact)
            case RentalOrphanStopped():
                pass  # evidence beside the meter; no rule depends on it
            case _:
                msg = f"a rental cannot take a {fact.topic}"
                raise TypeError(msg)

    def _apply_met(self, fact: RentalReached | RentalHostKeySeen) -> None:
        if isinstance(fact, RentalReached):
            self.reached = fact
        else:
            self.host_key = fact

    def _apply_bill(self, fact: RentalCostCorrected | RentalInvoiceMatched) -> None:
        if isinstance(fact, RentalCostCorrected):
            self.corrected_usd_micros += fact.difference_usd_micros
        else:
            line = (fact.invoice, fact.line)
            self.invoiced = {**self.invoiced, line: fact.billed_usd_micros}

    def _apply_volume(self, fact: VolumeRequested | VolumeCreated | VolumeDeleted) -> None:
        if isinstance(fact, VolumeRequested):
            self.volume_asked = fact
        else:
            exists = isinstance(fact, VolumeCreated)
            self.volumes = {**self.volumes, fact.volume: exists}
