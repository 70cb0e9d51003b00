"""What the desk and the sweep both do with a machine: look, note, stop, end, clear volumes away.

Every call to a provider stands between two facts. Whatever is interrupted here is finished by the
next look, of this process or another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from evaluation.pods.clock import Clock
from evaluation.pods.port import Instance, Provider, ProviderError
from ledger.application import Ledger
from ledger.commands import rentals as record
from ledger.commands.rentals import Billed, Found
from ledger.decisions.rental import Rental


def billed_by(provider: Provider) -> Billed:
    """How a provider bills, in the ledger's words."""
    found = provider.billing
    return Billed(found.step_s, found.step_usd_micros, found.settlement)


def found_as(instance: Instance) -> Found:
    """A machine as its provider states it, in the ledger's words."""
    return Found(
        instance=instance.instance,
        usd_micros_per_hour=instance.usd_micros_per_hour,
        started_at_s=instance.started_at_s,
        address=None if instance.address is None else str(instance.address),
        runs=instance.state == "running",
    )


COST_UNKNOWN: Final = (
    "nobody ever stated its price, so its cost is unknown; say it by 'cacheon-ledger rentals price'"
)
NEW_S: Final = 300
"""A machine may be asked about before its provider knows it everywhere: one that was made this
short ago, and was never seen up, is not gone because it is not known."""


class UnknownProviderError(ProviderError):
    """A rental is at a provider that no key is set for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of trying to end a machine: whether it is over, and what stood in the way."""

    over: bool
    detail: str = ""


class Machines:
    """The machines of one arena at several providers, by the providers' names."""

    def __init__(self, ledger: Ledger, providers: Iterable[Provider], clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.providers = {one.name: one for one in providers}

    def rental(self, rental: UUID) -> Rental:
        """As the log has it."""
        return self.ledger.load(Rental, rental)

    def provider_of(self, rental: Rental) -> Provider:
        """Where it is; raises :class:`UnknownProviderError` where that one is not set up."""
        name = rental.requested.provider if rental.requested else "nobody"
        found = self.providers.get(name)
        if found is None:
            variable = f"LEDGER_{name.upper()}_KEY"
            msg = f"rental {rental.id} is at '{name}', which has no key here; set {variable}"
            raise UnknownProviderError(msg)
        return found

    def note(self, provider: Provider, rental: UUID, instance: Instance) -> bool:
        """Record what a provider says of a machine; whether it was new."""
        now_s = self.clock.now_s()
        return record.note_machine(
            self.ledger, rental, found_as(instance), billed_by(provider), now_s=now_s
        )

    def ask_to_stop(self, provider: Provider, rental: UUID, instance: str, reason: str) -> None:
        """Ask once; raises :class:`~evaluation.pods.port.ProviderError`."""
        record.send_stop(self.ledger, rental, reason, now_s=self.clock.now_s())
        provider.stop(instance)

    def end_if_gone(
        self, provider: Provider, rental: UUID, instance: str, reason: str, found_by: str | None
    ) -> Ended:
        """Look once, and where the machine is gone end and book it.

        It ended when the provider says so, else at this look: the first at which it is gone. That
        it is listed somewhere still is no matter.
        """
        seen = provider.state(instance)
        now_s = self.clock.now_s()
        if self.is_too_new_to_be_gone(rental, seen):
            return Ended(over=False, detail=f"{provider.name} may not know it yet")
        if seen.state != "gone":
            self.note(provider, rental, seen)
            return Ended(over=False, detail=f"the provider says '{seen.state}'")
        booked = record.end_rental(
            self.ledger,
            rental,
            billed_by(provider),
            stated_end_s=seen.ended_at_s,
            now_s=now_s,
            reason=reason,
            found_by=found_by,
        )
        if not booked:
            return Ended(over=False, detail=COST_UNKNOWN)
        return Ended(over=True)

    def is_too_new_to_be_gone(self, rental: UUID, seen: Instance) -> bool:
        """Whether its provider may just not know the machine everywhere yet."""
        own = self.rental(rental)
        if seen.state != "gone" or seen.ended_at_s is not None or own.reached is not None:
            return False
        created = own.created
        return created is not None and self.clock.now_s() - created.created_at_s < NEW_S

    def stop(
        self,
        provider: Provider,
        rental: UUID,
        instance: str,
        reason: str,
        *,
        found_by: str | None = None,
        look_s: int = 0,
        look_every_s: int = 10,
        say: Callable[[str], None] = lambda _: None,
    ) -> Ended:
        """Ask a machine to stop, and look for up to ``look_s`` seconds until it is gone.

        A provider that fails is asked again by the next look, or by the next sweep: what is not
        over then stays open in the log.
        """
        until_s = self.clock.now_s() + look_s
        ended, asked = Ended(over=False), False
        while True:
            try:
                if not asked:
                    self.ask_to_stop(provider, rental, instance, reason)
                    asked = True
                ended = self.end_if_gone(provider, rental, instance, reason, found_by)
            except ProviderError as error:
                ended = Ended(over=False, detail=str(error))
            if ended.over or self.clock.now_s() >= until_s:
                return ended
            say(f"waiting until {instance} is gone: {ended.detail}")
            self.clock.sleep(look_every_s)

    def clear_volumes(self, provider: Provider, rental: UUID) -> Ended:
        """Delete what volumes are left of a rental; one still in use is for the next sweep."""
        details = []
        for volume in self.rental(rental).volumes_left:
            try:
                provider.delete_volume(volume)
            except ProviderError as error:
                details.append(str(error))
            else:
                record.volume_gone(self.ledger, rental, volume, now_s=self.clock.now_s())
        return Ended(over=not details, detail="; ".join(details))
