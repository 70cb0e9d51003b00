"""The wrappings in which libraries hand over committed bytes (DOMAIN 1).

A payload arrives plain, as hex, behind a SCALE-compact length (a revealed entry), or doubly hexed.
:func:`unwrap` takes the wrappings off. Nothing here encodes or decodes SCALE beyond skipping that
length: 1, 2 or 4 bytes, told by the low two bits of the first byte.
"""

from __future__ import annotations

import re
from typing import Final

MAX_WRAPPINGS: Final = 4
"""Length prefix and two layers of hex are three; one more for a prefix inside the hex."""

_HEX: Final = re.compile(rb"(?:0x)?(?:[0-9a-fA-F]{2})+")


def bytes_as_shown(value: str | bytes) -> bytes:
    """The bytes behind what substrate-interface shows: ``0x`` hex where they were not UTF-8.

    Bytes that *are* the text of a ``0x`` number cannot be told from that hex; they come back
    without that layer, which :func:`unwrap` would take off anyway.
    """
    if isinstance(value, bytes):
        return value
    if value.startswith("0x") and _HEX.fullmatch(value.encode()):
        return bytes.fromhex(value[2:])
    return value.encode()


def without_compact_length(data: bytes) -> bytes | None:
    """The bytes behind a SCALE-compact length that says exactly how many follow, else None."""
    if not data:
        return None
    width = {0: 1, 1: 2, 2: 4}.get(data[0] & 0b11)
    if width is None or len(data) < width:
        return None
    length = int.from_bytes(data[:width], "little") >> 2
    return data[width:] if length == len(data) - width else None


def unwrap(value: bytes | str) -> bytes:
    """The JSON bytes as the miner wrote them.

    Stops at the first ``{``, and otherwise when no wrapping is recognised: what is no JSON object
    comes back as it is and R1 refuses it.
    """
    data = value.encode() if isinstance(value, str) else value
    for _ in range(MAX_WRAPPINGS):
        if data.startswith(b"{"):
            return data
        if _HEX.fullmatch(data):
            text = data.decode("ascii")
            data = bytes.fromhex(text.removeprefix("0x"))
            continue
        inner = without_compact_length(data)
        if inner is None:
            return data
        data = inner
    return data
