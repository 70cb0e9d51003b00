"""Comparing a block that is in the log with what a node says of it now. What is recorded stands.

The facts that the block would give are made as they are for a new one and are not recorded: one
whose key the log knows must say the same, one that it does not know is missing there, and money
and commits that the log has of the block and the node does not show are too many.
"""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.commands.block_facts import BlockFacts
from ledger.commands.commits import record_commit
from ledger.commands.gaps import observe_filled
from ledger.commands.money import record_money
from ledger.commands.registry import observe_registry
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import CommitSeen
from ledger.facts import Context, Fact, Observation
from ledger.keys import block_key, filled_key, submission_id
from ledger.observations import AlphaBurnSeen, EpochObserved, NetworkFeeSeen, TreasuryTransferSeen
from ledger.store.conflicts import FactConflictError
from ledger.store.logs import facts_of, head_of, position_at

SEEN_IN_BLOCKS: Final = (
    AlphaBurnSeen,
    CommitSeen,
    EpochObserved,
    NetworkFeeSeen,
    PaymentSeen,
    TreasuryTransferSeen,
)
"""The facts that only the block they are about can give."""


def compare_block(ledger: Ledger, facts: BlockFacts) -> list[str]:
    """What differs between the log and a block of it as it was read now, one sentence each.

    A recorded fact that says something else is recorded as a conflict.
    """
    offered = _facts_of_block(ledger, facts)
    differences: list[str] = []
    for fact in offered:
        known = ledger.known(fact.fact_key)
        if known is None:
            if isinstance(fact, Observation | CommitSeen | PaymentSeen) and not _was_left_out(fact):
                differences.append(f"'{fact.fact_key}' is not in the log")
        elif known.content() != fact.content():
            conflict = FactConflictError(known, fact)
            ledger.record_conflict(conflict)
            differences.append(str(conflict))
    keys = {fact.fact_key for fact in offered} | set(_keys_of_aggregates(ledger, facts))
    differences += [
        f"'{key}' is in the log and not in block {facts.number} as it was read now"
        for key in _recorded(ledger, facts)
        if key not in keys
    ]
    return differences


def _was_left_out(fact: Fact) -> bool:
    """Older programs noted none but the treasury's burns (``seen.alpha_burn.v1``)."""
    return isinstance(fact, AlphaBurnSeen) and not fact.by_treasury


def _facts_of_block(ledger: Ledger, facts: BlockFacts) -> list[Fact]:
    """What the block would add to the log. A payment or commit that is in it adds nothing."""
    context = Context(ledger.arena, ledger.head().effective_block)
    scratch = Unit(ledger, context, trusting=False, remembers=False)
    if ledger.known(filled_key(ledger.arena, facts.number)) is not None:
        observe_filled(scratch, facts)
    else:
        observe_registry(scratch, facts)
    record_money(scratch, facts)
    for commit in sorted(facts.commits, key=lambda found: found.order):
        record_commit(scratch, facts, commit)
    return scratch.facts


def _keys_of_aggregates(ledger: Ledger, facts: BlockFacts) -> list[str]:
    arena = ledger.arena
    # Behind another arena's treasury in the same extrinsic, it has the arena's subnet, too.
    payments = [
        f"payment:{arena.genesis}:{facts.hash}:{deposit.extrinsic_index}{further}"
        for deposit in facts.deposits
        for further in ("", f":{arena.netuid}")
    ]
    identities = (
        submission_id(arena, commit.hotkey, facts.number, commit.place, commit.payload)
        for commit in facts.commits
    )
    return [*payments, *(f"commit:{identity}" for identity in identities)]


def _recorded(ledger: Ledger, facts: BlockFacts) -> list[str]:
    """The keys of what the log has seen in the block, where it read it in its turn."""
    if ledger.known(block_key(ledger.arena, facts.number)) is None:
        return []
    with ledger.engine.connect() as connection:
        head = head_of(connection, ledger.arena)
        if head is None:
            return []
        after = position_at(connection, head.log_id, facts.number - 1)
        upto = position_at(connection, head.log_id, facts.number)
        return [
            logged.fact.fact_key
            for logged in facts_of(connection, head.log_id, after=after, upto=upto)
            if isinstance(logged.fact, SEEN_IN_BLOCKS) and logged.fact.block == facts.number
        ]
