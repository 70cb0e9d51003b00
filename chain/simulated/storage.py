"""The chain's storage as keys and values in layers, as a runtime sees it.

A value is text; :mod:`chain.simulated.world` gives it types. A layer holds what was written above
its parent and is merged into it or dropped whole: that is how a failed call leaves nothing behind.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Item(StrEnum):
    """The storage items. The comment after each is its key and its value."""

    BALANCE = "balance"  # address -> rao
    NONCE = "nonce"  # address -> signed extrinsics so far
    OWNER = "owner"  # hotkey -> coldkey
    OWNED = "owned"  # coldkey/hotkey -> ""
    NEURON = "neuron"  # uid, five digits -> hotkey
    UID = "uid"  # hotkey -> uid
    PERMIT = "permit"  # uid -> ""
    WEIGHTS = "weights"  # uid -> WeightsSet
    STAKE = "stake"  # coldkey/hotkey -> alpha units
    LOCK = "lock"  # coldkey -> StakeLock
    POOL = "pool"  # "" -> Pool
    SUBNET_OWNER = "subnet_owner"  # "" -> [hotkey, coldkey]
    COMMITMENT = "commitment"  # hotkey -> Timelocked, or "" for a plain one
    REVEAL_DUE = "reveal_due"  # block/public key/hotkey -> ""
    REVEALED = "revealed"  # hotkey -> the last Revealed, oldest first
    EPOCH = "epoch"  # "" -> LatestEpoch
    TOTAL = "total"  # a Total's name -> amount


class Reads(Protocol):
    """Storage as of one moment."""

    def value(self, item: Item, key: str) -> str | None:
        """The value under a key, None if there is none."""
        ...

    def entries(self, item: Item, prefix: str = "") -> dict[str, str]:
        """All keys that start with ``prefix`` and their values, by key."""
        ...


class Layer:
    """Writes above a parent that does not see them until :meth:`merge_into` says so."""

    def __init__(self, parent: Reads) -> None:
        self._parent = parent
        self.writes: dict[tuple[Item, str], str | None] = {}

    def value(self, item: Item, key: str) -> str | None:
        """The value under a key as written here, else as the parent has it."""
        if (item, key) in self.writes:
            return self.writes[item, key]
        return self._parent.value(item, key)

    def entries(self, item: Item, prefix: str = "") -> dict[str, str]:
        """The parent's entries with the writes of this layer over them, by key."""
        merged: dict[str, str | None] = dict(self._parent.entries(item, prefix))
        for (written, key), value in self.writes.items():
            if written is item and key.startswith(prefix):
                merged[key] = value
        return {key: value for key, value in sorted(merged.items()) if value is not None}

    def put(self, item: Item, key: str, value: str | None) -> None:
        """Write a value, or remove the key with None."""
        self.writes[item, key] = value

    def merge_into(self, parent: Layer) -> None:
        """Make this layer's writes the parent's."""
        parent.writes.update(self.writes)
