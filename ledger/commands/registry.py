"""Recording who holds what: UIDs, their hotkeys and coldkeys, and the subnet's owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.application import Ledger, Unit
from ledger.commands.block_facts import (
    BlockFacts,
    EmptiedUid,
    NeuronChange,
    OpeningState,
    OwnerChange,
)
from ledger.commands.subnet import record_held, record_pool
from ledger.commands.thrones import vacate
from ledger.keys import opening_key
from ledger.observations import (
    NeuronObserved,
    OpeningObserved,
    OwnerChanged,
    SubnetOwnerObserved,
    UidEmptied,
)

Registry = Mapping[int, tuple[str, str]]
"""Hotkey and coldkey by UID."""


@dataclass(frozen=True, slots=True)
class RegistryChanges:
    """What leads from one state of the registry to another, each by UID."""

    neurons: tuple[NeuronChange, ...] = ()
    emptied: tuple[EmptiedUid, ...] = ()
    owners: tuple[OwnerChange, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.neurons or self.emptied or self.owners)


def changes_between(before: Registry, after: Registry) -> RegistryChanges:
    """The facts that turn the registry ``before`` into ``after``.

    A UID that changed hands twice in between changed once: to who holds it in the end. A hotkey
    swapped for another is the other's coming and its own going, for a place belongs to a hotkey.
    """
    neurons = [
        NeuronChange(uid, hotkey, coldkey, before[uid][0] if uid in before else None)
        for uid, (hotkey, coldkey) in sorted(after.items())
        if uid not in before or before[uid][0] != hotkey
    ]
    owners = [
        OwnerChange(hotkey, before[uid][1], coldkey)
        for uid, (hotkey, coldkey) in sorted(after.items())
        if uid in before and before[uid][0] == hotkey and before[uid][1] != coldkey
    ]
    emptied = [EmptiedUid(uid, before[uid][0]) for uid in sorted(before.keys() - after.keys())]
    return RegistryChanges(tuple(neurons), tuple(emptied), tuple(owners))


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
        for held in state.weights:
            record_held(unit, unit.block, held)
        if state.pool is not None:
            record_pool(unit, unit.block, state.pool)

    ledger.decide(work)


def record_registry(unit: Unit, facts: BlockFacts) -> None:
    """Record who came to hold what in a block, and take the places of whoever left."""
    observe_registry(unit, facts)
    came = {change.hotkey for change in facts.neurons}
    replaced = {change.replaced_hotkey for change in facts.neurons}
    left = (replaced | {gone.hotkey for gone in facts.emptied}) - came - {None}
    if left:
        vacate(unit, lambda hotkey: hotkey in left)


def observe_registry(unit: Unit, facts: BlockFacts) -> None:
    """The same without what follows for kings and runners-up."""
    arena = unit.context.arena
    for gone in facts.emptied:
        unit.observe(
            UidEmptied,
            f"uid-emptied:{arena}:{facts.number}:{gone.uid}",
            block=facts.number,
            uid=gone.uid,
            hotkey=gone.hotkey,
        )
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
