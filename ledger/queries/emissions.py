"""The ramp: the pool at a block, and per epoch what it was and what was paid."""

from __future__ import annotations

import msgspec
from sqlalchemy import or_, select

from ledger.projections import emissions as view
from ledger.projections.payouts import epochs as burned
from ledger.queries.scope import Scope
from ledger.queries.weights import paused_switches, policy_in_force, thrones
from ledger.rules.emission import pool_ppm


class RampPoint(msgspec.Struct, frozen=True):
    """The pool of a track at a block; None while nobody is king."""

    block: int
    track: str
    phase: str
    pool_ppm: int | None
    paused: bool


class EpochLine(msgspec.Struct, frozen=True):
    """One epoch of a track: pool, king, and the miners' incentive with its burned part.

    ``burned_alpha`` is what the lines of the epoch's payouts withhold: a burn UID that a stranger
    holds burns nothing.
    """

    epoch_block: int
    track: str
    phase: str
    paused: bool
    pool_ppm: int | None
    king_hotkey: str | None
    king_score_ppm: int | None
    miner_incentive_alpha: int
    burned_alpha: int
    validator_dividends_alpha: int


def ramp_now(scope: Scope) -> list[RampPoint]:
    """The pool of each track at the scope's block."""
    policy, seats = policy_in_force(scope), thrones(scope)
    paused = "emission" in paused_switches(scope)
    points = []
    for name, track in sorted(policy.tracks.items()):
        throne = seats.get(name)
        score = throne.king_score_ppm if throne else None
        crowned = throne is not None and throne.king_hotkey is not None
        points.append(
            RampPoint(
                block=scope.block,
                track=name,
                phase=msgspec.to_builtins(track.emission)["phase"],
                pool_ppm=pool_ppm(track.emission, scope.block, score) if crowned else None,
                paused=paused,
            )
        )
    return points


def epochs(scope: Scope) -> list[EpochLine]:
    """Every epoch observed so far, oldest first."""
    lines = view.emissions
    query = (
        select(lines, burned.c.withheld_alpha.label("burned_alpha"))
        .join(
            burned,
            (burned.c.log_id == lines.c.log_id) & (burned.c.epoch_block == lines.c.epoch_block),
        )
        .where(lines.c.log_id == scope.head.log_id, lines.c.position <= scope.position)
        .where(burned.c.since <= scope.position)
        .where(or_(burned.c.until.is_(None), burned.c.until > scope.position))
        .order_by(lines.c.position, lines.c.line)
    )
    names = EpochLine.__struct_fields__
    found = scope.connection.execute(query).mappings()
    return [EpochLine(**{name: row[name] for name in names}) for row in found]
