"""When each prompt of a block arrives: microseconds from its start, out of the attempt's seed.

The same on every machine for ever: integers, and the one logarithm that a random gap needs from
``decimal``, whose result is correctly rounded and depends on no mathematical library.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

from evaluation.draws import numbers
from ledger.contest_policy import ArrivalPolicy, Closed, Steady

MINUTE_US: Final = 60_000_000
_DOMAIN: Final = "cacheon-arrivals/1"
_CONTEXT: Final = Context(prec=40)


def arrivals_us(policy: ArrivalPolicy, count: int, seed: int, label: str) -> tuple[int, ...] | None:
    """The offsets of ``count`` prompts, none before the one ahead of it; None for a closed loop.

    Steady prompts arrive at even distances, the first at once. The gaps of random ones, the first
    one's too, are drawn from the exponential distribution with the policy's mean. ``label`` names
    the block: each has its own.
    """
    if isinstance(policy, Closed):
        return None
    if isinstance(policy, Steady):
        return tuple(at * MINUTE_US // policy.per_minute for at in range(count))
    draws = numbers(_DOMAIN, seed, label)
    mean_us = _CONTEXT.divide(Decimal(MINUTE_US), Decimal(policy.per_minute))
    now_us, offsets = Decimal(0), []
    for _ in range(count):
        # One of 2^64 even steps in (0, 1]; of zero there is no logarithm.
        draw = (next(draws) << 32) + next(draws) + 1
        share = _CONTEXT.divide(Decimal(draw), Decimal(2**64))
        gap_us = _CONTEXT.multiply(mean_us, _CONTEXT.minus(_CONTEXT.ln(share)))
        now_us = _CONTEXT.add(now_us, gap_us)
        offsets.append(int(now_us))
    return tuple(offsets)
