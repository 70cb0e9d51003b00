"""One value as people read it: amounts with their unit's digits, shares in percent, safe text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from ledger.units import decimal_text

UNKNOWN: Final = "-"
"""Stands for None: unknown is never 0 (DOMAIN 8)."""

SHORT_HEAD: Final = 6
SHORT_TAIL: Final = 4

_ALLOWED_CONTROLS: Final = "\n\t"


class Kind(Enum):
    """What a column holds, which decides how it is written, aligned and shortened."""

    PROSE = auto()
    WORD = auto()
    ID = auto()
    """An address, hash, digest or UUID: shortened where the terminal is narrow."""
    NUMBER = auto()
    TAO = auto()
    ALPHA = auto()
    USD = auto()
    AMOUNT = auto()
    """In the asset that the row names under ``asset``."""
    PPM = auto()
    """Parts per million, written in percent."""


NUMERIC: Final = frozenset(
    {Kind.NUMBER, Kind.TAO, Kind.ALPHA, Kind.USD, Kind.AMOUNT, Kind.PPM},
)
_ASSET_OF: Final = {Kind.TAO: "TAO", Kind.ALPHA: "ALPHA", Kind.USD: "USD"}


def cell(value: Any, kind: Kind, row: Mapping[str, Any], *, short: bool) -> str:
    """The text of one value; ``row`` is where it stands."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind is Kind.PPM:
        return percent(value)
    if kind is Kind.AMOUNT or kind in _ASSET_OF:
        return decimal_text(value, _ASSET_OF.get(kind) or row["asset"])
    text = ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
    text = printable(text)
    return shortened(text) if kind is Kind.ID and short else text


def percent(ppm: int) -> str:
    """Parts per million in percent, exactly: 12,345 is ``1.2345 %``."""
    sign = "-" if ppm < 0 else ""
    whole, part = divmod(abs(ppm), 10_000)
    return f"{sign}{whole}.{part:04d} %"


def shortened(text: str) -> str:
    """An identifier by its two ends, as explorers write it."""
    if len(text) <= SHORT_HEAD + SHORT_TAIL + 1:
        return text
    return f"{text[:SHORT_HEAD]}…{text[-SHORT_TAIL:]}"


def printable(text: str) -> str:
    """``text`` without anything that could command the terminal.

    Log tails, image names and reasons come from outside; a control or formatting character in them
    is written as its escape, so that it can neither colour nor hide what stands beside it.
    """
    return "".join(
        char if char in _ALLOWED_CONTROLS or unicodedata.category(char)[0] != "C" else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
