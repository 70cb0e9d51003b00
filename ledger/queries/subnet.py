"""What the chain showed of the subnet: pools and prices, burns, costs, locks, alerts."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import RowMapping, Table

from ledger.projections import subnet as view
from ledger.projections import weights
from ledger.queries.scope import Scope, plain
from ledger.queries.weights import subnet_owner
from ledger.rules.conviction import LockState, roll_forward


class LockLine(msgspec.Struct, frozen=True):
    """A coldkey's conviction lock at the scope's block, evaluated from its last touch on chain.

    Amounts in 10^-9 alpha. ``owner`` is whether its hotkey owns the subnet: its conviction is then
    its mass (DOMAIN 6).
    """

    coldkey: str
    hotkey: str
    locked_alpha: int
    conviction_alpha: int
    perpetual: bool
    owner: bool
    last_update: int
    locked_alpha_then: int
    conviction_alpha_then: int


def pools(scope: Scope) -> list[dict[str, Any]]:
    """The pool at every block it was observed at, oldest first."""
    return _oldest_first(scope, view.pools, "block")


def prices(scope: Scope) -> list[dict[str, Any]]:
    """Every price observed, oldest first."""
    return _oldest_first(scope, view.prices, "about_block")


def burns(scope: Scope) -> list[dict[str, Any]]:
    """Alpha burned or recycled on the subnet by anybody, oldest first."""
    return _oldest_first(scope, view.burns, "block")


def registration_costs(scope: Scope) -> list[dict[str, Any]]:
    """What registrations cost, where the chain showed it, oldest first."""
    return _oldest_first(scope, view.registrations, "block")


def alerts(scope: Scope) -> list[dict[str, Any]]:
    """Everything that needed a person, oldest first."""
    return _oldest_first(scope, view.alerts, "block")


def locks(scope: Scope) -> list[LockLine]:
    """The conviction locks at the scope's block, the most convicted first."""
    owner = subnet_owner(scope)
    lines = []
    for row in _standing_locks(scope):
        owns = owner is not None and row["hotkey"] == owner[0]
        state = roll_forward(
            LockState(row["locked_alpha"], row["conviction_alpha"]),
            max(0, scope.block - row["last_update"]),
            perpetual=row["perpetual"],
            owner=owns,
            unlock_blocks=row["unlock_blocks"],
            maturity_blocks=row["maturity_blocks"],
        )
        lines.append(
            LockLine(
                coldkey=row["coldkey"],
                hotkey=row["hotkey"],
                locked_alpha=state.locked_alpha,
                conviction_alpha=state.conviction_alpha,
                perpetual=row["perpetual"],
                owner=owns,
                last_update=row["last_update"],
                locked_alpha_then=row["locked_alpha"],
                conviction_alpha_then=row["conviction_alpha"],
            )
        )
    return sorted(lines, key=lambda line: (-line.conviction_alpha, line.coldkey))


def locked_hotkeys(scope: Scope) -> dict[str, str]:
    """The hotkey of each coldkey's lock."""
    return {row["coldkey"]: row["hotkey"] for row in _standing_locks(scope)}


def _standing_locks(scope: Scope) -> list[RowMapping]:
    return [row for row in scope.rows(view.locks) if row["locked_alpha"]]


def held_digests(scope: Scope) -> dict[str, tuple[str, int | None]]:
    """Digest and last update of what each validator is known to hold, by hotkey."""
    return {
        row["validator_hotkey"]: (row["digest"], row["last_update"])
        for row in scope.rows(weights.held)
    }


def _oldest_first(scope: Scope, table: Table, block: str) -> list[dict[str, Any]]:
    """By the block each row is about: what was read late, out of a gap, was recorded later."""
    return sorted((plain(row) for row in scope.rows(table)), key=lambda row: int(row[block]))
