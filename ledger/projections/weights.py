"""The `weights` view: everything a vector is computed from, by position, and what was sent.

A vector at a block is a pure function of these rows (:mod:`ledger.rules.weights`); it is computed
when asked, because the ramp moves it with every block.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, Text

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
from ledger.observations import (
    NeuronObserved,
    OwnerChanged,
    SubnetOwnerObserved,
    UidEmptied,
    WeightsReadBack,
    WeightsReceipt,
    WeightsSubmitted,
)
from ledger.projections.rows import Rows
from ledger.projections.tables import appended, versioned

neurons: Final = versioned(
    "weights_neurons",
    [Column("uid", Integer, primary_key=True, autoincrement=False)],
    [Column("hotkey", Text, nullable=False), Column("coldkey", Text, nullable=False)],
)

thrones: Final = versioned(
    "weights_thrones",
    [Column("track", Text, primary_key=True)],
    [
        Column("king_hotkey", Text),
        Column("king_score_ppm", BigInteger),
        Column("won_at_block", BigInteger),
        Column("runner_up_hotkey", Text),
        Column("runner_up_score_ppm", BigInteger),
    ],
)

switches: Final = versioned(
    "weights_switches",
    [Column("switch", Text, primary_key=True)],
    [
        Column("paused", Boolean, nullable=False),
        Column("reason", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("block", BigInteger, nullable=False),
    ],
)

policies: Final = appended(
    "weights_policies",
    Column("from_block", BigInteger, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("policy_json", Text, nullable=False),
)

subnet_owner: Final = versioned(
    "weights_subnet_owner",
    [Column("part", Text, primary_key=True)],
    [Column("hotkey", Text, nullable=False), Column("coldkey", Text, nullable=False)],
)

published: Final = versioned(
    "weights_published",
    [
        Column("for_block", BigInteger, primary_key=True, autoincrement=False),
        Column("validator_hotkey", Text, primary_key=True),
        Column("digest", Text, primary_key=True),
    ],
    [
        Column("uids", Text, nullable=False),
        Column("values", Text, nullable=False),
        Column("shares_ppm", Text, nullable=False),
        Column("hotkeys", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("success", Boolean),
        Column("error", Text),
        Column("landed_block", BigInteger),
        Column("extrinsic_hash", Text),
    ],
)

held: Final = versioned(
    "weights_held",
    [Column("validator_hotkey", Text, primary_key=True)],
    [
        Column("block", BigInteger, nullable=False),
        Column("uids", Text, nullable=False),
        Column("values", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("raw_values", Text),
        Column("last_update", BigInteger),
    ],
)


def _json(items: tuple[object, ...]) -> str:
    return msgspec.json.encode(items).decode()


class WeightsProjection:
    """Folds registry, thrones, pauses, policies and publications."""

    name = "weights"
    tables = (neurons, thrones, switches, policies, subnet_owner, published, held)
    knows: tuple[type[Fact], ...] = (
        ArenaOpened,
        CrownDefended,
        KingCrowned,
        KingDeposed,
        NeuronObserved,
        OwnerChanged,
        Paused,
        PolicyAdopted,
        Resumed,
        RunnerUpNamed,
        SubnetOwnerObserved,
        UidEmptied,
        WeightsReadBack,
        WeightsReceipt,
        WeightsSubmitted,
    )

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case NeuronObserved():
                rows.put(neurons, position, fact.uid, hotkey=fact.hotkey, coldkey=fact.coldkey)
            case UidEmptied():
                rows.end(neurons, position, fact.uid)
            case OwnerChanged():
                for (uid,), row in rows.all(neurons).items():
                    if row["hotkey"] == fact.hotkey:
                        rows.put(neurons, position, uid, coldkey=fact.new_coldkey)
            case SubnetOwnerObserved():
                owner = {"hotkey": fact.hotkey, "coldkey": fact.coldkey}
                rows.put(subnet_owner, position, "owner", **owner)
            case ArenaOpened() | PolicyAdopted():
                from_block = (
                    fact.opened_at_block if isinstance(fact, ArenaOpened) else fact.from_block
                )
                rows.append(
                    policies,
                    position,
                    from_block=from_block,
                    policy_digest=fact.policy_digest,
                    policy_json=fact.policy_json,
                )
            case Paused() | Resumed():
                rows.put(
                    switches,
                    position,
                    fact.switch,
                    paused=isinstance(fact, Paused),
                    reason=fact.reason,
                    actor=fact.actor,
                    block=fact.effective_block,
                )
            case WeightsSubmitted() | WeightsReceipt() | WeightsReadBack():
                _fold_publication(rows, position, fact)
            case _:
                _fold_throne(rows, position, fact)


def _fold_throne(rows: Rows, position: int, fact: Fact) -> None:
    match fact:
        case KingCrowned():
            rows.put(
                thrones,
                position,
                fact.track,
                king_hotkey=fact.hotkey,
                king_score_ppm=fact.score_ppm,
                won_at_block=fact.effective_block,
            )
        case CrownDefended():
            rows.put(thrones, position, fact.track, king_score_ppm=fact.score_ppm)
        case KingDeposed():
            nobody = dict.fromkeys(("king_hotkey", "king_score_ppm", "won_at_block"))
            rows.put(thrones, position, fact.track, **nobody)
        case RunnerUpNamed():
            rows.put(
                thrones,
                position,
                fact.track,
                runner_up_hotkey=fact.hotkey,
                runner_up_score_ppm=fact.score_ppm,
            )
        case _:
            pass  # not a fact of this view


def _fold_publication(
    rows: Rows, position: int, fact: WeightsSubmitted | WeightsReceipt | WeightsReadBack
) -> None:
    match fact:
        case WeightsSubmitted():
            # Its fact key says that a validator sends a vector for a block once.
            rows.put_new(
                published,
                position,
                fact.for_block,
                fact.validator_hotkey,
                fact.digest,
                uids=_json(fact.uids),
                values=_json(fact.values),
                shares_ppm=_json(fact.shares_ppm),
                hotkeys=_json(fact.hotkeys),
                reason=fact.reason,
            )
        case WeightsReceipt():
            rows.put(
                published,
                position,
                fact.for_block,
                fact.validator_hotkey,
                fact.digest,
                success=fact.success,
                error=fact.error,
                landed_block=fact.block,
                extrinsic_hash=fact.extrinsic_hash,
            )
        case WeightsReadBack():
            known = rows.get(held, fact.validator_hotkey)
            if known is not None and known["block"] > fact.block:
                return  # read late, out of a gap: what is held since is known already
            rows.put(
                held,
                position,
                fact.validator_hotkey,
                block=fact.block,
                uids=_json(fact.uids),
                values=_json(fact.values),
                digest=fact.digest,
                raw_values=None if fact.raw_values is None else _json(fact.raw_values),
                last_update=fact.last_update,
            )
