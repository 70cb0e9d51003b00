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
from ledger.commands.commits import record_commit, record_sealed
from ledger.commands.earnings import record_earned
from ledger.commands.expiry import expire_payments
from ledger.commands.gaps import note_gap
from ledger.commands.money import note_balances, record_money
from ledger.commands.refunds import match_new_transfers
from ledger.commands.registry import record_registry
from ledger.commands.subnet import record_subnet
from ledger.keys import block_key
from ledger.observations import BlockObserved


def record_block(ledger: Ledger, facts: BlockFacts) -> None:
    """Record one finalized block and everything in it; recording it again changes nothing.

    With the block after a gap goes the gap. Raises ``FactConflictError`` (and records the alarm)
    for another block under a recorded number, and ``DecisionRefusedError`` for a gap that does not
    lie between the log's newest block and this one.
    """
    header = facts.header()

    def work(unit: Unit) -> None:
        if facts.number <= unit.block:
            key = block_key(unit.context.arena, facts.number)
            if unit.ledger.known(key) is not None:
                unit.observe(BlockObserved, key, number=facts.number, **header)
            return
        before = unit.block
        block = unit.advance(facts.number, **header)
        unit.because(block)
        anew = facts.seen_anew
        if anew is not None and anew.gap is not None:
            note_gap(unit, anew.gap, after=before, before=facts.number)
        if facts.upgraded_from is not None:
            detail = (
                f"the runtime is of version {facts.spec_version} from block {facts.number} on, "
                f"and was of version {facts.upgraded_from}"
            )
            note_alert(unit, "runtime_upgraded", detail)
        record_registry(unit, facts)
        record_money(unit, facts)
        record_earned(unit, facts)
        match_new_transfers(unit)
        if anew is not None:
            note_balances(unit, anew.balances, about_block=facts.number)
            if anew.unknown:
                note_alert(unit, "balance_unknown", "; ".join(anew.unknown))
        record_subnet(unit, facts)
        for commit in sorted(facts.commits, key=lambda found: found.order):
            record_commit(unit, facts, commit)
        for sealed in facts.sealed:
            record_sealed(unit, facts, sealed)
        expire_payments(unit, before=before)
        for kind, detail in facts.alerts:
            note_alert(unit, kind, detail)

    ledger.decide(work)
