"""Demo accounts: a name gives a valid SS58 address, without a secret behind it."""

from __future__ import annotations

import hashlib

from scalecodec.utils.ss58 import ss58_decode, ss58_encode

SS58_FORMAT = 42


def account(name: str) -> str:
    """The address whose public key is blake2b-256 of ``name``, in SS58 format 42."""
    return str(ss58_encode(blake2b_256(name.encode()), SS58_FORMAT))


def public_key(address: str) -> str:
    """The public key behind an address, 64 lower-case hex; ValueError if it is no address."""
    return str(ss58_decode(address, valid_ss58_format=SS58_FORMAT))


def blake2b_256(data: bytes) -> bytes:
    """The 32-byte digest that Substrate hashes blocks and extrinsics with."""
    return hashlib.blake2b(data, digest_size=32).digest()


def hex_hash(data: bytes) -> str:
    """:func:`blake2b_256` written as a hash is: ``0x`` and 64 lower-case hex."""
    return "0x" + blake2b_256(data).hex()
