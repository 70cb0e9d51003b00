"""The one spelling of a document whose digest is taken: its struct as JSON.

Fields stand in the order they are declared, maps are sorted. A document gets further fields in the
course of time, and one that was recorded before keeps its digest: a field added later is left out
at its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

AddedLater = Mapping[type[msgspec.Struct], frozenset[str]]
"""By struct the names of the fields that it had not at first."""


def spelled(document: msgspec.Struct, added_later: AddedLater) -> bytes:
    """The JSON of ``document`` with every default written out but those of ``added_later``."""
    plain = msgspec.to_builtins(document, order="deterministic")
    _leave_out(document, plain, added_later)
    return msgspec.json.encode(plain)


def _leave_out(part: msgspec.Struct, plain: dict[str, Any], added_later: AddedLater) -> None:
    """Remove from ``plain``, the builtins of ``part``, what was added later and says nothing."""
    added = added_later.get(type(part), frozenset())
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if field.name in added and value == field.default:
            del plain[field.name]
        elif isinstance(value, msgspec.Struct):
            _leave_out(value, plain[field.name], added_later)
        elif isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, msgspec.Struct):
                    _leave_out(item, plain[field.name][name], added_later)
