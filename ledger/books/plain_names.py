"""Our accounts and assets under the names that plain-text accounting allows, and back again.

Beancount has five roots, and components of ASCII letters, digits and ``-`` that begin with a
capital or a digit. hledger takes nearly everything, but ends a name at two blanks. What a provider
calls itself fits neither, so a component that is no plain word is spelled by its bytes: no two
accounts become one, and each name leads back to its account.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.units import ALPHA_UNITS_PER_ALPHA, RAO_PER_TAO, USD_MICROS_PER_USD

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ADDRESS: Final = re.compile(r"[0-9][A-Za-z0-9]*")
"""Digits first, as SS58 addresses of format 42."""
_HLEDGER_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_SPELLED: Final = "X--"
_CLEARING: Final = "clearing"
_CLEARING_ROOT: Final = "Equity"

_SMALLEST: Final = {"TAO": RAO_PER_TAO, "USD": USD_MICROS_PER_USD}


def beancount_account(account: str) -> str:
    """Our account as beancount knows it: ``assets:provider:lium`` is ``Assets:Provider:Lium``.

    ``clearing`` is no root there and lies under ``Equity``.
    """
    root, *parts = account.split(":")
    if root == _CLEARING:
        return ":".join([_CLEARING_ROOT, "Clearing", *map(_component, parts)])
    if root == "equity" and parts and parts[0] == _CLEARING:
        parts[0] = _spelled(parts[0])
        return ":".join(["Equity", parts[0], *map(_component, parts[1:])])
    return ":".join([root.capitalize(), *map(_component, parts)])


def account_of_beancount(name: str) -> str:
    """The account of a name that :func:`beancount_account` made."""
    root, *parts = name.split(":")
    if root == _CLEARING_ROOT and parts and parts[0] == "Clearing":
        return ":".join([_CLEARING, *map(_read, parts[1:])])
    return ":".join([root.lower(), *map(_read, parts)])


def hledger_account(account: str) -> str:
    """Our account as hledger knows it: itself, but for components that are no plain words."""
    return ":".join(
        part if _HLEDGER_WORD.fullmatch(part) and not part.startswith(_SPELLED) else _spelled(part)
        for part in account.split(":")
    )


def account_of_hledger(name: str) -> str:
    """The account of a name that :func:`hledger_account` made."""
    return ":".join(
        _unspelled(part) if part.startswith(_SPELLED) else part for part in name.split(":")
    )


def commodity_of(asset: str) -> str:
    """What an asset is called there: ``ALPHA:14`` is ``ALPHA14``, the others keep their names."""
    return asset.replace(":", "")


def quantity(value: int, asset: str) -> str:
    """An amount in the asset's smallest unit as a decimal number, all digits of it."""
    units = _SMALLEST.get(asset, ALPHA_UNITS_PER_ALPHA)
    whole, part = divmod(abs(value), units)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{len(str(units)) - 1}d}"


def _component(part: str) -> str:
    if _WORD.fullmatch(part):
        said = part[0].upper() + part[1:].replace("_", "-")
        if not said.startswith(_SPELLED) and not _UUID.fullmatch(said.lower()):
            return said
    elif _UUID.fullmatch(part):
        return part.upper()
    elif _ADDRESS.fullmatch(part):
        return part
    return _spelled(part)


def _read(part: str) -> str:
    if part.startswith(_SPELLED):
        return _unspelled(part)
    if _UUID.fullmatch(part.lower()):
        return part.lower()
    if part[:1].isdigit():
        return part
    return part[:1].lower() + part[1:].replace("-", "_")


def _spelled(part: str) -> str:
    """ASCII letters and digits as they are, every other byte as ``-`` and two hexadecimal digits.

    A lone surrogate, which no UTF-8 has, is spelled by the three bytes it would have.
    """
    data = part.encode("utf-8", "surrogatepass")
    letters = (
        chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"-{byte:02X}"
        for byte in data
    )
    return _SPELLED + "".join(letters)


def _unspelled(part: str) -> str:
    spelled = part.removeprefix(_SPELLED)
    data = re.sub(r"-([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), spelled)
    return data.encode("latin-1").decode("utf-8", "surrogatepass")
