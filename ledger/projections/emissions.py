"""The `emissions` view: per epoch and track, the pool that policy allowed and what was paid.

What of it the chain burned is for the `payouts` view to say, which knows who held the burn UID.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Text

from ledger.facts import Fact
from ledger.observations import EpochObserved, GapObserved
from ledger.projections.arena_view import (
    POLICY_FACTS,
    SEAT_FACTS,
    Seats,
    fold_policy,
    fold_seat,
    kept_policy,
    kept_seats,
    view_table,
)
from ledger.projections.rows import Rows
from ledger.projections.tables import appended
from ledger.rules.emission import pool_ppm

state: Final = view_table("emissions_state")

emissions: Final = appended(
    "emissions",
    Column("epoch_block", BigInteger, nullable=False),
    Column("track", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("pool_ppm", BigInteger),  # None: no king, so there is no pool to speak of
    Column("king_hotkey", Text),
    Column("king_score_ppm", BigInteger),
    Column("miner_incentive_alpha", BigInteger, nullable=False),
    Column("validator_dividends_alpha", BigInteger, nullable=False),
)


class EmissionsProjection:
    """Folds epochs under the policy and throne of their block."""

    name = "emissions"
    tables = (state, emissions)
    knows: tuple[type[Fact], ...] = (*POLICY_FACTS, *SEAT_FACTS, EpochObserved, GapObserved)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        if isinstance(fact, POLICY_FACTS):
            fold_policy(rows, state, position, fact)
        elif isinstance(fact, SEAT_FACTS):
            fold_seat(rows, state, position, fact)
        elif isinstance(fact, GapObserved):
            # Its epochs may be read later, when others sit on the thrones.
            text = msgspec.json.encode(kept_seats(rows, state), order="deterministic").decode()
            rows.put(state, position, f"{_GAP}{fact.from_block}:{fact.to_block}", value=text)
        elif isinstance(fact, EpochObserved):
            _fold_epoch(rows, position, fact)


_GAP: Final = "gap:"


def _seats_at(rows: Rows, fact: EpochObserved) -> Seats:
    """Who sat where when the epoch ran; no crown changed hands within a gap."""
    if fact.block < fact.effective_block:
        for (key,), row in rows.all(state).items():
            if key.startswith(_GAP):
                first, last = map(int, key.removeprefix(_GAP).split(":"))
                if first <= fact.block <= last:
                    return msgspec.json.decode(row["value"], type=Seats)
    return kept_seats(rows, state)


def _fold_epoch(rows: Rows, position: int, fact: EpochObserved) -> None:
    policy, seats = kept_policy(rows, state, fact.block), _seats_at(rows, fact)
    for name, track in sorted(policy.tracks.items()):
        king = seats.kings.get(name)
        rows.append(
            emissions,
            position,
            epoch_block=fact.block,
            track=name,
            phase=msgspec.to_builtins(track.emission)["phase"],
            paused="emission" in seats.paused,
            pool_ppm=pool_ppm(track.emission, fact.block, king.score_ppm) if king else None,
            king_hotkey=king.hotkey if king else None,
            king_score_ppm=king.score_ppm if king else None,
            miner_incentive_alpha=sum(fact.incentive_alpha),
            validator_dividends_alpha=sum(fact.dividends_alpha),
        )
