"""Recording who holds what: UIDs, their hotkeys and coldkeys, and the subnet's owner."""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.commands.block_facts import BlockFacts, OpeningState
from ledger.commands.thrones import vacate
from ledger.keys import opening_key
from ledger.observations import (
    NeuronObserved,
    OpeningObserved,
    OwnerChanged,
    SubnetOwnerObserved,
    UidEmptied,
)


def record_opening(ledger: Ledger, state: OpeningState) -> None:
    """Record the state an arena opened with; recording it again changes nothing."""

    def work(unit: Unit) -> None:
        facts = BlockFacts(
            number=unit.block,
            hash=state.block_hash,
            parent_hash=state.parent_hash,
            timestamp_ms=state.timestamp_ms,
            spec_version=state.spec_version,
            neurons=state.neurons,
            subnet_owner=state.subnet_owner,
        )
        key = opening_key(unit.context.arena)
        unit.observe(OpeningObserved, key, number=unit.block, **facts.header())
        record_registry(unit, facts)

    ledger.decide(work)


def record_registry(unit: Unit, facts: BlockFacts) -> None:
    """Record who came to hold what in a block, and take the places of whoever left."""
    observe_registry(unit, facts)
    emptied = facts.seen_anew.emptied if facts.seen_anew else ()
    came = {change.hotkey for change in facts.neurons}
    gone = {change.replaced_hotkey for change in facts.neurons} | {one.hotkey for one in emptied}
    left = gone - came - {None}
    if left:
        vacate(unit, lambda hotkey: hotkey in left)


def observe_registry(unit: Unit, facts: BlockFacts) -> None:
    """The same without what follows for kings and runners-up."""
    arena = unit.context.arena
    for change in facts.neurons:
        unit.observe(
            NeuronObserved,
            f"neuron:{arena}:{facts.number}:{change.uid}",
            block=facts.number,
            uid=change.uid,
            hotkey=change.hotkey,
            coldkey=change.coldkey,
            replaced_hotkey=change.replaced_hotkey,
        )
    for one in facts.seen_anew.emptied if facts.seen_anew else ():
        unit.observe(
            UidEmptied,
            f"uid-emptied:{arena}:{facts.number}:{one.uid}",
            block=facts.number,
            uid=one.uid,
            hotkey=one.hotkey,
        )
    for owner in facts.owners:
        unit.observe(
            OwnerChanged,
            f"owner:{arena}:{facts.number}:{owner.hotkey}",
            block=facts.number,
            hotkey=owner.hotkey,
            old_coldkey=owner.old_coldkey,
            new_coldkey=owner.new_coldkey,
        )
    if facts.subnet_owner is not None:
        hotkey, coldkey = facts.subnet_owner
        unit.observe(
            SubnetOwnerObserved,
            f"subnet-owner:{arena}:{facts.number}",
            block=facts.number,
            hotkey=hotkey,
            coldkey=coldkey,
        )
