"""The `emissions` view: per epoch and track, the pool that policy allowed and what was paid."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Text

from ledger.facts import Fact
from ledger.observations import EpochObserved
from ledger.projections.arena_view import fold_view, view_table
from ledger.projections.rows import Rows, appended
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
    Column("burned_alpha", BigInteger, nullable=False),
    Column("validator_dividends_alpha", BigInteger, nullable=False),
    indexed=("epoch_block",),
)


class EmissionsProjection:
    """Folds epochs under the policy and throne of their block."""

    name = "emissions"
    tables = (state, emissions)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        view = fold_view(rows, state, position, fact)
        if not isinstance(fact, EpochObserved):
            return
        policy = view.policy_at(fact.block)
        burned = sum(
            alpha
            for uid, alpha in zip(fact.uids, fact.incentive_alpha, strict=True)
            if uid == policy.weights.burn_uid
        )
        for name, track in sorted(policy.tracks.items()):
            king = view.kings.get(name)
            rows.append(
                emissions,
                position,
                epoch_block=fact.block,
                track=name,
                phase=msgspec.to_builtins(track.emission)["phase"],
                paused="emission" in view.paused,
                pool_ppm=pool_ppm(track.emission, fact.block, king.score_ppm) if king else None,
                king_hotkey=king.hotkey if king else None,
                king_score_ppm=king.score_ppm if king else None,
                miner_incentive_alpha=sum(fact.incentive_alpha),
                burned_alpha=burned,
                validator_dividends_alpha=sum(fact.dividends_alpha),
            )
