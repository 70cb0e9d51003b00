"""Who plays in the demo's season: addresses made of names, and what each one is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chain.simulated import account

OWNER_HOTKEY: Final = account("subnet owner hotkey")
OWNER_COLDKEY: Final = account("subnet owner coldkey")
VALIDATOR_HOTKEY: Final = account("validator hotkey")
VALIDATOR_COLDKEY: Final = account("validator coldkey")
TREASURY: Final = account("cacheon treasury")
EXCHANGE: Final = account("exchange")
STRANGER: Final = account("stranger")


@dataclass(frozen=True, slots=True)
class Miner:
    """A miner: its name in the story, its keys, and the kind of server it ships."""

    name: str
    kind: str

    @property
    def hotkey(self) -> str:
        """SS58, made of the name."""
        return account(f"{self.name} hotkey")

    @property
    def coldkey(self) -> str:
        """SS58, made of the name."""
        return account(f"{self.name} coldkey")

    @property
    def new_coldkey(self) -> str:
        """What the coldkey becomes if it is swapped."""
        return account(f"{self.name} new coldkey")


ADA: Final = Miner("ada", "kv_cache")
BEA: Final = Miner("bea", "prefix_cache")
CAL: Final = Miner("cal", "truncated")
DOV: Final = Miner("dov", "dies_at_start")
EVE: Final = Miner("eve", "other_weights")
FAY: Final = Miner("fay", "repeat_penalty")
GUS: Final = Miner("gus", "flush")
HAL: Final = Miner("hal", "replay")
IDA: Final = Miner("ida", "prefix_cache")
KIM: Final = Miner("kim", "prefix_cache")
NEW: Final = Miner("new", "kv_cache")

MINERS: Final = (ADA, BEA, CAL, DOV, EVE, FAY, GUS, HAL, IDA, KIM)
"""Registered at genesis, in the order of their UIDs from 2 on; ``NEW`` comes later."""

FIRST_MINER_UID: Final = 2


def uid_of(miner: Miner) -> int:
    """The UID a miner holds at genesis."""
    return FIRST_MINER_UID + MINERS.index(miner)
