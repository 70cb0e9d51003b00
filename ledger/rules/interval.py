"""Paired log ratios by block of prompts and their bootstrap interval, in whole ppm.

The unit that is resampled is the block, an interleaved stretch of all arms, and not the request:
requests of one stretch share its noise (ARCHITECTURE, "Fair measuring").
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from typing import Final

from ledger.rules.quantiles import normal_ppm, student_ppm
from ledger.units import PPM

FEWEST_TO_WIDEN: Final = 3
"""Two degrees of freedom are the fewest :func:`~ledger.rules.quantiles.student_ppm` knows."""

_EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)
"""``ln`` and ``exp`` of this context are correctly rounded, hence the same on every machine."""


def block_log_ratios_ppm(
    baseline_us: Sequence[int], own_us: Sequence[int], prompts_per_block: int
) -> list[int]:
    """ln(baseline / own) of each block of consecutive prompts, in ppm; above 0 is faster.

    A block's time is the sum over its prompts. Prompts left over at the end join the last block, so
    that no block rests on fewer than ``prompts_per_block`` prompts while there are that many.
    """
    if prompts_per_block < 1:
        msg = f"a block holds at least one prompt, not {prompts_per_block}"
        raise ValueError(msg)
    count = max(1, len(own_us) // prompts_per_block)
    bounds = [block * prompts_per_block for block in range(count)] + [len(own_us)]
    return [
        _log_ratio_ppm(sum(baseline_us[start:end]), sum(own_us[start:end]))
        for start, end in pairwise(bounds)
    ]


def _log_ratio_ppm(baseline_us: int, own_us: int) -> int:
    # a difference of logarithms, so that swapping the two changes the sign and nothing else
    ratio = _EXACT.subtract(_EXACT.ln(Decimal(baseline_us)), _EXACT.ln(Decimal(own_us)))
    return int(_EXACT.multiply(ratio, Decimal(PPM)).to_integral_value(ROUND_HALF_EVEN))


def log_one_plus_ppm(share_ppm: int) -> int:
    """ln(1 + share) in ppm, rounded up: a margin is never made easier by rounding."""
    one_plus = _EXACT.divide(Decimal(PPM + share_ppm), Decimal(PPM))
    return int(_EXACT.multiply(_EXACT.ln(one_plus), Decimal(PPM)).to_integral_value(ROUND_CEILING))


def saved_ppm(log_ratio_ppm: int) -> int:
    """1 - exp(-log ratio) in ppm, floored: the part of the baseline's time that is saved."""
    kept = _EXACT.exp(_EXACT.divide(Decimal(-log_ratio_ppm), Decimal(PPM)))
    saved = _EXACT.multiply(_EXACT.subtract(Decimal(1), kept), Decimal(PPM))
    return int(saved.to_integral_value(ROUND_FLOOR))


def rounded_mean(total: int, count: int) -> int:
    """``total / count`` to the nearest whole number, halves up."""
    return (2 * total + count) // (2 * count)


def fewest_blocks(confidence_ppm: int, comparisons: int = 1) -> int:
    """The fewest blocks that can show a gain at this two-sided confidence, its error shared by so
    many comparisons.

    If there were no gain, ``n`` blocks would still all come out faster once in ``2**n``; until that
    is rarer than the error allowed on one side, no data can decide. A percentile bootstrap does not
    notice this by itself: over two blocks that both came out faster it would be certain, and chance
    alone does that one time in four.
    """
    blocks = 1
    while 2**blocks * (PPM - confidence_ppm) < 2 * PPM * comparisons:
        blocks += 1
    return blocks


def widening_ppm(blocks: int, confidence_ppm: int, comparisons: int) -> int:
    """How much wider, in ppm of itself, the percentile interval over ``blocks`` must be so that its
    error holds over few blocks and for all ``comparisons`` of a round together; rounded up.

    Resampled blocks spread by sqrt((n - 1) / n) of what the mean itself does, and their percentiles
    are the normal distribution's where Student's t is due: hence the factor
    sqrt(n / (n - 1)) * t / z, with t at the error divided by ``comparisons`` (Bonferroni) and z at
    the whole error. Over many blocks and for one comparison it is 1. It is the "expanded
    percentile" interval (Hesterberg 2015) as a factor, which needs no resample in the far tail.

    Raises :class:`ValueError` for fewer than 3 blocks, over which no spread is known.
    """
    if blocks < FEWEST_TO_WIDEN:
        msg = f"an interval over {blocks} blocks cannot be widened, over {FEWEST_TO_WIDEN} it can"
        raise ValueError(msg)
    wide = student_ppm(blocks - 1, PPM - confidence_ppm, comparisons)
    plain = normal_ppm(PPM - confidence_ppm)
    spread = _EXACT.sqrt(_EXACT.divide(Decimal(blocks), Decimal(blocks - 1)))
    factor = _EXACT.multiply(spread, _EXACT.divide(Decimal(wide), Decimal(plain)))
    return int(_EXACT.multiply(factor, Decimal(PPM)).to_integral_value(ROUND_CEILING))


def widened_sums(total: int, ends: tuple[int, int], factor_ppm: int) -> tuple[int, int]:
    """The two ends of an interval of a sum, each moved away from ``total`` by the factor, outward
    to the next whole number."""
    lower, upper = ends
    below = -(-max(0, total - lower) * factor_ppm // PPM)
    above = -(-max(0, upper - total) * factor_ppm // PPM)
    return total - below, total + above


def bootstrap_sums(
    values_ppm: Sequence[int], confidence_ppm: int, resamples: int, seed: int
) -> tuple[int, int]:
    """The two ends of the percentile bootstrap interval of the *sum* of ``values_ppm``.

    Sums rather than means keep integers exact: divide by ``len(values_ppm)``. Resample ``r`` draws
    its places from SHAKE-256 over ``cacheon-bootstrap/1 <seed> <r>`` (ASCII, decimal), four bytes
    big-endian a draw, scaled to the number of values. The ends are the k-th smallest and k-th
    largest sums, k = the floor of half the error times ``resamples``, at least 1.
    """
    count = len(values_ppm)
    draw = struct.Struct(f">{count}I")
    sums = sorted(
        sum(
            values_ppm[word * count >> 32]
            for word in draw.unpack(
                hashlib.shake_256(f"cacheon-bootstrap/1 {seed} {resample}".encode()).digest(
                    draw.size
                )
            )
        )
        for resample in range(resamples)
    )
    rank = max(1, resamples * (PPM - confidence_ppm) // (2 * PPM))
    return sums[rank - 1], sums[-rank]
