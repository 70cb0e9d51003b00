"""The sweep: lists what runs at every provider under our tag, and stops what nothing owns.

It is what makes a crash at any moment harmless: lost answers are looked up, machines that no open
contest owns are stopped and booked, volumes deleted, changed prices noted. A machine of anybody
else is never touched. One provider that cannot be asked keeps nothing of the others from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

from evaluation.pods.clock import Clock, SystemClock
from evaluation.pods.machines import COST_UNKNOWN, Machines, billed_by, found_as
from evaluation.pods.owned import is_lost, why_not_owned
from evaluation.pods.port import Instance, Provider, ProviderError, Volume, request_of
from ledger.application import Ledger
from ledger.commands import rentals as record
from ledger.commands.alerts import raise_alert
from ledger.commands.rental_contests import end_contest_if_over
from ledger.commands.rentals import Found
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest
from ledger.decisions.rental import Rental
from ledger.keys import further_machine_id
from ledger.rental_policy import RentalPolicy

FOUND_BY: Final = "sweep"

OpenRentals = Callable[[], Sequence[UUID]]
"""The rentals that may still cost something, as the log has them when it is asked."""


class SweepLine(msgspec.Struct, frozen=True):
    """One thing that was done, or in a dry run would be; ``over`` is False where it goes on."""

    provider: str
    rental_id: str
    what: str
    detail: str
    over: bool


class Unasked(msgspec.Struct, frozen=True):
    """A provider that could not be asked, and why."""

    provider: str
    why: str


class Swept(msgspec.Struct, frozen=True):
    """What one sweep did. ``running`` machines are owned and were left alone."""

    lines: tuple[SweepLine, ...]
    unasked: tuple[Unasked, ...]
    running: int

    @property
    def is_over(self) -> bool:
        """Whether nothing that it began waits for another sweep."""
        return all(line.over for line in self.lines)


@dataclass(slots=True)
class _Pass:
    """One pass over one provider."""

    provider: Provider
    rules: RentalPolicy
    lines: list[SweepLine] = field(default_factory=list)
    running: int = 0
    seen: set[UUID] = field(default_factory=set)

    def add(self, rental: UUID, what: str, detail: str = "", *, over: bool = True) -> None:
        self.lines.append(SweepLine(self.provider.name, str(rental), what, detail, over))


class Sweep:
    """Sweeps for one arena. A ``dry_run`` records nothing and calls nothing but lists."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Iterable[Provider],
        open_rentals: OpenRentals,
        *,
        clock: Clock | None = None,
        dry_run: bool = False,
    ) -> None:
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._machines = Machines(ledger, providers, self._clock)
        self._open_rentals = open_rentals
        self._dry_run = dry_run

    def run(self) -> Swept:
        """One sweep over every provider."""
        lines: list[SweepLine] = []
        unasked: list[Unasked] = []
        running = 0
        for provider in self._machines.providers.values():
            one = _Pass(provider, record.rental_policy(self._ledger))
            try:
                self._sweep(one)
            except ProviderError as error:
                why = str(error)
                unasked.append(Unasked(provider.name, why))
                if not self._dry_run:
                    raise_alert(self._ledger, f"rental-provider:{provider.name}", why)
            lines += one.lines
            running += one.running
        for rental in self._open_rentals():
            try:
                self._machines.provider_of(self._machines.rental(rental))
            except ProviderError as error:
                lines.append(SweepLine("", str(rental), "cannot be asked", str(error), over=False))
        return Swept(tuple(lines), tuple(unasked), running)

    # -- one provider -------------------------------------------------------------------------

    def _sweep(self, one: _Pass) -> None:
        # Listed before the log is asked: whatever is listed was requested in the log before.
        listed = one.provider.listed()
        volumes, no_volumes = self._listed_volumes(one.provider)
        for instance in listed:
            request = request_of(instance.tag)
            if request is not None and not self._is_of_another_arena(request):
                with self._one_at_a_time(one, request):
                    self._listed(one, request, instance)
        for own in self._open_at(one.provider):
            if own.id not in one.seen:
                with self._one_at_a_time(one, own.id):
                    self._unlisted(one, own)
        for volume in volumes:
            request = request_of(volume.tag)
            if request is not None and not self._is_of_another_arena(request):
                with self._one_at_a_time(one, request):
                    self._volume_listed(one, request, volume.volume)
        for own in self._open_at(one.provider):
            self._clear(one, own)
        if no_volumes is not None:
            raise no_volumes

    def _listed_volumes(self, provider: Provider) -> tuple[Sequence[Volume], ProviderError | None]:
        """Its volumes, or why they are not known: that keeps no machine from being stopped."""
        try:
            return (provider.volumes() if provider.has_volumes else ()), None
        except ProviderError as error:
            return (), error

    def _open_at(self, provider: Provider) -> list[Rental]:
        found = [self._machines.rental(rental) for rental in self._open_rentals()]
        return [one for one in found if one.requested and one.requested.provider == provider.name]

    @contextmanager
    def _one_at_a_time(self, one: _Pass, rental: UUID) -> Iterator[None]:
        """What goes wrong with one machine keeps nothing of the next from it."""
        try:
            yield
        except ProviderError as error:
            one.add(rental, "cannot be asked", str(error), over=False)
        except DecisionRefusedError as error:
            one.add(rental, "cannot be recorded", str(error), over=False)

    def _listed(self, one: _Pass, request: UUID, instance: Instance) -> None:
        rental = self._machines.rental(request)
        asked = rental.requested
        elsewhere = asked is not None and asked.provider != one.provider.name
        second = rental.instance is not None and rental.instance != instance.instance
        if elsewhere or second:
            request = further_machine_id(request, one.provider.name, instance.instance)
            rental = self._machines.rental(request)
        one.seen.add(request)
        if rental.requested is None:
            one.add(request, "found without a request", f"{instance.instance} under our tag")
            if self._dry_run:
                one.add(request, "would be stopped", "the log knows no request for it", over=False)
                return
            self._adopt(one, request, found=found_as(instance))
        elif not self._dry_run:
            self._note(one, rental, instance)
        self._judge(one, self._machines.rental(request), instance)

    def _note(self, one: _Pass, rental: Rental, instance: Instance) -> None:
        before = len(rental.prices), rental.instance
        self._machines.note(one.provider, rental.id, instance)
        after = self._machines.rental(rental.id)
        if before[1] is None:
            one.add(rental.id, "found by its tag", f"{instance.instance}: its answer was lost")
        if before[0] and len(after.prices) > before[0]:
            price = after.prices[-1].usd_micros_per_hour
            one.add(rental.id, "has another price", f"{price} millionths of a dollar an hour")
        self._end_contest_that_is_over(after)

    def _judge(self, one: _Pass, rental: Rental, instance: Instance) -> None:
        if rental.ended is not None:
            self._listed_after_its_end(one, rental, instance.instance)
            return
        now_s = self._clock.now_s()
        why = why_not_owned(rental, one.rules, now_s, self._contest_is_open)
        if why is None and instance.state == "failed":
            why = "its provider says that it failed"
        if why is None:
            one.running += 1
            return
        self._stop(one, rental, instance.instance, why)

    def _stop(self, one: _Pass, rental: Rental, instance: str, why: str) -> None:
        if self._dry_run:
            one.add(rental.id, "would be stopped", why, over=False)
            return
        ended = self._machines.stop(one.provider, rental.id, instance, why, found_by=FOUND_BY)
        what = "stopped and booked" if ended.over else "asked to stop"
        one.add(rental.id, what, why if ended.over else f"{why}; {ended.detail}", over=ended.over)

    def _listed_after_its_end(self, one: _Pass, rental: Rental, instance: str) -> None:
        """A list may lag. What its own state says counts: it has ended and is booked once."""
        if self._dry_run:
            return
        if one.provider.state(instance).state == "gone":
            if rental.cost is None:
                one.add(rental.id, "cannot be booked", COST_UNKNOWN, over=False)
            return
        why = f"{instance} of rental {rental.id} runs on after it ended"
        raise_alert(self._ledger, f"rental-after-end:{rental.id}", f"{why}; it is asked to stop")
        self._machines.ask_to_stop(one.provider, rental.id, instance, why)
        one.add(rental.id, "asked to stop again", why, over=False)

    def _unlisted(self, one: _Pass, rental: Rental) -> None:
        """Nothing under its tag is listed."""
        if rental.cost is not None or rental.refused is not None:
            return  # a volume is left of it
        if rental.ended is not None:
            one.add(rental.id, "cannot be booked", COST_UNKNOWN, over=False)
            return
        instance, now_s = rental.instance, self._clock.now_s()
        if instance is None:
            if not is_lost(rental, one.rules, now_s):
                one.running += 1  # it may be being asked for at this moment
                return
            why = f"{one.provider.name} never answered and lists no machine of ours"
            if self._dry_run:
                one.add(rental.id, "would count as lost", why, over=False)
            elif record.refuse_rental(self._ledger, rental.id, why, now_s=now_s, lost=True):
                one.add(rental.id, "counts as lost", why)
            return
        if self._dry_run:
            one.add(rental.id, "would be looked at", f"{instance} is listed no more", over=False)
            return
        why = rental_reason(rental)
        ended = self._machines.end_if_gone(one.provider, rental.id, instance, why, FOUND_BY)
        if ended.over:
            one.add(rental.id, "ended and booked", why)
            return
        # Made or running, and in no list: as any other, by what its own state says.
        self._judge(one, self._machines.rental(rental.id), one.provider.state(instance))

    # -- volumes ------------------------------------------------------------------------------

    def _volume_listed(self, one: _Pass, request: UUID, volume: str) -> None:
        """A volume of ours that no rental of the log has is taken on, so that it is deleted."""
        rental = self._machines.rental(request)
        if volume in rental.volumes:
            if not rental.volumes[volume]:
                self._volume_listed_after_its_end(one, rental, volume)
            return
        one.add(request, "volume found by its tag", volume)
        if self._dry_run:
            return
        if rental.requested is None:
            self._adopt(one, request, volume=volume)
        else:
            record.note_volume(self._ledger, request, volume, now_s=self._clock.now_s())

    def _volume_listed_after_its_end(self, one: _Pass, rental: Rental, volume: str) -> None:
        """A list may lag, and a volume that is there costs: it is deleted again until it is not."""
        if not self._dry_run:
            one.provider.delete_volume(volume)
        what = "volume would be deleted" if self._dry_run else "volume deleted again"
        one.add(rental.id, what, f"{volume} is listed after it was deleted", over=False)

    def _adopt(
        self, one: _Pass, request: UUID, *, found: Found | None = None, volume: str | None = None
    ) -> None:
        record.adopt(
            self._ledger,
            request,
            one.provider.name,
            billed_by(one.provider),
            now_s=self._clock.now_s(),
            found=found,
            volume=volume,
        )

    def _clear(self, one: _Pass, rental: Rental) -> None:
        over = rental.cost is not None or rental.refused is not None
        if not over or not rental.volumes_left:
            return
        names = ", ".join(rental.volumes_left)
        if self._dry_run:
            one.add(rental.id, "volume would be deleted", names, over=False)
            return
        cleared = self._machines.clear_volumes(one.provider, rental.id)
        what = "volume deleted" if cleared.over else "volume still in use"
        one.add(rental.id, what, cleared.detail or names, over=cleared.over)

    # -- what the log says --------------------------------------------------------------------

    def _contest_is_open(self, contest: UUID) -> bool:
        found = self._ledger.load(Contest, contest)
        return found.plan is not None and found.ended is None

    def _end_contest_that_is_over(self, rental: Rental) -> None:
        """Whoever ran it died before saying so; its grace runs from its end as far as known."""
        serving = rental.contest
        if serving is not None and not self._contest_is_open(serving.contest_id):
            end_contest_if_over(self._ledger, rental.id, self._clock.now_s())

    def _is_of_another_arena(self, request: UUID) -> bool:
        """Another arena of this installation asked for it: its own sweep sees to it."""
        rental = self._machines.rental(request)
        return rental.requested is not None and rental.requested.arena != str(self._ledger.arena)


def rental_reason(rental: Rental) -> str:
    """Why a machine that is gone went."""
    return "it was stopped" if rental.stops else "its provider lists it no more"
