"""What machines may be rented for contests, at what price, and how much a day and a round may cost.

Dollars in millionths, time in seconds (DOMAIN 4, "Pods").
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

PROVIDERS: Final = ("shadeform", "targon", "lium")
"""Who can be asked for machines, by the names that facts and accounts have of them."""

MAX_NAME_CHARS: Final = 64
MAX_TIERS: Final = 16
MAX_GPUS: Final = 64
MAX_USD_MICROS: Final = 10**15
"""A billion dollars: a limit that only a slip of the pen exceeds."""

Dollars = Annotated[int, Meta(ge=0, le=MAX_USD_MICROS)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]


class RentalTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Machines that are as good as each other: so many GPUs of any of these kinds, up to a price.

    ``gpus`` are names as :class:`evaluation.pods.port.Offer` has them, e.g. ``H200``.
    """

    name: Name
    gpus: tuple[Name, ...]
    count: Annotated[int, Meta(ge=1, le=MAX_GPUS)] = 8
    max_usd_micros_per_hour: Annotated[int, Meta(ge=1, le=MAX_USD_MICROS)]


class RentalPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``tiers`` in the order in which they are tried. Without a tier nothing may be rented.

    ``max_usd_micros_per_day`` counts by UTC day, ``…_per_round`` over all machines of one round.
    A machine runs at most ``max_seconds``; one that owns no contest is stopped by the sweep
    ``grace_seconds`` after it was asked for or after its last contest ended.
    """

    tiers: tuple[RentalTier, ...] = ()
    max_usd_micros_per_day: Dollars = 0
    max_usd_micros_per_round: Dollars = 0
    max_seconds: Annotated[int, Meta(ge=60, le=30 * 86_400)] = 6 * 3_600
    grace_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 1_800
    volume_gigabytes: Annotated[int, Meta(ge=0, le=65_536)] = 0
    """Of a volume for the model's weights beside each machine; 0 asks for none."""


ADDED_LATER: Final[dict[type[msgspec.Struct], frozenset[str]]] = {}
"""Fields that policies had not when the first rental policies were recorded."""
