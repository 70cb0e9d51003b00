"""How exactly a server computes: number formats, the order of sums, and what is rounded.

Rounding to a format keeps float32 arrays that hold only values the format has, so that one forward
pass serves them all. Products are summed in float32 (or ``Numerics.dtype``), as real kernels do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rounding = Callable[[Floats], Floats]
Multiply = Callable[[Floats, Floats], Floats]

_FP8_MANTISSA_BITS: Final = 3
_FP8_SMALLEST_EXPONENT: Final = -5
_FP8_LARGEST: Final = np.float32(448)
_INT8_LEVELS: Final = 127
_INT4_LEVELS: Final = 7
_INT4_GROUP: Final = 8
_INT4_STEPS: Final = 15
_SUM_PART: Final = 24


def exact(x: Floats) -> Floats:
    """Nothing is rounded."""
    return x


def bfloat16(x: Floats) -> Floats:
    """To the nearest bfloat16, ties to even: the upper half of a float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    return np.asarray((rounded & np.uint32(0xFFFF0000)).view(np.float32))


def fp8(x: Floats) -> Floats:
    """To the nearest fp8 of the form e4m3 without a scale: 3 bits of mantissa, at most 448."""
    clipped = np.clip(x, -_FP8_LARGEST, _FP8_LARGEST).astype(np.float32)
    _, exponent = np.frexp(clipped)
    step = np.ldexp(
        np.float32(1), np.maximum(exponent, _FP8_SMALLEST_EXPONENT) - _FP8_MANTISSA_BITS - 1
    )
    return np.asarray(np.round(clipped / step) * step, dtype=np.float32)


def int8_by_column(x: Floats) -> Floats:
    """To 255 even levels, a scale for each column: the best of the common int8 weights."""
    return _levels(x, _INT8_LEVELS, axis=-2)


def int8_by_tensor(x: Floats) -> Floats:
    """To 255 even levels with one scale for the whole tensor."""
    return _levels(x, _INT8_LEVELS, axis=None)


def int4_by_row(x: Floats) -> Floats:
    """To 15 even levels, a scale for each row: for keys and values, one for a token and head."""
    return _levels(x, _INT4_LEVELS, axis=-1)


def int4_by_group(x: Floats) -> Floats:
    """To 16 even levels from the least to the greatest of each 8 rows of a column.

    As GPTQ and AWQ store weights, with finer groups: this model takes coarse weights badly.
    """
    rows, columns = x.shape
    groups = x.reshape(rows // _INT4_GROUP, _INT4_GROUP, columns)
    least = groups.min(axis=-2, keepdims=True)
    scale = (groups.max(axis=-2, keepdims=True) - least) / np.float32(_INT4_STEPS)
    scale = np.where(scale == 0, np.float32(1), scale)
    stored = np.round((groups - least) / scale) * scale + least
    return np.asarray(stored.reshape(rows, columns), dtype=np.float32)


def _levels(x: Floats, levels: int, axis: int | None) -> Floats:
    scale = np.abs(x).max(axis=axis, keepdims=True) / np.float32(levels)
    scale = np.where(scale == 0, np.float32(1), scale)
    return np.asarray(np.round(x / scale) * scale, dtype=np.float32)


def multiplied(left: Floats, right: Floats) -> Floats:
    """The product as the library computes it."""
    return np.asarray(left @ right)


def multiplied_backwards(left: Floats, right: Floats) -> Floats:
    """The same product, summed in parts of 24 terms from the last to the first."""
    size = left.shape[-1]
    starts = range(0, size, _SUM_PART)
    parts = [
        left[..., start : start + _SUM_PART] @ right[..., start : start + _SUM_PART, :]
        for start in starts
    ]
    total = parts[-1]
    for part in reversed(parts[:-1]):
        total = total + part
    return np.asarray(total)


@dataclass(frozen=True, slots=True)
class Numerics:
    """What a forward pass rounds, and how it multiplies."""

    activations: Rounding = exact
    """Applied to the result of every operation between two products."""
    cached: Rounding = exact
    """Applied to keys and values, (H, T, D/H), before anybody attends to them."""
    multiply: Multiply = multiplied
    dtype: Any = np.float32


EXACT: Final = Numerics()
