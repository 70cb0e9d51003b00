"""The rental desk: from offers to a machine that runs, with a fact before and after every call.

Nothing of a rental is kept in memory that the log does not have: a desk that dies at any moment
leaves what the sweep (:mod:`evaluation.pods.sweep`) finds and finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from evaluation.pods.clock import Clock, SystemClock
from evaluation.pods.machines import COST_UNKNOWN, Ended, Machines, billed_by
from evaluation.pods.owned import lost_after_s
from evaluation.pods.port import (
    Instance,
    Offer,
    Provider,
    ProviderError,
    RefusedError,
    Volume,
    request_of,
)
from ledger.application import Ledger
from ledger.commands import rentals as record
from ledger.commands.rental_contests import begin_contest_on, end_contest_on
from ledger.commands.rentals import Wanted
from ledger.decisions.base import DecisionRefusedError
from ledger.rental_policy import RentalTier

MAX_TRIED: Final = 16
"""How many offers of a tier are tried for one machine."""

Say = Callable[[str], None]
Choose = Callable[[RentalTier, Sequence[Offer]], Sequence[Offer]]
"""The offers of all providers that fit a tier, the best first."""


class BudgetExceededError(DecisionRefusedError):
    """What a machine may cost at worst is more than is left of the day or the round."""


class NoMachineError(Exception):
    """No machine was to be had; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long is waited, in seconds. The wait for a lost answer is the policy's grace."""

    look_every_s: int = 10
    startup_s: int = 1_800
    """For a machine that was made until it runs and can be reached."""
    stop_s: int = 300
    """For a machine that was asked to stop until it is gone; the sweep goes on after that."""


@dataclass(frozen=True, slots=True)
class Rented:
    """A machine that runs: reached at ``address`` (``user@host:port``), None if it has none."""

    rental: UUID
    provider: str
    instance: str
    address: str | None
    usd_micros_per_hour: int


class RentalDesk:
    """Rents and gives back machines for one arena.

    ``choose`` sorts offers by what is known of them (:mod:`evaluation.pods.choosing`); ``by`` names
    who rents, recorded with the request; ``say`` is told of progress.
    """

    def __init__(
        self,
        ledger: Ledger,
        providers: Iterable[Provider],
        *,
        choose: Choose,
        by: str,
        clock: Clock | None = None,
        waits: Waits = Waits(),
        say: Say = lambda _: None,
        new_request: Callable[[], UUID] = uuid4,
    ) -> None:
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._machines = Machines(ledger, providers, self._clock)
        self._choose = choose
        self._by = by
        self._waits = waits
        self._say = say
        self._new_request = new_request

    # -- what is offered ----------------------------------------------------------------------

    def offers(self, tier: str | None = None) -> list[tuple[RentalTier, list[Offer]]]:
        """Each tier in the order of the policy, with its offers now, the best first."""
        tiers, seen = self._tiers(tier), dict[int, list[Offer]]()
        found = []
        for one in tiers:
            if one.count not in seen:
                seen[one.count] = self._offered(one.count)
            found.append((one, list(self._choose(one, seen[one.count]))))
        return found

    # -- renting ------------------------------------------------------------------------------

    def rent(
        self, round_: str, *, tier: str | None = None, contest_id: UUID | None = None
    ) -> Rented:
        """A machine that runs, of the first tier that gives one.

        Raises :class:`BudgetExceededError` where only the budget stood in the way, and
        :class:`NoMachineError` with what was tried.
        """
        tried: list[str] = []
        too_much: str | None = None
        for one, offers in self.offers(tier):
            for offer in offers[:MAX_TRIED]:
                try:
                    rented = self._try(one, offer, round_, contest_id)
                except BudgetExceededError as error:
                    too_much = str(error)
                    tried.append(too_much)
                    break  # its other offers cost as much at worst
                if isinstance(rented, Rented):
                    return rented
                tried.append(f"{offer.provider}/{offer.offer}: {rented}")
        if too_much is not None and len(set(tried)) == 1:
            raise BudgetExceededError(too_much)
        named = "; ".join(tried) or "no provider offers one that fits"
        msg = f"no machine could be rented: {named}; try again later, or widen the policy's tiers"
        raise NoMachineError(msg)

    def _try(
        self, tier: RentalTier, offer: Offer, round_: str, contest_id: UUID | None
    ) -> Rented | str:
        """The machine, or why there is none and nothing is left of it but in the log."""
        provider, request = self._machines.providers[offer.provider], self._new_request()
        wanted = Wanted(
            provider=offer.provider,
            tier=tier.name,
            offer=offer.offer,
            region=offer.region,
            offered_usd_micros_per_hour=offer.usd_micros_per_hour,
            round=round_,
            contest_id=contest_id,
            by=self._by,
            billed=billed_by(provider),
        )
        over = record.request_rental(self._ledger, request, wanted, now_s=self._clock.now_s())
        if over is not None:
            msg = (
                f"a machine of tier '{tier.name}' may cost {over.wanted_usd_micros / 10**6:.2f} "
                f"dollars at worst, and {over.left_usd_micros / 10**6:.2f} are left of the day or "
                f"of round '{round_}'; wait for the next, or raise the policy's budget"
            )
            raise BudgetExceededError(msg)
        self._say(f"asking {offer.provider} for {offer.offer} in {offer.region}")
        try:
            volume = self._volume(provider, offer, request)
            made = self._create(provider, offer, request, volume)
        except RefusedError as error:
            return self._none(provider, request, str(error), lost=False)
        if made is None:
            why = f"{offer.provider} never answered and lists no machine of ours"
            return self._none(provider, request, why, lost=True)
        self._machines.note(provider, request, made)
        return self._until_it_runs(provider, request, made)

    def _create(
        self, provider: Provider, offer: Offer, request: UUID, volume: str | None
    ) -> Instance | None:
        """The machine; None where the answer was lost and none is listed for long enough.

        Raises ``RefusedError``.
        """
        try:
            return provider.create(offer, request, volume=volume)
        except RefusedError:
            raise
        except ProviderError as error:
            self._say(f"{error}; looking whether a machine was made")
        until_s = self._clock.now_s() + lost_after_s(record.rental_policy(self._ledger))
        while True:
            # One look after the time has passed, too: a listing before it proves less.
            late = self._clock.now_s() >= until_s
            try:
                listed = provider.listed()
            except ProviderError as error:
                self._say(str(error))
                late = False  # not being able to look proves nothing at all
            else:
                for instance in listed:
                    if request_of(instance.tag) == request:
                        return instance
            if late:
                return None
            self._clock.sleep(self._waits.look_every_s)

    def _until_it_runs(self, provider: Provider, request: UUID, made: Instance) -> Rented | str:
        until_s = self._clock.now_s() + self._waits.startup_s
        seen: Instance | None = made
        while True:
            rental = self._machines.rental(request)
            cap = rental.requested.max_usd_micros_per_hour if rental.requested else 0
            price = rental.prices[-1].usd_micros_per_hour if rental.prices else None
            if price is not None and price > cap:
                return self._give_up(provider, request, made, "its price is above its cap")
            if seen is not None and self._machines.is_too_new_to_be_gone(request, seen):
                seen = None
            if seen is not None and seen.state in {"gone", "failed"}:
                why = f"it never came up: its provider says '{seen.state}'"
                return self._give_up(provider, request, made, why)
            if seen is not None and seen.state == "running" and price is not None:
                address = None if seen.address is None else str(seen.address)
                if address is not None:
                    return Rented(request, provider.name, made.instance, address, price)
            if self._clock.now_s() >= until_s:
                why = f"it did not come up in {self._waits.startup_s} s"
                return self._give_up(provider, request, made, why)
            self._clock.sleep(self._waits.look_every_s)
            try:
                seen = provider.state(made.instance)
                self._machines.note(provider, request, seen)
                self._say(f"{made.instance} is {seen.state}")
            except ProviderError as error:
                seen = None
                self._say(str(error))

    def _volume(self, provider: Provider, offer: Offer, request: UUID) -> str | None:
        """A volume beside the machine, where the policy wants one and the provider has them.

        Raises ``RefusedError``. A lost answer is looked up; found nowhere, the machine does
        without, and the sweep deletes the volume should it turn up.
        """
        gigabytes = record.rental_policy(self._ledger).volume_gigabytes
        if not gigabytes or not provider.has_volumes:
            return None
        now_s = self._clock.now_s()
        record.request_volume(self._ledger, request, gigabytes, now_s=now_s)
        made: Volume | None
        try:
            made = provider.create_volume(gigabytes, offer.region, request)
        except RefusedError:
            raise
        except ProviderError as error:
            self._say(f"{error}; looking whether a volume was made")
            made = next(
                (one for one in self._volumes(provider) if request_of(one.tag) == request), None
            )
        if made is None:
            return None
        record.note_volume(self._ledger, request, made.volume, now_s=self._clock.now_s())
        return made.volume

    def _volumes(self, provider: Provider) -> Sequence[Volume]:
        try:
            return provider.volumes()
        except ProviderError as error:
            self._say(str(error))
            return ()

    # -- contests -----------------------------------------------------------------------------

    def begin_contest(self, rental: UUID, contest: UUID) -> None:
        """The machine works for a contest, which owns it until that ends."""
        begin_contest_on(self._ledger, rental, contest, self._clock.now_s())

    def end_contest(self, rental: UUID, contest: UUID) -> None:
        """The contest needs it no longer; its cost up to now is the contest's."""
        end_contest_on(self._ledger, rental, contest, self._clock.now_s())

    # -- giving back --------------------------------------------------------------------------

    def stop(self, rental: UUID, reason: str) -> Ended:
        """Stop a machine, book it, and delete its volumes as far as its provider lets us.

        What is not over when it gives up waiting stays open in the log, for the sweep.
        """
        record.must_be_told(reason, "reason")
        own = self._machines.rental(rental)
        if own.requested is None:
            msg = f"there is no rental {rental}; 'cacheon-ledger rentals' lists them"
            raise DecisionRefusedError(msg)
        if own.cost is None and own.refused is None and own.instance is None:
            msg = (
                f"no machine of rental {rental} was ever seen; 'cacheon-ledger rentals sweep' "
                "finds it, or that there is none"
            )
            raise DecisionRefusedError(msg)
        provider = self._machines.provider_of(own)
        if own.ended is not None and own.cost is None:
            return Ended(over=False, detail=COST_UNKNOWN)
        if own.cost is None and own.instance is not None:
            ended = self._stop(provider, rental, own.instance, reason)
            if not ended.over:
                return ended
        return self._machines.clear_volumes(provider, rental)

    def state_price(self, rental: UUID, usd_micros_per_hour: int, reason: str) -> None:
        """Say what an hour costs of a machine whose price its provider never stated."""
        provider = self._machines.provider_of(self._machines.rental(rental))
        record.state_price(
            self._ledger,
            rental,
            billed_by(provider),
            usd_micros_per_hour,
            reason=reason,
            actor=self._by,
        )

    def _stop(self, provider: Provider, rental: UUID, instance: str, reason: str) -> Ended:
        return self._machines.stop(
            provider,
            rental,
            instance,
            reason,
            look_s=self._waits.stop_s,
            look_every_s=self._waits.look_every_s,
            say=self._say,
        )

    def _give_up(self, provider: Provider, request: UUID, made: Instance, why: str) -> str:
        self._say(f"{made.instance} goes back: {why}")
        ended = self._stop(provider, request, made.instance, why)
        if ended.over:
            self._machines.clear_volumes(provider, request)
            return why
        return f"{why}, and it is not gone yet ({ended.detail}); the sweep goes on with it"

    def _none(self, provider: Provider, request: UUID, why: str, *, lost: bool) -> str:
        record.refuse_rental(self._ledger, request, why, now_s=self._clock.now_s(), lost=lost)
        self._machines.clear_volumes(provider, request)
        self._say(why)
        return why

    # -- inside -------------------------------------------------------------------------------

    def _tiers(self, name: str | None) -> list[RentalTier]:
        tiers = record.rental_policy(self._ledger).tiers
        found = [tier for tier in tiers if name is None or tier.name == name]
        if not found:
            wanted = "no tier of machines" if name is None else f"no tier '{name}' of machines"
            msg = f"the policy in force has {wanted}, so nothing may be rented; adopt one that has"
            raise DecisionRefusedError(msg)
        return found

    def _offered(self, count: int) -> list[Offer]:
        """Of all providers; one that gives no answer is said, and the others go on."""
        found: list[Offer] = []
        for provider in self._machines.providers.values():
            try:
                found += provider.offers(count)
            except ProviderError as error:
                self._say(str(error))
        return found
