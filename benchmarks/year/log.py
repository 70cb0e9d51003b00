"""The year's facts, in the order in which they would be recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.year.contests import Contests
from benchmarks.year.mix import ARENA, BLOCKS_PER_100_TICKS, NETWORK, OPENED_AT
from benchmarks.year.money import Money
from benchmarks.year.submissions import Submissions
from benchmarks.year.subnet import Subnet
from benchmarks.year.world import Tick, World, block_hash
from ledger.application import Unit
from ledger.commands.blocks import record_block
from ledger.commands.registry import record_opening
from ledger.facts import Context, Fact
from ledger.keys import block_key
from ledger.observations import BlockObserved
from ledger.policies import load
from ledger.policy import parse_policy_toml

SEED: Final = 14
FEWEST_EVENTS: Final = 300
"""The opening alone, with its 256 UIDs, is 258."""


def year(events: int, seed: int = SEED) -> Iterator[Fact]:
    """Exactly so many facts of one arena, the same for the same seed.

    The log of fewer events is the beginning of that of more, but for its last few, which are bare
    blocks where all that happens in the next one would be too much.
    """
    if events < FEWEST_EVENTS:
        msg = f"a year has at least {FEWEST_EVENTS} events, not {events}"
        raise ValueError(msg)
    left = events
    last = OPENED_AT
    for facts in _transactions(seed):
        if len(facts) > left:
            break
        yield from facts
        left -= len(facts)
        last = facts[-1].effective_block
    yield from (_bare_block(last + 1 + place) for place in range(left))


def _bare_block(number: int) -> Fact:
    facts = Tick(number).facts()
    return BlockObserved.seen(
        Context(ARENA, number),
        block_key(ARENA, number),
        number=number,
        hash=facts.hash,
        parent_hash=facts.parent_hash,
        timestamp_ms=facts.timestamp_ms,
        spec_version=facts.spec_version,
    )


def _transactions(seed: int) -> Iterator[list[Fact]]:
    """The facts of one recorded block after the other, for ever."""
    world = World(seed)
    subnet = Subnet(world)
    submissions = Submissions(world, subnet)
    Contests(world, subnet, submissions)
    Money(world)
    ledger = world.ledger
    policy = parse_policy_toml(load("phase3"))

    def opening(unit: Unit) -> None:
        unit.arena.open(unit.context, NETWORK, policy, "year", at_block=OPENED_AT)

    ledger.decide(opening, opening_at=OPENED_AT)
    record_opening(ledger, subnet.opening(block_hash(OPENED_AT)))
    yield ledger.taken()
    ticks = 0
    while True:
        ticks += 1
        tick = Tick(OPENED_AT + ticks * BLOCKS_PER_100_TICKS // 100)
        world.fill(tick)
        record_block(ledger, tick.facts())
        for work in tick.then:
            work()
        yield ledger.taken()
