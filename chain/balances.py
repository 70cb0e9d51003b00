"""The treasury's balances in the state of a block of the log, for closing a period there."""

from __future__ import annotations

from chain.buyback_outcomes import must_be_the_arenas_chain
from chain.gaps import treasury_balances
from chain.port import ChainReader
from ledger.application import Ledger
from ledger.commands.gaps import header_of
from ledger.commands.money import record_balances
from ledger.decisions.base import DecisionRefusedError

Balances = tuple[tuple[str, str, int, str], ...]
"""(asset, account, amount, source) each, as they are recorded."""


def balances_at(chain: ChainReader, ledger: Ledger, block: int) -> tuple[Balances, tuple[str, ...]]:
    """TAO and alpha of the treasury's address of the policy in force there, and what is unknown.

    Asked by the hash that the log has of the block, so that a node on another fork says nothing.
    Raises what the chain raises, and :class:`DecisionRefusedError` where the log lacks the block.
    """
    must_be_the_arenas_chain(chain, ledger)
    known = header_of(ledger, block)
    if known is None:
        msg = f"block {block} is not in the log, so no balance can be recorded about it"
        raise DecisionRefusedError(msg)
    treasury = ledger.arena_state().policy_at(block).fee.treasury_ss58
    return treasury_balances(chain, treasury, ledger.arena.netuid, known.hash)


def observe_balances_at(chain: ChainReader, ledger: Ledger, block: int) -> tuple[str, ...]:
    """Record them; what stays unknown, in sentences. Doing so again is a no-op."""
    known, unknown = balances_at(chain, ledger, block)
    if known:
        record_balances(ledger, known, about_block=block)
    return unknown
