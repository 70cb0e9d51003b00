"""What a fact follows from, where a command has to look for it (ARCHITECTURE, causation).

Each function gives the context of a unit, with that cause; unchanged where the cause is not in the
log. A contest follows from the first challenger's acceptance only: the other entrants' own paths
are found by their submissions (:mod:`ledger.queries.why`).
"""

from __future__ import annotations

from uuid import UUID

from ledger.application import Unit
from ledger.decisions.arena import PolicyAdopted
from ledger.decisions.base import Aggregate
from ledger.facts import Context, Fact
from ledger.keys import block_key
from ledger.observations import TreasuryTransferSeen


def after(unit: Unit, aggregate: Aggregate) -> Context:
    """After the newest fact of ``aggregate``, also one that this unit is about to record."""
    return _because(unit, aggregate.last)


def after_block(unit: Unit) -> Context:
    """After the arena's newest block: what was found by looking at the state of the chain there."""
    return _after_key(unit, block_key(unit.context.arena, unit.block))


def after_acceptance(unit: Unit, submission: UUID) -> Context:
    """After the acceptance of a submission."""
    return _after_key(unit, f"accepted:{submission}")


def after_fingerprint(unit: Unit, submission: UUID) -> Context:
    """After the finding of a submission's content fingerprint."""
    return _after_key(unit, f"fingerprinted:{submission}")


def after_approval(unit: Unit, buyback: int) -> Context:
    """After the approval of the buyback of that number."""
    return _after_key(unit, f"buyback-approved:{unit.context.arena}:{buyback}")


def after_transfer(unit: Unit, extrinsic_hash: str) -> Context:
    """After the transfer out of the treasury in that extrinsic."""
    seen = unit.ledger.newest(
        TreasuryTransferSeen, where=lambda fact: fact.extrinsic_hash == extrinsic_hash
    )
    return _because(unit, seen)


def after_decision(unit: Unit, block: int) -> Context:
    """After the newest decision of the arena that the vector for ``block`` rests on.

    That is whatever changed who is paid: crowns, runners-up, depositions, pauses, and policies in
    force by then. Reading the arena makes the unit try again if one is recorded meanwhile.
    """
    arena = unit.arena
    for fact in unit.ledger.events.get(arena.id, desc=True):
        if not isinstance(fact, Fact) or fact.effective_block > block:
            continue
        if not isinstance(fact, PolicyAdopted) or fact.from_block <= block:
            return _because(unit, fact)
    return unit.context


def _after_key(unit: Unit, fact_key: str) -> Context:
    return _because(unit, unit.ledger.known(fact_key))


def _because(unit: Unit, fact: Fact | None) -> Context:
    return unit.context if fact is None else unit.context.because(fact)
