"""Recording who holds what: UIDs, their hotkeys and coldkeys, and the subnet's owner."""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.commands.block_facts import BlockFacts, OpeningState
from ledger.commands.thrones import vacate
from ledger.observations import NeuronObserved, OwnerChanged, SubnetOwnerObserved


def record_opening(ledger: Ledger, state: OpeningState) -> None:
    """Record the state an arena opened with; recording it again changes nothing."""

    def work(unit: Unit) -> None:
        facts = BlockFacts(
            number=unit.block,
            hash=state.block_hash,
            parent_hash="",
            timestamp_ms=None,
            spec_version=0,
            neurons=state.neurons,
            subnet_owner=state.subnet_owner,
        )
        record_registry(unit, facts)

    ledger.decide(work)


def record_registry(unit: Unit, facts: BlockFacts) -> None:
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
    came = {change.hotkey for change in facts.neurons}
    left = {change.replaced_hotkey for change in facts.neurons} - came - {None}
    if left:
        vacate(unit, lambda hotkey: hotkey in left)
