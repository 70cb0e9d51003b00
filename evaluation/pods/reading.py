"""What providers write, read exactly: dollars, times, names; anything else is an error's sentence.

No price is ever taken for 0: one that is missing is None where that can be said, else an
:class:`UnansweredError`, as is one that is negative, no number, or in another currency.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Any, Final, TypeVar

from evaluation.answers import printable
from evaluation.pods.port import Address, Instance, InstanceState, UnansweredError

MICROS_PER_USD: Final = 1_000_000
MICROS_PER_CENT: Final = 10_000
MAX_USD_MICROS_PER_HOUR: Final = 10_000 * MICROS_PER_USD
"""No machine costs ten thousand dollars an hour: such a price is a mistake, whoever's."""
MAX_ROWS: Final = 20_000
MAX_NAME_CHARS: Final = 200
MAX_TIME_CHARS: Final = 64
MAX_GIGABYTES: Final = 1_048_576
ResultT = TypeVar("ResultT")
_CURRENCIES: Final = ("currency", "price_currency", "currency_code")
_GPU: Final = re.compile(r"[A-Z]{1,3}[0-9]{2,4}[A-Z]?")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# Of two statements about one machine the one that may cost more counts.
_COSTLIEST: Final[Mapping[InstanceState, int]] = {
    "running": 0,
    "stopping": 1,
    "starting": 2,
    "failed": 3,
    "gone": 4,
}


@dataclass(frozen=True, slots=True, repr=False)
class Fields:
    """One JSON object of a provider; ``what`` names it in errors."""

    provider: str
    what: str
    content: Mapping[str, Any]

    @classmethod
    def of(cls, provider: str, what: str, value: Any) -> Fields:
        """Raises :class:`UnansweredError` for anything but an object."""
        if not isinstance(value, dict):
            msg = f"{provider} sent no object as {what}"
            raise UnansweredError(msg)
        return cls(provider, what, value)

    def bad(self, key: str, why: str) -> UnansweredError:
        """The error about one field."""
        return UnansweredError(f"{self.provider} sent {self.what} whose {key} {why}")

    def inner(self, key: str) -> Fields:
        """An object within; empty where it is missing or null."""
        value = self.content.get(key)
        return Fields.of(self.provider, f"{self.what}'s {key}", {} if value is None else value)

    def rows(self, key: str) -> list[Fields]:
        """The objects of a list within; it must be there."""
        return rows_of(self.provider, f"{self.what}'s {key}", self.content.get(key))

    def text(self, key: str) -> str:
        """A name that must be there: printable, on one line, bounded."""
        value = self.maybe_text(key)
        if value is None:
            raise self.bad(key, "is missing")
        return value

    def maybe_text(self, key: str) -> str | None:
        """As :meth:`text`; None where it is missing, null or empty."""
        value = self.content.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > MAX_NAME_CHARS or printable(value) != value:
            raise self.bad(key, f"is no text of up to {MAX_NAME_CHARS} printable characters")
        return value

    def maybe_whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number within bounds, None where it is missing or null."""
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.bad(key, f"is no whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool | None:
        """True or False, None where it is missing or null."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.bad(key, "is neither true nor false")
        return value

    def cents(self, key: str) -> int | None:
        """A price in whole US cents, in millionths of a dollar; None where none is said."""
        value = self._price(key)
        if isinstance(value, Decimal):
            raise self.bad(key, "is no whole number of cents")
        return None if value is None else self._believed(key, value * MICROS_PER_CENT)

    def dollars(self, key: str, times: int = 1) -> int | None:
        """``times`` a price in US dollars, in millionths; None where none is said.

        What is smaller than a millionth is rounded up: the books never know less than is billed.
        """
        value = self._price(key)
        if value is None:
            return None
        if value > MAX_USD_MICROS_PER_HOUR:  # before any arithmetic: an exponent can be anything
            raise self.bad(key, "is more than any machine costs")
        with localcontext() as exact:
            exact.prec = 60
            micros = (Decimal(value) * MICROS_PER_USD * times).to_integral_value(ROUND_CEILING)
        return self._believed(key, int(micros))

    def when(self, key: str) -> int | None:
        """A time as RFC 3339 text, in whole Unix seconds rounded down; without a zone it is UTC.

        None where none is said, as by the year 1 that Go writes for no time.
        """
        text = self.content.get(key)
        if text is None or text == "":
            return None
        if not isinstance(text, str) or len(text) > MAX_TIME_CHARS:
            raise self.bad(key, "is no time")
        try:
            moment = datetime.fromisoformat(_six_digits(text))
            zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = int(zoned.timestamp() // 1)
        except (ValueError, OverflowError):
            raise self.bad(key, "is no time") from None
        return seconds if seconds > 0 else None

    def address(self, user: str | None, host: str | None, port: int | None) -> Address | None:
        """Where SSH listens, once the provider says all of it; raises for what is no address."""
        if user is None or host is None or port is None:
            return None
        if not _USER.fullmatch(user) or not _HOST.fullmatch(host):
            raise self.bad("address", "names no user and host")
        return Address(user, host, port)

    def _price(self, key: str) -> int | Decimal | None:
        for name in _CURRENCIES:
            currency = self.content.get(name)
            if currency is not None and str(currency).upper() != "USD":
                raise self.bad(key, "is not in US dollars")
        value = self.content.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.bad(key, "is no number")
        if value <= 0:
            raise self.bad(key, "is not above 0")
        return value

    def _believed(self, key: str, usd_micros: int) -> int:
        if usd_micros > MAX_USD_MICROS_PER_HOUR:
            raise self.bad(key, "is more than any machine costs")
        return usd_micros


def rows_of(provider: str, what: str, value: Any) -> list[Fields]:
    """The objects of a list, at most :data:`MAX_ROWS`."""
    if not isinstance(value, list):
        msg = f"{provider} sent no list as {what}"
        raise UnansweredError(msg)
    if len(value) > MAX_ROWS:
        msg = f"{provider} sent {len(value)} entries as {what}; more than {MAX_ROWS} are not read"
        raise UnansweredError(msg)
    return [Fields.of(provider, f"an entry of {what}", one) for one in value]


def exactly(read: Callable[[], ResultT | None]) -> ResultT | None:
    """What ``read`` gives; raises what it raises."""
    return read()


def unknown_if_bad(read: Callable[[], ResultT | None]) -> ResultT | None:
    """What ``read`` gives, None where it cannot be read.

    For listings alone: one machine's odd price must not hide the others from who stops them.
    """
    try:
        return read()
    except UnansweredError:
        return None


def gpu_name(text: str | None) -> str | None:
    """``H200`` of ``NVIDIA-H200`` or ``H200_SXM5``; None where there is no such word.

    A word counts as a whole: a GH200 is no H200.
    """
    for word in re.split(r"[^A-Z0-9]+", (text or "").upper()):
        if _GPU.fullmatch(word):
            return word
    return None


def living(instances: Iterable[Instance]) -> Iterator[Instance]:
    """Each machine once, without those that are gone for certain.

    Of two statements about one machine the costlier state counts, so that one that may still cost
    is never taken for gone.
    """
    found: dict[str, Instance] = {}
    for one in instances:
        other = found.get(one.instance)
        if other is None or _COSTLIEST[one.state] < _COSTLIEST[other.state]:
            found[one.instance] = one
    return (one for one in found.values() if one.state != "gone")


def state_of(
    word: str | None, known: Mapping[str, InstanceState], *, reachable: bool
) -> InstanceState:
    """A provider's word for a state; one that is not known is one that costs, never ``gone``."""
    state = known.get((word or "").upper())
    if state is not None:
        return state
    return "running" if reachable else "starting"


def _six_digits(text: str) -> str:
    """Python takes no more than six digits of a second, Go writes nine."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text.strip().upper().replace(" UTC", "Z"))
