"""Opening an arena from a node: its chain, its newest block, and who holds what there."""

from __future__ import annotations

from dataclasses import dataclass

from api.app import Services
from chain.port import ChainReader
from chain.reader import BlockReader, opening_state
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.decisions.base import DecisionRefusedError
from ledger.keys import ArenaKey
from ledger.policy import Policy
from ledger.store.logs import head_of


@dataclass(frozen=True, slots=True)
class Opened:
    """An open arena: the block its log begins at, and whether it was open before."""

    arena: ArenaKey
    at_block: int
    was_open: bool


def open_from_node(
    services: Services,
    chain: ChainReader,
    network: str,
    netuid: int,
    *,
    policy: Policy,
    at_block: int | None,
    actor: str,
) -> Opened:
    """Open an arena at a finalized block of the chain, by default the newest, and observe it there.

    What is recorded at once: who holds which UID, the subnet's owner and the treasury's balances.
    Nothing is where the chain cannot give the block's state (:class:`~chain.port.PrunedStateError`)
    or the subnet does not exist at it. Opening it again alike changes nothing, and without
    ``at_block`` it is alike whatever block is the newest by then.
    """
    arena = ArenaKey(chain.genesis_hash(), netuid)
    with services.engine.connect() as connection:
        head = head_of(connection, arena)
    if head is None:
        at_block = chain.finalized_head().number if at_block is None else at_block
        state, registry = opening_state(chain, netuid, at_block)
        if not registry and state.subnet_owner is None:
            msg = (
                f"subnet {netuid} does not exist at block {at_block} of that chain; give another "
                "--netuid, or a later --at-block"
            )
            raise DecisionRefusedError(msg)
    elif at_block is None:
        at_block = Ledger(services.engine, arena).arena_state().opened_at_block
    ledger = open_arena(
        services.engine, arena, network=network, at_block=at_block, policy=policy, actor=actor
    )
    if ledger.head().effective_block == at_block:
        # Also where an earlier opening was interrupted before it had observed everything.
        BlockReader(chain, ledger, {}).observe_opening()
    return Opened(arena, at_block, was_open=head is not None)
