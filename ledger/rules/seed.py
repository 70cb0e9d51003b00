"""The seed of an attempt: nobody knew it when the entrants were committed (DOMAIN 4)."""

from __future__ import annotations

import hashlib
import re

_HASH = re.compile(r"0x[0-9a-f]{64}")


def seed_from_block_hash(block_hash: str) -> int:
    """The first 8 bytes, big-endian, of SHA-256 over the 32 bytes of a finalized block's hash.

    Raises :class:`ValueError` if it is no hash of ``0x`` and 64 lower-case hex digits.
    """
    if not _HASH.fullmatch(block_hash):
        msg = f"'{block_hash}' is no block hash: it must be 0x and 64 lower-case hex digits"
        raise ValueError(msg)
    digest = hashlib.sha256(bytes.fromhex(block_hash[2:])).digest()
    return int.from_bytes(digest[:8], "big")
