"""A document of plain values as TOML: the standard library reads the format and does not write it.

Null has no spelling in TOML, so a key whose value is None is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_of(document: Mapping[str, Any]) -> str:
    """``document`` as TOML; raises :class:`TypeError` for a value that TOML has not."""
    return "\n".join(_lines(document, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield "[" + ".".join(map(_key, path)) + "]"
    below = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            below[key] = value
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in below.items():
        yield from _lines(value, (*path, key))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)  # of one line; TOML's basic strings have the same escapes
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    msg = f"{value!r} is nothing that these TOML files hold: a text, a whole number, a truth"
    raise TypeError(msg)
