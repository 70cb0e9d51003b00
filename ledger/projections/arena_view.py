"""What several views need to know of the arena while they fold: policies, pauses and kings.

Kept as JSON rows of each projection's own, so that no projection reads another's tables. Policies
change once in months and are long; pauses and kings change with every contest and are short: they
are rows of their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from sqlalchemy import Column, Table, Text

from ledger.decisions.arena import (
    ArenaOpened,
    CrownDefended,
    KingCrowned,
    KingDeposed,
    Paused,
    PolicyAdopted,
    Resumed,
)
from ledger.facts import Fact
from ledger.policy import Policy, PolicyFrom, parse_policy_json, policy_at
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

POLICY_FACTS: Final = (ArenaOpened, PolicyAdopted)
SEAT_FACTS: Final = (CrownDefended, KingCrowned, KingDeposed, Paused, Resumed)

_POLICIES: Final = "policies"
_SEATS: Final = "seats"


class Seat(msgspec.Struct):
    """Who sits on a throne and with which score."""

    hotkey: str
    score_ppm: int


class Seats(msgspec.Struct):
    """What is paused, and the king of each track."""

    paused: set[str] = set()
    kings: dict[str, Seat] = {}


def view_table(name: str) -> Table:
    """The table that keeps what a projection knows of its arena, and more by key."""
    return versioned(
        name, [Column("key", Text, primary_key=True)], [Column("value", Text, nullable=False)]
    )


def fold_policy(rows: Rows, table: Table, position: int, fact: ArenaOpened | PolicyAdopted) -> None:
    """Keep a policy in the order of adoption."""
    found = rows.get(table, _POLICIES)
    policies = msgspec.json.decode(found["value"], type=list[tuple[int, str]]) if found else []
    start = fact.opened_at_block if isinstance(fact, ArenaOpened) else fact.from_block
    policies.append((start, fact.policy_json))
    rows.put(table, position, _POLICIES, value=msgspec.json.encode(policies).decode())


def kept_policy(rows: Rows, table: Table, block: int) -> Policy:
    """The policy in force at a block, as this projection has folded the arena so far.

    Before the arena opened, the one it opened with: an observation of such a block is folded all
    the same, for one that cannot be would stop its view for ever. Without any policy it raises
    :class:`~ledger.policy.PolicyError`.
    """
    found = rows.get(table, _POLICIES)
    timeline = _timeline(found["value"] if found else "[]")
    return policy_at(timeline, max([block, *(entry.from_block for entry in timeline[:1])]))


def fold_seat(rows: Rows, table: Table, position: int, fact: Fact) -> None:
    """Keep who sits where and what is paused."""
    seats = kept_seats(rows, table)
    match fact:
        case Paused():
            seats.paused.add(fact.switch)
        case Resumed():
            seats.paused.discard(fact.switch)
        case KingCrowned() | CrownDefended():
            seats.kings[fact.track] = Seat(fact.hotkey, fact.score_ppm)
        case KingDeposed():
            seats.kings.pop(fact.track, None)
        case _:
            msg = f"a {fact.topic} changes no seat"
            raise TypeError(msg)
    text = msgspec.json.encode(seats, order="deterministic").decode()
    rows.put(table, position, _SEATS, value=text)


def kept_seats(rows: Rows, table: Table) -> Seats:
    """Who sits where and what is paused, as this projection has folded the arena so far."""
    found = rows.get(table, _SEATS)
    return msgspec.json.decode(found["value"], type=Seats) if found else Seats()


@lru_cache(maxsize=16)
def _timeline(text: str) -> tuple[PolicyFrom, ...]:
    policies = msgspec.json.decode(text, type=list[tuple[int, str]])
    return tuple(PolicyFrom(start, parse_policy_json(own)) for start, own in policies)
