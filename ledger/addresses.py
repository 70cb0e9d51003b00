"""Addresses of the chain: SS58 of format 42, checked down to their checksum.

The form is Substrate's: base58 over the format's byte, the 32 bytes of the public key, and the
first two bytes of BLAKE2b-512 over ``SS58PRE`` and those 33. A mistyped letter fails the checksum,
so that money is never asked to an address nobody can have meant.
"""

from __future__ import annotations

import hashlib
from typing import Final

SS58_FORMAT: Final = 42
"""The format of Bittensor's addresses, which all begin with 5."""
MAX_ADDRESS_CHARS: Final = 64

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_KEY_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 2
_SHOWN_CHARS: Final = 64


class AddressFormError(ValueError):
    """A text that is no address of the chain; the message is one sentence."""


def is_ss58(text: str) -> bool:
    """Whether ``text`` is an SS58 address of format 42 with the right checksum."""
    data = _base58_bytes(text) if len(text) <= MAX_ADDRESS_CHARS else None
    if data is None or len(data) != 1 + _KEY_BYTES + _CHECKSUM_BYTES or data[0] != SS58_FORMAT:
        return False
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    return hashlib.blake2b(b"SS58PRE" + body).digest()[:_CHECKSUM_BYTES] == checksum


def require_ss58(text: str) -> None:
    """Raise :class:`AddressFormError` unless ``text`` is an address of the chain."""
    if not is_ss58(text):
        shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
        msg = f"'{shown}' is no SS58 address of format {SS58_FORMAT}; check each of its letters"
        raise AddressFormError(msg)


def _base58_bytes(text: str) -> bytes | None:
    """The bytes that base58 spells, None for another letter; a leading 1 stands for a zero byte."""
    number = 0
    for letter in text:
        digit = _ALPHABET.find(letter)
        if digit < 0:
            return None
        number = number * len(_ALPHABET) + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
