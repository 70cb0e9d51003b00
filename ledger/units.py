"""Units of money and of shares. All amounts are integers; mixing units is a type error.

A unit is a value object around one ``int``. Adding rao to dollars raises :class:`UnitError` when it
runs and is refused by the type checker before that. Events carry the bare integer under a name
that ends in its unit (``fee_rao``, ``cost_usd_micros``); the books lift it into its unit where
money is moved or summed (:mod:`ledger.books`), and tables carry it beside its asset's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, Final, Self

import msgspec

RAO_PER_TAO: Final = 1_000_000_000
ALPHA_UNITS_PER_ALPHA: Final = 1_000_000_000
USD_MICROS_PER_USD: Final = 1_000_000
PPM: Final = 1_000_000
"""Parts per million in one whole: shares, scores and margins are integers of this unit."""

U16_MAX: Final = 65_535


class AmountFormError(ValueError):
    """A text that is no amount; the message is one sentence for whoever wrote it."""


class UnitError(TypeError):
    """Two amounts of different units met in one sum or comparison."""


class _Amount(msgspec.Struct, frozen=True, gc=False):
    """An integer amount of one unit. Subclasses fix the unit; equality includes it."""

    value: int

    def __post_init__(self) -> None:
        if type(self.value) is not int:
            msg = f"{type(self).__name__} takes a whole number, got {self.value!r}"
            raise UnitError(msg)

    def _unit(self) -> tuple[object, ...]:
        return (type(self),)

    def _same(self, value: int) -> Self:
        return type(self)(value)

    def _check(self, other: object) -> _Amount:
        if not isinstance(other, _Amount) or other._unit() != self._unit():
            msg = f"cannot mix {self!r} with {other!r}"
            raise UnitError(msg)
        return other

    def __add__(self, other: Self) -> Self:
        return self._same(self.value + self._check(other).value)

    def __sub__(self, other: Self) -> Self:
        return self._same(self.value - self._check(other).value)

    def plus(self, other: _Amount) -> Self:
        """The sum with an amount whose unit is known only when it runs."""
        return self._same(self.value + self._check(other).value)

    def __neg__(self) -> Self:
        return self._same(-self.value)

    def __lt__(self, other: Self) -> bool:
        return self.value < self._check(other).value

    def __le__(self, other: Self) -> bool:
        return self.value <= self._check(other).value

    def __gt__(self, other: Self) -> bool:
        return self.value > self._check(other).value

    def __ge__(self, other: Self) -> bool:
        return self.value >= self._check(other).value

    def __bool__(self) -> bool:
        return self.value != 0

    def times_ppm(self, share_ppm: int) -> Self:
        """This amount times ``share_ppm`` millionths, floored to a whole unit."""
        return self._same(self.value * share_ppm // PPM)


class Rao(_Amount, frozen=True, gc=False):
    """TAO in units of 10^-9: 1 TAO = 1,000,000,000 rao (DOMAIN, Words)."""

    asset: ClassVar[str] = "TAO"
    """The name that tables and reports know the unit by (see :func:`amount_of`)."""

    def __str__(self) -> str:
        return f"{_decimal(self.value, RAO_PER_TAO, 9)} TAO"


class UsdMicros(_Amount, frozen=True, gc=False):
    """US dollars in millionths."""

    asset: ClassVar[str] = "USD"
    """The name that tables and reports know the unit by (see :func:`amount_of`)."""

    def __str__(self) -> str:
        return f"{_decimal(self.value, USD_MICROS_PER_USD, 6)} USD"


class Alpha(_Amount, frozen=True, gc=False):
    """A subnet's own token in units of 10^-9; alpha of two subnets does not mix."""

    netuid: int

    @property
    def asset(self) -> str:
        """``ALPHA:<netuid>``."""
        return f"ALPHA:{self.netuid}"

    def _unit(self) -> tuple[object, ...]:
        return (type(self), self.netuid)

    def _same(self, value: int) -> Self:
        return type(self)(value, self.netuid)

    def __str__(self) -> str:
        return f"{_decimal(self.value, ALPHA_UNITS_PER_ALPHA, 9)} alpha({self.netuid})"


Amount = Rao | UsdMicros | Alpha
"""Money of some unit. Amounts of one unit add up; of two, never."""


def amount_of(asset: str, value: int) -> Amount:
    """The amount of an asset as tables name it: ``TAO``, ``USD`` or ``ALPHA:<netuid>``.

    Raises :class:`UnitError` for any other name.
    """
    if asset == "TAO":
        return Rao(value)
    if asset == "USD":
        return UsdMicros(value)
    name, _, netuid = asset.partition(":")
    if name == "ALPHA" and netuid.isdecimal():
        return Alpha(value, int(netuid))
    msg = f"'{asset}' is no asset: it must be TAO, USD or ALPHA:<netuid>"
    raise UnitError(msg)


def total(amounts: Iterable[Amount], zero: Amount) -> Amount:
    """The sum of amounts that must all be of ``zero``'s unit; :class:`UnitError` otherwise."""
    result = zero
    for amount in amounts:
        result = result.plus(amount)
    return result


def _decimal(value: int, scale: int, digits: int) -> str:
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), scale)
    return f"{sign}{whole:,}.{part:0{digits}d}"


def decimal_text(value: int, asset: str) -> str:
    """``value`` in the asset's smallest unit as people read it, e.g. ``1.500000000`` TAO.

    ``asset`` is ``TAO``, ``USD`` or ``ALPHA:<netuid>`` (see :mod:`ledger.books.accounts`).
    """
    if asset == "USD":
        return _decimal(value, USD_MICROS_PER_USD, 6)
    return _decimal(value, RAO_PER_TAO, 9)


_DECIMAL: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]+))?")
_TAO_DIGITS: Final = 9
_USD_DIGITS: Final = 6
_PERCENT_DIGITS: Final = 4
"""A ten-thousandth of a percent is one part per million."""


def rao_of(text: str) -> Rao:
    """The amount that ``text`` names in TAO, exactly, e.g. ``1.5``.

    Raises :class:`AmountFormError` for anything else, and for more than nine decimals.
    """
    return Rao(_scaled(text, _TAO_DIGITS, "an amount of TAO"))


def usd_micros_of(text: str) -> UsdMicros:
    """The amount that ``text`` names in US dollars, exactly, e.g. ``1234.56``.

    Raises :class:`AmountFormError` for anything else, and for more than six decimals.
    """
    return UsdMicros(_scaled(text, _USD_DIGITS, "an amount of dollars"))


def alpha_of(text: str, netuid: int) -> Alpha:
    """The amount that ``text`` names in a subnet's alpha, exactly, e.g. ``0.25``.

    Raises :class:`AmountFormError` for anything else, and for more than nine decimals.
    """
    return Alpha(_scaled(text, _TAO_DIGITS, "an amount of alpha"), netuid)


def signed(text: str) -> tuple[int, str]:
    """The sign that an amount's text begins with, 1 or -1, and the amount behind it."""
    return (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))


def ppm_of_percent(text: str) -> int:
    """The parts per million that ``text`` names in percent, exactly, e.g. ``2.5`` is 25,000.

    Raises :class:`AmountFormError` for anything else, and for more than four decimals.
    """
    return _scaled(text, _PERCENT_DIGITS, "a percentage")


def _scaled(text: str, digits: int, what: str) -> int:
    found = _DECIMAL.fullmatch(text)
    if found is None or len(found[2] or "") > digits:
        msg = (
            f"{text[:64]!r} is not {what}: write digits such as 1.5, with at most {digits} decimals"
        )
        raise AmountFormError(msg)
    return int(found[1] + (found[2] or "").ljust(digits, "0"))
