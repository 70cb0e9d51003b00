"""How far out the normal distribution and Student's t reach, in whole ppm of a standard deviation.

Worked out from their series in ``decimal`` at a fixed precision, so that every machine gets the
same integers; no table and no float is behind a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

from ledger.units import PPM

_EXACT: Final = Context(prec=50, rounding=ROUND_HALF_EVEN)
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937511")
_NEGLIGIBLE: Final = Decimal("1e-45")
_FARTHEST_PPM: Final = 2**40
"""About a million standard deviations: further out than any error this program asks about."""


@lru_cache(maxsize=1_024)
def student_ppm(freedom: int, error_ppm: int, shares: int = 1) -> int:
    """The smallest t in ppm with P(|T| > t) at most ``error_ppm / shares``, T of Student's
    distribution.

    ``freedom`` is the degrees of freedom, at least 2. An odd number is taken as the even one below:
    for even ones the distribution is a finite sum, and fewer only make t larger.
    """
    even = freedom - freedom % 2
    if even < 2:
        msg = f"Student's t is asked with at least 2 degrees of freedom, not {freedom}"
        raise ValueError(msg)
    return _smallest(lambda at: _student_outside(at, even), error_ppm, shares)


@lru_cache(maxsize=1_024)
def normal_ppm(error_ppm: int) -> int:
    """The largest z in ppm with P(|Z| > z) above ``error_ppm``, Z of the normal distribution."""
    return _smallest(_normal_outside, error_ppm, 1) - 1


def _smallest(outside: Callable[[Decimal], Decimal], error_ppm: int, shares: int) -> int:
    """The smallest whole ppm from which on no more than the error lies outside."""
    if not 0 < error_ppm < PPM or shares < 1:
        msg = f"an error of {error_ppm} ppm among {shares} is none"
        raise ValueError(msg)
    allowed = _EXACT.divide(Decimal(error_ppm), Decimal(PPM * shares))
    low, high = 0, _FARTHEST_PPM
    while high - low > 1:
        middle = (low + high) // 2
        if outside(_EXACT.divide(Decimal(middle), Decimal(PPM))) <= allowed:
            high = middle
        else:
            low = middle
    return high


def _student_outside(at: Decimal, freedom: int) -> Decimal:
    """P(|T| > at) for an even number of degrees of freedom (Abramowitz and Stegun 26.7.4)."""
    square = _EXACT.multiply(at, at)
    whole = _EXACT.add(Decimal(freedom), square)
    cosine_squared = _EXACT.divide(Decimal(freedom), whole)
    term = total = Decimal(1)
    for step in range(1, freedom // 2):
        factor = _EXACT.divide(Decimal(2 * step - 1), Decimal(2 * step))
        term = _EXACT.multiply(_EXACT.multiply(term, factor), cosine_squared)
        total = _EXACT.add(total, term)
    sine = _EXACT.divide(at, _EXACT.sqrt(whole))
    return _EXACT.subtract(Decimal(1), _EXACT.multiply(sine, total))


def _normal_outside(at: Decimal) -> Decimal:
    """P(|Z| > at), by the series of Abramowitz and Stegun 26.2.11; 0 beyond 12."""
    if at > 12:
        return Decimal(0)
    square = _EXACT.multiply(at, at)
    term = total = at
    odd = 1
    while term > _NEGLIGIBLE:
        odd += 2
        term = _EXACT.divide(_EXACT.multiply(term, square), Decimal(odd))
        total = _EXACT.add(total, term)
    density = _EXACT.multiply(
        _EXACT.sqrt(_EXACT.divide(Decimal(2), _PI)),
        _EXACT.exp(_EXACT.divide(-square, Decimal(2))),
    )
    return _EXACT.subtract(Decimal(1), _EXACT.multiply(density, total))
