"""What several views need to know of the arena while they fold: policies and pauses.

Kept as one JSON row per projection, so that no projection reads another's tables.
"""

from __future__ import annotations

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
    RunnerUpNamed,
)
from ledger.facts import Fact
from ledger.policy import Policy, PolicyFrom, parse_policy_json, policy_at
from ledger.projections.rows import Rows, versioned


class Seat(msgspec.Struct):
    """Who sits on a place and with which score."""

    hotkey: str
    score_ppm: int


class ArenaView(msgspec.Struct):
    """Policies in the order of adoption, what is paused, and who sits where."""

    policies: list[tuple[int, str]] = []
    paused: set[str] = set()
    kings: dict[str, Seat] = {}
    runners_up: dict[str, Seat] = {}

    def apply(self, fact: Fact) -> bool:
        """Take one fact; whether it was the arena's and changed anything."""
        match fact:
            case ArenaOpened():
                self.policies.append((fact.opened_at_block, fact.policy_json))
            case PolicyAdopted():
                self.policies.append((fact.from_block, fact.policy_json))
            case Paused():
                self.paused.add(fact.switch)
            case Resumed():
                self.paused.discard(fact.switch)
            case KingCrowned() | CrownDefended():
                self.kings[fact.track] = Seat(fact.hotkey, fact.score_ppm)
            case KingDeposed():
                self.kings.pop(fact.track, None)
            case RunnerUpNamed():
                self.runners_up.pop(fact.track, None)
                if fact.hotkey is not None and fact.score_ppm is not None:
                    self.runners_up[fact.track] = Seat(fact.hotkey, fact.score_ppm)
            case _:
                return False
        return True

    def policy_at(self, block: int) -> Policy:
        """The policy in force at a block."""
        timeline = [PolicyFrom(start, parse_policy_json(text)) for start, text in self.policies]
        return policy_at(timeline, block)


def view_table(name: str) -> Table:
    """The table that keeps a projection's :class:`ArenaView` (key ``arena``), and more by key."""
    return versioned(
        name, [Column("key", Text, primary_key=True)], [Column("value", Text, nullable=False)]
    )


def load_view(rows: Rows, table: Table) -> ArenaView:
    """The arena as this projection has folded it so far."""
    found = rows.get(table, "arena")
    return msgspec.json.decode(found["value"], type=ArenaView) if found else ArenaView()


def fold_view(rows: Rows, table: Table, position: int, fact: Fact) -> ArenaView:
    """Fold one fact into the kept view, and give it."""
    view = load_view(rows, table)
    if view.apply(fact):
        text = msgspec.json.encode(view, order="deterministic").decode()
        rows.put(table, position, "arena", value=text)
    return view
