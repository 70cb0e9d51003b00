"""Endless numbers out of a name, the same on every machine and under every version, for ever.

A stream of SHA-256 over text, not a library's generator, whose algorithm may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


def numbers(domain: str, seed: int, label: str) -> Iterator[int]:
    """Endless 32-bit numbers: SHA-256 over ``<domain>:<seed>:<label>:<counter>``."""
    return numbers_of(f"{domain}:{seed}:{label}")


def numbers_of(name: str) -> Iterator[int]:
    """Endless 32-bit numbers: SHA-256 over ``<name>:<counter>``."""
    counter = 0
    while True:
        block = hashlib.sha256(f"{name}:{counter}".encode()).digest()
        for at in range(0, len(block), 4):
            yield int.from_bytes(block[at : at + 4], "big")
        counter += 1
