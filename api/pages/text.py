"""Values as people read them. Exact values stay in title attributes."""

from __future__ import annotations

import unicodedata
from typing import Final

from markupsafe import Markup

from ledger.books import accounts
from ledger.units import decimal_text

MAX_LOG_CHARS: Final = 6_000
"""How much of the end of a server's log the page shows; the API has all that was kept."""

_KEPT_CONTROLS: Final = frozenset("\n\t")
_SMALLEST_UNITS: Final = {accounts.TAO: "rao", accounts.USD: "millionths of a dollar"}


def percent(ppm: int | None) -> str:
    """Parts per million as a percentage with two to four digits: 123,400 is ``12.34 %``."""
    if ppm is None:
        return "unknown"
    sign = "−" if ppm < 0 else ""
    whole, part = divmod(abs(ppm), 10_000)
    return f"{sign}{whole}.{_digits(f'{part:04d}', 2)} %"


def amount(value: int | None, asset: str) -> Markup:
    """An amount as a decimal, its exact value in the smallest unit in the title."""
    if value is None:
        return Markup('<span class="unknown">unknown</span>')
    whole, _, part = decimal_text(value, asset).partition(".")
    text = f"{whole.replace('-', '−')}.{_digits(part, 2)}"
    unit = _SMALLEST_UNITS.get(asset, "units of 10⁻⁹ alpha")
    name = asset.partition(":")[0].lower() if asset.startswith("ALPHA") else asset
    return Markup('<span class="amount" title="{} {}">{} <abbr>{}</abbr></span>').format(
        f"{value:,}", unit, text, name
    )


def seconds(value_us: int | None) -> Markup:
    """A time in microseconds as seconds, the microseconds in the title."""
    if value_us is None:
        return Markup("–")
    whole, part = divmod(value_us, 1_000_000)
    return Markup('<span title="{} µs">{}.{} s</span>').format(
        f"{value_us:,}", f"{whole:,}", f"{part // 1_000:03d}"
    )


def number(value: int | None) -> str:
    """A whole number with thousands apart."""
    return "–" if value is None else f"{value:,}"


def short(key: str | None, keep: int = 6) -> str:
    """A key by its ends; the whole one belongs into the title beside it."""
    if key is None:
        return "–"
    return key if len(key) <= 2 * keep + 1 else f"{key[:keep]}…{key[-keep:]}"


def readable(text: str | None) -> str:
    """Foreign text made safe to look at: controls and direction marks become visible.

    Escaping is the template's; this is against text that reads otherwise than it is written.
    """
    return "".join(
        character
        if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
        else "\N{REPLACEMENT CHARACTER}"
        for character in (text or "").replace("\r\n", "\n")
    )


def log_end(text: str | None) -> str:
    """The end of a server's log, readable."""
    return readable((text or "")[-MAX_LOG_CHARS:])


def _digits(part: str, least: int) -> str:
    kept = part.rstrip("0")
    return kept + "0" * (least - len(kept))
