"""A provider of machines in memory, with the faults that real ones have, and a clock to turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from evaluation.pods.port import (
    Address,
    Billing,
    Instance,
    Offer,
    RefusedError,
    StillInUseError,
    UnansweredError,
    Volume,
    tag_of,
)

HOUR_USD_MICROS = 20_000_000


@dataclass
class TurnedClock:
    """A clock that moves only when somebody waits, or a test says so."""

    now: int = 1_800_000_000
    waited: int = 0

    def now_s(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds)
        self.waited += int(seconds)


@dataclass
class MemoryProvider:
    """Machines that start when looked at, run, and are gone ``linger_s`` after they are stopped."""

    clock: TurnedClock
    name: str = "shadeform"
    billing: Billing = field(default_factory=lambda: Billing(60, 10_000, "prepaid"))
    has_volumes: bool = False
    usd_micros_per_hour: int = HOUR_USD_MICROS
    boot_s: int = 0
    linger_s: int = 0
    lists_the_dead_for_s: int = 0
    refuses: bool = False
    loses_answers: bool = False
    makes_though_lost: bool = True
    is_down: bool = False
    states_prices: bool = True
    states_starts: bool = True
    states_ends: bool = True
    machines: dict[str, Instance] = field(default_factory=dict)
    stopped_at: dict[str, int] = field(default_factory=dict)
    made_volumes: dict[str, Volume] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    created_with: list[str | None] = field(default_factory=list)
    volumes_free_at: int = 0

    def offers(self, count: int) -> Sequence[Offer]:
        self._answer()
        price = self.usd_micros_per_hour
        return [Offer(self.name, "h200x8", "H200", count, "us-east", price)]

    def create(self, offer: Offer, request: UUID, *, volume: str | None = None) -> Instance:
        self._answer()
        if self.refuses:
            msg = f"{self.name} has no such machine left; ask for another"
            raise RefusedError(msg)
        self.created_with.append(volume)
        if not self.loses_answers or self.makes_though_lost:
            made = self.put(tag_of(request))
        if self.loses_answers:
            msg = f"{self.name} gave no answer to a request for a machine"
            raise UnansweredError(msg)
        return self._seen(made)

    def put(self, tag: str | None, price: int | None = None) -> str:
        """A machine of anybody, running from now on."""
        name = f"i-{len(self.machines)}"
        self.machines[name] = Instance(
            provider=self.name,
            instance=name,
            tag=tag,
            state="running",
            usd_micros_per_hour=price or self.usd_micros_per_hour,
            started_at_s=self.clock.now + self.boot_s,
            ended_at_s=None,
            address=Address("root", "203.0.113.7", 22),
        )
        return name

    def state(self, instance: str) -> Instance:
        self._answer()
        if instance not in self.machines:
            return Instance(self.name, instance, None, "gone", None, None, None, None)
        return self._seen(instance)

    def stop(self, instance: str) -> None:
        self._answer()
        if instance in self.machines:
            self.stopped_at.setdefault(instance, self.clock.now)

    def listed(self) -> Sequence[Instance]:
        self._answer()
        found = []
        for name in self.machines:
            seen = self._seen(name)
            if seen.state != "gone":
                found.append(seen)
            elif self.clock.now < self._gone_at(name) + self.lists_the_dead_for_s:
                found.append(replace(seen, state="running"))
        return found

    def create_volume(self, gigabytes: int, region: str, request: UUID) -> Volume:
        self._answer()
        made = Volume(self.name, f"v-{len(self.made_volumes)}", tag_of(request), gigabytes)
        self.made_volumes[made.volume] = made
        if self.loses_answers:
            msg = f"{self.name} gave no answer to a request for a volume"
            raise UnansweredError(msg)
        return made

    def delete_volume(self, volume: str) -> None:
        self._answer()
        if self.clock.now < self.volumes_free_at:
            msg = f"the volume {volume} is still in use at {self.name}"
            raise StillInUseError(msg)
        self.made_volumes.pop(volume, None)
        self.deleted.append(volume)

    def volumes(self) -> Sequence[Volume]:
        self._answer()
        return list(self.made_volumes.values())

    def close(self) -> None:
        pass

    # -- what a test asks ---------------------------------------------------------------------

    def running(self) -> list[str]:
        """The machines that cost something now."""
        return [name for name in self.machines if self._seen(name).state != "gone"]

    def _gone_at(self, name: str) -> int:
        return self.stopped_at[name] + self.linger_s

    def _seen(self, name: str) -> Instance:
        one = self.machines[name]
        if name in self.stopped_at:
            gone = self.clock.now >= self._gone_at(name)
            end = self._gone_at(name) if gone and self.states_ends else None
            one = replace(one, state="gone" if gone else "stopping", ended_at_s=end)
        elif one.started_at_s is not None and self.clock.now < one.started_at_s:
            one = replace(one, state="starting", started_at_s=None, address=None)
        if not self.states_prices:
            one = replace(one, usd_micros_per_hour=None)
        if not self.states_starts:
            one = replace(one, started_at_s=None)
        return one

    def _answer(self) -> None:
        if self.is_down:
            msg = f"{self.name} gives no answer; look at its status page"
            raise UnansweredError(msg)
