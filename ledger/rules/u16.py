"""The pallet's scaling of weights to u16, to the bit (DOMAIN 5).

The runtime scales every vector it is sent with ``vec_u16_max_upscale_to_u16``, which works on
I32F32 fixed point: a signed 64-bit number, 32 bits of it the fraction, saturating at its bounds.
Scaling our shares by the same steps makes the largest 65,535, and a vector whose largest value is
65,535 passes through the runtime unchanged, so what is submitted is what the chain holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.units import U16_MAX

_FRACTION_BITS: Final = 32
_HALF: Final = 1 << (_FRACTION_BITS - 1)
_LARGEST: Final = (1 << 63) - 1
_RATIO_FIRST_ABOVE: Final = 32_768
"""Above this the product with 65,535 would leave I32F32, so the pallet divides first."""


def max_upscale_to_u16(values: Sequence[int]) -> tuple[int, ...]:
    """``values`` scaled so that the largest becomes 65,535, rounded as the pallet rounds.

    Takes whole numbers from 0 (shares in ppm, or u16 values) of any length, and keeps their order
    and number; all zeros stay zeros. Raises :class:`ValueError` for a negative one.
    """
    if any(value < 0 for value in values):
        msg = f"weights cannot be negative, got {min(values)}"
        raise ValueError(msg)
    fixed = [_fixed(value) for value in values]
    largest = max(fixed, default=0)
    if largest == 0:
        return tuple(0 for _ in fixed)
    u16_max = _fixed(U16_MAX)
    if largest > _fixed(_RATIO_FIRST_ABOVE):
        ratio = _divided(u16_max, largest)
        return tuple(_rounded_u16(_times(value, ratio)) for value in fixed)
    return tuple(_rounded_u16(_divided(_times(value, u16_max), largest)) for value in fixed)


def _fixed(value: int) -> int:
    return min(value << _FRACTION_BITS, _LARGEST)


def _times(left: int, right: int) -> int:
    return min((left * right) >> _FRACTION_BITS, _LARGEST)


def _divided(left: int, right: int) -> int:
    return min((left << _FRACTION_BITS) // right, _LARGEST)


def _rounded_u16(value: int) -> int:
    # half goes away from zero, which for weights (never negative) is up
    return min((value + _HALF) >> _FRACTION_BITS, U16_MAX)
