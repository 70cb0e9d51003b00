"""What the `payouts` view needs of the registry: whose a hotkey was at a block, and the subnet.

Whoever holds a UID in an epoch stands in the epoch itself. A hotkey that a vector names and that
holds none any more has the coldkey that it was last seen with. Kept by block and not by the order
of recording, for an epoch out of a gap is recorded late.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Column, Table, Text

from ledger.observations import BlockFilled
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import versioned
from ledger.rules.weights import burn_uid_eligible

owners: Final = versioned(
    "payouts_owners",
    [Column("hotkey", Text, primary_key=True)],
    [Column("coldkeys", Text, nullable=False)],
)
"""Since which block a hotkey had which coldkey, as JSON, in the order of the blocks."""

_SUBNET: Final = "subnet_owner"

History = list[tuple[int, str]]
SubnetHistory = list[tuple[int, str, str]]


def note_coldkey(rows: Rows, position: int, hotkey: str, block: int, coldkey: str) -> None:
    """From ``block`` on the hotkey is ``coldkey``'s, until the next block noted."""
    hotkey = storable_text(hotkey)
    history = _history(rows, hotkey)
    changed = sorted({**dict(history), block: coldkey}.items())
    if changed != history:
        rows.put(owners, position, hotkey, coldkeys=msgspec.json.encode(changed).decode())


def note_filled(rows: Rows, state: Table, position: int, fact: BlockFilled) -> None:
    """What a block out of a gap changed, at its own place in history."""
    for hotkey, coldkey in zip(fact.hotkeys, fact.coldkeys, strict=True):
        note_coldkey(rows, position, hotkey, fact.number, coldkey)
    for hotkey, coldkey in zip(fact.swapped_hotkeys, fact.new_coldkeys, strict=True):
        note_coldkey(rows, position, hotkey, fact.number, coldkey)
    if fact.owner_hotkey is not None and fact.owner_coldkey is not None:
        owner = (fact.owner_hotkey, fact.owner_coldkey)
        note_subnet_owner(rows, state, position, fact.number, owner)


def coldkey_at(rows: Rows, hotkey: str, block: int) -> str | None:
    """The coldkey a hotkey was last seen with at or before a block; None where it was not seen."""
    seen = [coldkey for since, coldkey in _history(rows, storable_text(hotkey)) if since <= block]
    return seen[-1] if seen else None


def note_subnet_owner(
    rows: Rows, state: Table, position: int, block: int, owner: tuple[str, str]
) -> None:
    """From ``block`` on the subnet belongs to that (hotkey, coldkey)."""
    by_block = {since: (hotkey, coldkey) for since, hotkey, coldkey in _subnet(rows, state)}
    by_block[block] = owner
    history = [(since, *own) for since, own in sorted(by_block.items())]
    rows.put(state, position, _SUBNET, value=msgspec.json.encode(history).decode())


def burns_at(rows: Rows, state: Table, block: int, holder: tuple[str, str]) -> bool:
    """Whether the chain burns what a burn UID of that holder (hotkey, coldkey) earns.

    It does for the subnet's owner. Of an owner that nobody saw the ledger takes it for granted.
    """
    seen = [(hotkey, cold) for since, hotkey, cold in _subnet(rows, state) if since <= block]
    return burn_uid_eligible(holder, seen[-1] if seen else None) is not False


def _history(rows: Rows, hotkey: str) -> History:
    found = rows.get(owners, hotkey)
    return msgspec.json.decode(found["coldkeys"], type=History) if found else []


def _subnet(rows: Rows, state: Table) -> SubnetHistory:
    found = rows.get(state, _SUBNET)
    return msgspec.json.decode(found["value"], type=SubnetHistory) if found else []
