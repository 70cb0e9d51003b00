"""An arena whose policy lets machines be rented, and what its log says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Engine

from evaluation.pods.desk import RentalDesk, Waits
from evaluation.pods.port import Offer
from evaluation.pods.sweep import Sweep, Swept
from ledger.application import Ledger
from ledger.decisions.rental import Rental, RentalCostBooked
from ledger.decisions.rental_budget import RentalBudget
from ledger.keys import rental_budget_id
from ledger.policy import Policy, TreasuryPolicy
from ledger.queries.rentals import open_rentals, rentals
from ledger.rental_policy import RentalPolicy, RentalTier
from tests.unit.ledger.scenes import TREASURY, Scene, policy
from tests.unit.rentals.memory_provider import HOUR_USD_MICROS, MemoryProvider, TurnedClock

CAP = HOUR_USD_MICROS * 11 // 10
GRACE_S = 600
LONGEST_S = 7_200
WORST = CAP * 2
"""A machine at its cap for its longest time."""


def rules(treasury: str = TREASURY, **changes: Any) -> Policy:
    """A policy that rents 8 H200, or else 8 H100; at most two machines a round, three a day."""
    content: dict[str, Any] = {
        "tiers": (
            RentalTier(name="8x H200", gpus=("H200",), max_usd_micros_per_hour=CAP),
            RentalTier(name="8x H100", gpus=("H100",), max_usd_micros_per_hour=CAP),
        ),
        "max_usd_micros_per_round": 2 * WORST,
        "max_usd_micros_per_day": 3 * WORST,
        "max_seconds": LONGEST_S,
        "grace_seconds": GRACE_S,
        **changes,
    }
    rental = TreasuryPolicy(rental=RentalPolicy(**content))
    return msgspec.structs.replace(policy(treasury=treasury), treasury=rental)


def cheapest(tier: RentalTier, offers: Sequence[Offer]) -> Sequence[Offer]:
    """The offers of a tier below its cap, the cheapest first."""
    cap = tier.max_usd_micros_per_hour
    fit = [one for one in offers if one.gpu in tier.gpus and one.usd_micros_per_hour <= cap]
    return sorted(fit, key=lambda one: one.usd_micros_per_hour)


class Renting:
    """A desk and a sweep over one arena, and some providers."""

    def __init__(self, engine: Engine, *providers: MemoryProvider, **changes: Any) -> None:
        self.scene = Scene(engine, rules=rules(**changes))
        self.clock = providers[0].clock if providers else TurnedClock()
        self.providers = providers or (MemoryProvider(self.clock),)
        self.said: list[str] = []

    @property
    def provider(self) -> MemoryProvider:
        return self.providers[0]

    @property
    def ledger(self) -> Ledger:
        return self.scene.ledger

    def desk(self, **changes: Any) -> RentalDesk:
        content = {"choose": cheapest, "by": "test", "clock": self.clock, "say": self.said.append}
        return RentalDesk(self.ledger, self.providers, **{**content, "waits": Waits(), **changes})

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """One sweep."""
        listed = self.open
        return Sweep(self.ledger, self.providers, listed, clock=self.clock, dry_run=dry_run).run()

    def open(self) -> Sequence[UUID]:
        """The open rentals as the view has them."""
        return self.scene.read(open_rentals)

    def rental(self, identity: UUID) -> Rental:
        return self.ledger.load(Rental, identity)

    def rows(self) -> list[dict[str, Any]]:
        """The view's rows."""
        return self.scene.read(rentals)

    def topics(self) -> list[str]:
        """The topics of what was recorded of rentals, without their versions."""
        return [
            logged.fact.topic.rpartition(".")[0]
            for logged in self.scene.log()
            if logged.fact.topic.startswith("rental")
        ]

    def booked(self) -> list[int]:
        """Every booked cost."""
        return [
            logged.fact.cost_usd_micros
            for logged in self.scene.log()
            if isinstance(logged.fact, RentalCostBooked)
        ]

    def budget(self) -> RentalBudget:
        return self.ledger.load(RentalBudget, rental_budget_id(self.ledger.arena))
