"""Opening an arena, adopting policies, pausing and resuming."""

from __future__ import annotations

from sqlalchemy import Engine

from ledger.application import Ledger, Unit
from ledger.decisions.arena import Switch
from ledger.decisions.base import DecisionRefusedError
from ledger.keys import ArenaKey
from ledger.policy import Policy
from ledger.policy_numbers import MAX_BLOCKS
from ledger.store.logs import all_heads


def open_arena(
    engine: Engine, arena: ArenaKey, *, network: str, at_block: int, policy: Policy, actor: str
) -> Ledger:
    """Open an arena at a finalized block, or give the open one.

    Opening it again with the same network, block and policy changes nothing. Refused
    (:class:`DecisionRefusedError`) where it is open otherwise, where another chain has this network
    name and netuid, for its arena could never be asked again, and where another arena of the same
    chain has the same treasury address, for then nobody could say whose fee it is (DOMAIN 2).
    """
    if not 0 <= at_block <= MAX_BLOCKS:
        msg = f"an arena cannot open at block {at_block}; blocks are 0 to {MAX_BLOCKS}"
        raise DecisionRefusedError(msg)
    _refuse_shared_treasury(engine, arena, policy)
    ledger = Ledger(engine, arena)

    def work(unit: Unit) -> None:
        _refuse_taken_name(engine, arena, network)  # again where another opening was faster
        unit.arena.open(unit.context, network, policy, actor, at_block=at_block)

    ledger.decide(work, opening_at=at_block)
    return ledger


def adopt_policy(ledger: Ledger, policy: Policy, *, from_block: int, actor: str) -> None:
    """Adopt a policy from a block on, which must not be in the past."""
    if from_block > MAX_BLOCKS:
        msg = f"a policy cannot start at block {from_block}; blocks end at {MAX_BLOCKS}"
        raise DecisionRefusedError(msg)
    _refuse_shared_treasury(ledger.engine, ledger.arena, policy)
    ledger.decide(lambda unit: unit.arena.adopt(unit.context, policy, from_block, actor))


def pause(ledger: Ledger, switch: Switch, *, reason: str, actor: str) -> None:
    """Pause evaluation or emission; it takes effect at the newest finalized block (DOMAIN 5)."""
    ledger.decide(lambda unit: unit.arena.pause(unit.context, switch, reason, actor))


def resume(ledger: Ledger, switch: Switch, *, reason: str, actor: str) -> None:
    """Resume evaluation or emission."""
    ledger.decide(lambda unit: unit.arena.resume(unit.context, switch, reason, actor))


def _refuse_taken_name(engine: Engine, arena: ArenaKey, network: str) -> None:
    """Questions name an arena by network and netuid: two under one name would hide each other."""
    with engine.connect() as connection:
        heads = all_heads(connection)
    for head in heads:
        if head.arena != arena and (head.network, head.netuid) == (network, arena.netuid):
            msg = (
                f"{network}/{arena.netuid} is here already, on the chain of genesis "
                f"{head.arena.genesis}; open this one under another network name, or in another "
                "database"
            )
            raise DecisionRefusedError(msg)


def _refuse_shared_treasury(engine: Engine, arena: ArenaKey, policy: Policy) -> None:
    with engine.connect() as connection:
        heads = all_heads(connection)
    for head in heads:
        if head.arena == arena or head.arena.genesis != arena.genesis:
            continue
        theirs = Ledger(engine, head.arena).arena_state().policies
        if any(p.policy.fee.treasury_ss58 == policy.fee.treasury_ss58 for p in theirs):
            msg = (
                f"treasury {policy.fee.treasury_ss58} belongs to arena {head.network}/"
                f"{head.netuid} of the same chain; no two arenas may share one"
            )
            raise DecisionRefusedError(msg)
