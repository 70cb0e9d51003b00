"""Gaps: blocks that are not in the log, noted when they are passed and filled when they can be had.

A filled block is recorded late. Its facts happen at the head, as all facts do, and say in their own
fields which block they are about; its commits are judged by what is known now, so a payment that a
later commit took meanwhile stays taken. Who came to hold what in it is history and changes nobody's
place: the registry was observed anew after the gap.
"""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.commands.alerts import note_alert
from ledger.commands.block_facts import BlockFacts, Gap
from ledger.commands.commits import record_commit, record_sealed
from ledger.commands.earnings import record_earned
from ledger.commands.money import record_money
from ledger.commands.refunds import match_new_transfers
from ledger.commands.subnet import record_subnet
from ledger.decisions.base import DecisionRefusedError
from ledger.keys import block_key, filled_key, opening_key
from ledger.observations import BlockFilled, BlockObserved, GapObserved, OpeningObserved

Header = BlockObserved | BlockFilled | OpeningObserved
"""The facts that say which block the log has under a number."""


def note_gap(unit: Unit, gap: Gap, *, after: int, before: int) -> None:
    """Note that the log goes on at block ``before`` without the blocks since ``after``."""
    if (gap.from_block, gap.to_block) != (after + 1, before - 1) or gap.to_block < gap.from_block:
        msg = (
            f"a gap of blocks {gap.from_block} to {gap.to_block} does not lie between block "
            f"{after}, the log's newest, and block {before}"
        )
        raise DecisionRefusedError(msg)
    key = f"gap:{unit.context.arena}:{gap.from_block}:{gap.to_block}"
    unit.observe(
        GapObserved, key, from_block=gap.from_block, to_block=gap.to_block, reason=gap.reason
    )
    detail = (
        f"blocks {gap.from_block} to {gap.to_block} are not in the log: {gap.reason}; read on with "
        "a node that has them, such as an archive node"
    )
    note_alert(unit, "gap", detail)


def fill_block(ledger: Ledger, facts: BlockFacts) -> bool:
    """Record a block of a gap late; whether it was not filled before.

    Raises :class:`DecisionRefusedError` for a block that lies in no gap, and for one that does not
    fit its recorded neighbours.
    """

    def work(unit: Unit) -> bool:
        arena = unit.context.arena
        if unit.ledger.known(filled_key(arena, facts.number)) is not None:
            return False
        _must_fit(unit, facts)
        unit.because(_gap_of(unit, facts.number))
        filled = observe_filled(unit, facts)
        unit.because(filled)
        record_money(unit, facts)
        record_earned(unit, facts)
        match_new_transfers(unit)
        record_subnet(unit, facts)
        for commit in sorted(facts.commits, key=lambda found: found.order):
            record_commit(unit, facts, commit)
        for sealed in facts.sealed:
            record_sealed(unit, facts, sealed)
        return True

    return ledger.decide(work)


def observe_filled(unit: Unit, facts: BlockFacts) -> BlockFilled:
    """Note that a block was read late, with who came to hold what in it."""
    hotkey, coldkey = facts.subnet_owner or (None, None)
    return unit.observe(
        BlockFilled,
        filled_key(unit.context.arena, facts.number),
        number=facts.number,
        **facts.header(),
        uids=tuple(change.uid for change in facts.neurons),
        hotkeys=tuple(change.hotkey for change in facts.neurons),
        coldkeys=tuple(change.coldkey for change in facts.neurons),
        swapped_hotkeys=tuple(change.hotkey for change in facts.owners),
        old_coldkeys=tuple(change.old_coldkey for change in facts.owners),
        new_coldkeys=tuple(change.new_coldkey for change in facts.owners),
        owner_hotkey=hotkey,
        owner_coldkey=coldkey,
    )


def header_of(ledger: Ledger, number: int) -> Header | None:
    """What the log says of the block of that number; None where it does not have it."""
    for key in (block_key(ledger.arena, number), filled_key(ledger.arena, number)):
        found = ledger.known(key)
        if isinstance(found, BlockObserved | BlockFilled):
            return found
    opening = ledger.known(opening_key(ledger.arena))
    if isinstance(opening, OpeningObserved) and opening.number == number:
        return opening
    return None


def _gap_of(unit: Unit, number: int) -> GapObserved:
    gap = unit.ledger.newest(
        GapObserved, where=lambda found: found.from_block <= number <= found.to_block
    )
    if gap is None:
        msg = f"block {number} lies in no gap of the log, so it cannot be filled"
        raise DecisionRefusedError(msg)
    return gap


def _must_fit(unit: Unit, facts: BlockFacts) -> None:
    before = header_of(unit.ledger, facts.number - 1)
    after = header_of(unit.ledger, facts.number + 1)
    if before is not None and before.hash != facts.parent_hash:
        msg = (
            f"block {facts.number} follows {facts.parent_hash}, but block {before.number} is "
            f"recorded as {before.hash}; the node is on another chain"
        )
        raise DecisionRefusedError(msg)
    if after is not None and after.parent_hash != facts.hash:
        msg = (
            f"block {facts.number} is {facts.hash}, but block {after.number} is recorded as "
            f"following {after.parent_hash}; the node is on another chain"
        )
        raise DecisionRefusedError(msg)
