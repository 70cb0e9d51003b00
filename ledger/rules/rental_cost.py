"""What a rented machine costs by its meter, and which contest bears how much of it (DOMAIN 3, 4).

A provider bills begun steps of so many seconds and rounds the sum up to its own smallest coin.
Dollars in millionths, time in whole Unix seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

SECONDS_PER_HOUR: Final = 3_600

KeyT = TypeVar("KeyT")


class PriceFrom(NamedTuple):
    """From this second on an hour costs so much."""

    from_s: int
    usd_micros_per_hour: int


class Metered(NamedTuple):
    """``seconds`` by the clock, ``billed_seconds`` in begun steps, and what they cost."""

    seconds: int
    billed_seconds: int
    cost_usd_micros: int


class Used(NamedTuple, Generic[KeyT]):
    """From one second up to, not including, another the machine worked for ``key``."""

    key: KeyT
    from_s: int
    to_s: int


def metered(
    prices: Sequence[PriceFrom], ended_at_s: int, *, step_s: int = 1, step_usd_micros: int = 1
) -> Metered:
    """The cost from the first price's second to ``ended_at_s``.

    The seconds that fill the last begun step cost the last price. Raises ``ValueError`` without a
    price, for prices out of order, an end before the start, or a step below 1.
    """
    if not prices or step_s < 1 or step_usd_micros < 1:
        msg = "a meter needs a price, and steps of at least 1"
        raise ValueError(msg)
    starts = [price.from_s for price in prices]
    if starts != sorted(starts) or ended_at_s < starts[0]:
        msg = "a meter's prices must follow each other, and its end its start"
        raise ValueError(msg)
    seconds = ended_at_s - starts[0]
    billed = -(-seconds // step_s) * step_s
    ends = [*starts[1:], starts[0] + billed]
    micros_seconds = sum(
        max(0, min(end, starts[0] + billed) - price.from_s) * price.usd_micros_per_hour
        for price, end in zip(prices, ends, strict=True)
    )
    coins = -(-micros_seconds // (SECONDS_PER_HOUR * step_usd_micros))
    return Metered(seconds, billed, coins * step_usd_micros)


def shares(cost_usd_micros: int, seconds: int, used: Sequence[Used[KeyT]]) -> dict[KeyT, int]:
    """What each key bears: its seconds' part of the cost, floored.

    What is left over, for time that nobody used and for the floors, is nobody's. Stretches of one
    key add up; those of several must not overlap, so that the parts never exceed the whole. Raises
    ``ValueError`` where they exceed ``seconds``.
    """
    own: dict[KeyT, int] = {}
    for stretch in used:
        own[stretch.key] = own.get(stretch.key, 0) + max(0, stretch.to_s - stretch.from_s)
    if sum(own.values()) > seconds:
        msg = f"{sum(own.values())} seconds were used of a machine that ran {seconds}"
        raise ValueError(msg)
    return {key: cost_usd_micros * part // seconds for key, part in own.items() if part}
