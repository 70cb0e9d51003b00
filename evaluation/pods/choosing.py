"""Which offer to take: by the policy's tiers, their price caps, and what was seen of each offer.

The first tier that has a machine is taken. Within it the offer that is expected to be cheapest
wins: its price times the rentals so far over those that went well, as

    price x (successes + failures + 2 x lost + 4) / (successes + 3)

So an offer that nobody knows counts as three good ones of four: better than one that failed, worse
than one that is proven. A machine that was lost counts twice: it took a contest with it, where one
that never came up only took time. Integers throughout; the same input gives the same choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.pods.port import Offer
from ledger.rental_policy import RentalTier

KNOWN_SUCCESSES: Final = 3
KNOWN_RENTALS: Final = 4
"""What is held of an offer before anything was seen of it: three good rentals of four."""
LOST_WEIGHT: Final = 2
"""So many failures one lost machine counts as."""
CENT_MICROS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Record:
    """What was seen of one offer of one provider.

    ``successes``: machines that came up and were stopped by us. ``failures``: refused for want of
    capacity, or never came up. ``lost``: gone by themselves, or their answer lost for good.
    """

    successes: int = 0
    failures: int = 0
    lost: int = 0


Seen = Mapping[tuple[str, str], Record]
"""By provider and offer; what is missing was never rented."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An offer that was not taken, and why, for people."""

    offer: Offer
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The offer to ask for and its tier, both None where none fits; every other with a reason."""

    offer: Offer | None
    tier: RentalTier | None
    passed_over: tuple[PassedOver, ...]


def choose(
    tiers: Sequence[RentalTier],
    offers: Iterable[Offer],
    seen: Seen,
    *,
    tried: Collection[Offer] = (),
) -> Choice:
    """The offer to ask for now; ``tried`` are those that this request asked for in vain already."""
    every = sorted(set(offers), key=lambda one: _rank(one, seen))
    # By tier first, by rank second: the first that fits wins.
    fitting = (
        (tier, one)
        for tier in tiers
        for one in best_first(tier, every, seen)
        if not _was_tried(one, tried)
    )
    winner = next(fitting, None)
    tier, chosen = winner if winner is not None else (None, None)
    passed_over = tuple(
        PassedOver(one, _why(one, tiers, tried, winner, seen)) for one in every if one != chosen
    )
    return Choice(chosen, tier, passed_over)


def best_first(tier: RentalTier, offers: Iterable[Offer], seen: Seen) -> Sequence[Offer]:
    """The offers that fit a tier and its price cap, each once."""
    fitting = {one for one in offers if _why_not(one, tier) is None}
    return sorted(fitting, key=lambda one: _rank(one, seen))


def expected_usd_micros(offer: Offer, seen: Seen) -> int:
    """What an hour that goes well is expected to cost, rounded up."""
    record = seen.get((offer.provider, offer.offer), Record())
    counted = record.successes + record.failures + LOST_WEIGHT * record.lost + KNOWN_RENTALS
    return -(-offer.usd_micros_per_hour * counted // (record.successes + KNOWN_SUCCESSES))


def dollars(usd_micros: int) -> str:
    """As people read a price: whole cents where it has no more, else all six decimals."""
    whole, micros = divmod(usd_micros, 1_000_000)
    if micros % CENT_MICROS == 0:
        return f"${whole}.{micros // CENT_MICROS:02d}"
    return f"${whole}.{micros:06d}"


def _rank(offer: Offer, seen: Seen) -> tuple[int, int, str, str, str, str, int]:
    return (
        expected_usd_micros(offer, seen),
        offer.usd_micros_per_hour,
        offer.provider,
        offer.offer,
        offer.region,
        offer.gpu,
        offer.count,
    )


def _was_tried(offer: Offer, tried: Collection[Offer]) -> bool:
    """Whether that very machine was asked for in vain, at whatever price it was then."""
    return any(
        (one.provider, one.offer, one.region) == (offer.provider, offer.offer, offer.region)
        for one in tried
    )


def _why_not(offer: Offer, tier: RentalTier) -> str | None:
    if offer.gpu not in tier.gpus or offer.count != tier.count:
        kinds = ", ".join(f"{tier.count}x {gpu}" for gpu in tier.gpus)
        return f"tier {tier.name} asks for {kinds}"
    if offer.usd_micros_per_hour > tier.max_usd_micros_per_hour:
        cap = dollars(tier.max_usd_micros_per_hour)
        return f"{dollars(offer.usd_micros_per_hour)} an hour is over the {cap} of tier {tier.name}"
    return None


def _why(
    offer: Offer,
    tiers: Sequence[RentalTier],
    tried: Collection[Offer],
    winner: tuple[RentalTier, Offer] | None,
    seen: Seen,
) -> str:
    reasons = [(one, _why_not(offer, one)) for one in tiers]
    own = next((one for one, reason in reasons if reason is None), None)
    if own is None:
        # A price over the cap of the tier it belongs to says more than the tiers it is none of.
        over = [reason for one, reason in reasons if reason and _is_kind(offer, one)]
        other = [reason for _, reason in reasons if reason]
        return "; ".join(over or other) or "the policy has no tier"
    if winner is None or _was_tried(offer, tried):  # none wins only where all that fit were tried
        return "it was asked for in vain"
    tier, chosen = winner
    if own != tier:
        return f"it is of tier {own.name}, and tier {tier.name} comes first"
    return (
        f"an hour of it is expected to cost {dollars(expected_usd_micros(offer, seen))}, of "
        f"{chosen.provider} {chosen.offer} {dollars(expected_usd_micros(chosen, seen))}"
    )


def _is_kind(offer: Offer, tier: RentalTier) -> bool:
    return offer.gpu in tier.gpus and offer.count == tier.count
