"""Recording a finalized block: what it changed, what it paid, and its commits judged.

The rim gathers :class:`~ledger.commands.block_facts.BlockFacts` from a chain; :func:`record_block`
turns them into facts, all in one transaction: the block itself first, then who holds what, then
money, the subnet's own state, then commits in their order, each with its verdict. A commit whose
payment could not be looked up is recorded and deferred;
:func:`~ledger.commands.commits.judge_deferred` goes on with it.
"""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.commands.alerts import note_alert
from ledger.commands.block_facts import BlockFacts
from ledger.commands.commits import record_commit
from ledger.commands.money import record_money
from ledger.commands.registry import record_registry
from ledger.commands.subnet import record_subnet
from ledger.keys import block_key
from ledger.observations import BlockObserved


def record_block(ledger: Ledger, facts: BlockFacts) -> None:
    """Record one finalized block and everything in it; recording it again changes nothing.

    Raises ``FactConflictError`` (and records the alarm) for another block under a recorded number.
    """
    header = {
        "hash": facts.hash,
        "parent_hash": facts.parent_hash,
        "timestamp_ms": facts.timestamp_ms,
        "spec_version": facts.spec_version,
    }

    def work(unit: Unit) -> None:
        if facts.number <= unit.block:
            key = block_key(unit.context.arena, facts.number)
            if unit.ledger.known(key) is not None:
                unit.observe(BlockObserved, key, number=facts.number, **header)
            return
        block = unit.advance(facts.number, **header)
        unit.because(block)
        record_registry(unit, facts)
        record_money(unit, facts)
        record_subnet(unit, facts)
        for commit in sorted(facts.commits, key=lambda found: found.order):
            record_commit(unit, facts, commit)
        for kind, detail in facts.alerts:
            note_alert(unit, kind, detail)

    ledger.decide(work)
