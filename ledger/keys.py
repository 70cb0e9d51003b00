"""Identity: natural keys, and the UUIDs made of them.

Every aggregate's id is a UUIDv5 of its natural key, so that two processes that see the same thing
name it alike without asking each other (ARCHITECTURE, "The write side").
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:cacheon-ledger:1")

_HASH = re.compile(r"0x[0-9a-f]{64}")


class KeyFormError(ValueError):
    """A key that is not in its form; the message is one sentence."""


@dataclass(frozen=True, slots=True, order=True)
class ArenaKey:
    """An arena: (genesis hash, netuid). One installation serves many, each with its own log."""

    genesis: str
    netuid: int

    def __post_init__(self) -> None:
        if not _HASH.fullmatch(self.genesis):
            msg = f"'{self.genesis}' is no genesis hash: it must be 0x and 64 lower-case hex digits"
            raise KeyFormError(msg)
        if not 0 <= self.netuid <= 65_535:
            msg = f"{self.netuid} is no netuid: it must be 0 to 65535"
            raise KeyFormError(msg)

    def __str__(self) -> str:
        return f"{self.genesis}/{self.netuid}"

    @classmethod
    def parse(cls, text: str) -> ArenaKey:
        """The arena of ``<genesis>/<netuid>``, the form events carry."""
        genesis, _, netuid = text.partition("/")
        if not netuid.isdecimal():
            msg = f"'{text}' is no arena key: it must be <genesis hash>/<netuid>"
            raise KeyFormError(msg)
        return cls(genesis, int(netuid))


def natural_id(kind: str, *parts: object) -> UUID:
    """The UUIDv5 of a natural key: the kind and its parts, joined by ``|``."""
    return uuid5(NAMESPACE, "|".join([kind, *map(str, parts)]))


def arena_id(arena: ArenaKey) -> UUID:
    """Identity of an arena: genesis, netuid."""
    return natural_id("arena", arena)


def block_key(arena: ArenaKey, number: int) -> str:
    """The fact key of a finalized block of that arena."""
    return f"block:{arena}:{number}"


def filled_key(arena: ArenaKey, number: int) -> str:
    """The fact key of a block of a gap that was read after all."""
    return f"block-filled:{arena}:{number}"


def opening_key(arena: ArenaKey) -> str:
    """The fact key of the block that an arena opened at, as a node gave it."""
    return f"opening:{arena}"


def payment_id(genesis: str, block_hash: str, extrinsic_index: int) -> UUID:
    """Identity of a payment: genesis, block hash, extrinsic index (whatever arena it is for)."""
    return natural_id("payment", genesis, block_hash, extrinsic_index)


def proof_id(genesis: str, payment_block: str, payment_tx: str) -> UUID:
    """Identity of a proof of payment: genesis, and the two hashes that a commit names it by."""
    return natural_id("proof", genesis, payment_block, payment_tx)


def submission_id(arena: ArenaKey, hotkey: str, block: int, index: str, payload: bytes) -> UUID:
    """Identity of a submission: arena, hotkey, reveal-or-commit block, index, payload's SHA-256.

    ``index`` tells reveals (``r0``, ``r1`` …) from extrinsics (``x1`` …) of the same block, and
    further commitments of one extrinsic (``x1.1`` …) from its first.
    """
    digest = hashlib.sha256(payload).hexdigest()
    return natural_id("submission", arena, hotkey, block, index, digest)


def contest_id(arena: ArenaKey, track: str, seed_block: int) -> UUID:
    """Identity of a contest: arena, track, the attempt's seed block."""
    return natural_id("contest", arena, track, seed_block)


def treasury_id(arena: ArenaKey) -> UUID:
    """Identity of an arena's treasury."""
    return natural_id("treasury", arena)


def rental_budget_id(arena: ArenaKey) -> UUID:
    """Identity of the budget of an arena's rentals."""
    return natural_id("rental budget", arena)


def further_machine_id(request: UUID, provider: str, instance: str) -> UUID:
    """Identity of the rental of a second machine that was found under the tag of one request."""
    return natural_id("further machine", request, provider, instance)
