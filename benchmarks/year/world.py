"""What all parts of the year share: chance, the calendar, made-up hashes, the block being made."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from benchmarks.year.memory import LedgerInMemory
from benchmarks.year.mix import ARENA, BLOCKS_PER_DAY, EPOCH_START_S, OPENED_AT, SECONDS_PER_BLOCK
from ledger.commands.block_facts import (
    AlphaBurned,
    BlockFacts,
    CommitFound,
    Deposit,
    EpochPaid,
    FeePaid,
    NeuronChange,
    OwnerChange,
    Withdrawal,
)
from ledger.units import PPM

SPEC_VERSION = 320


def made_hash(*parts: object) -> str:
    """A made-up hash: ``0x`` and 64 hex digits."""
    return "0x" + made_hex(*parts)


def made_hex(*parts: object) -> str:
    """64 made-up hex digits."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def block_hash(number: int) -> str:
    """The hash of a block."""
    return made_hash("block", number)


@dataclass(slots=True)
class Tick:
    """A block being made: what is in it, and what is decided once it is recorded."""

    number: int
    neurons: list[NeuronChange] = field(default_factory=list)
    owners: list[OwnerChange] = field(default_factory=list)
    deposits: list[Deposit] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    fees: list[FeePaid] = field(default_factory=list)
    burns: list[AlphaBurned] = field(default_factory=list)
    commits: list[CommitFound] = field(default_factory=list)
    epoch: EpochPaid | None = None
    then: list[Callable[[], None]] = field(default_factory=list)
    extrinsics: int = 0

    @property
    def hash(self) -> str:
        """Its block's hash."""
        return block_hash(self.number)

    def extrinsic(self) -> int:
        """The index of one more extrinsic; 0 is the timestamp's."""
        self.extrinsics += 1
        return self.extrinsics

    def facts(self) -> BlockFacts:
        """The block as the rim would hand it in."""
        return BlockFacts(
            number=self.number,
            hash=self.hash,
            parent_hash=block_hash(self.number - 1),
            timestamp_ms=seconds_at(self.number) * 1_000,
            spec_version=SPEC_VERSION,
            neurons=tuple(self.neurons),
            owners=tuple(self.owners),
            deposits=tuple(self.deposits),
            withdrawals=tuple(self.withdrawals),
            fees=tuple(self.fees),
            burns=tuple(self.burns),
            epoch=self.epoch,
            commits=tuple(self.commits),
        )


Action = Callable[[Tick], None]


def seconds_at(block: int) -> int:
    """The Unix time of a block."""
    return EPOCH_START_S + (block - OPENED_AT) * SECONDS_PER_BLOCK


class World:
    """Chance, the ledger, and what is due at which block."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  a year that is drawn, not a secret
        self.ledger = LedgerInMemory(ARENA)
        self._due: list[tuple[int, int, Action]] = []
        self._numbered = 0

    def at(self, block: int, action: Action) -> None:
        """Do something in the first recorded block that is not before ``block``."""
        self._numbered += 1
        heapq.heappush(self._due, (block, self._numbered, action))

    def every(self, blocks: int, action: Action, *, first: int | None = None) -> None:
        """Do something again and again."""

        due = OPENED_AT + blocks if first is None else first

        def again(tick: Tick) -> None:
            self.every(blocks, action, first=due + blocks)
            action(tick)

        self.at(due, again)

    def often(self, per_day: float, action: Action, *, since: int = OPENED_AT) -> None:
        """Do something by chance, so many times a day."""
        wait = 1 + int(self.random.expovariate(per_day / BLOCKS_PER_DAY))

        def again(tick: Tick) -> None:
            self.often(per_day, action, since=tick.number)
            action(tick)

        self.at(since + wait, again)

    def chance(self, ppm: int) -> bool:
        """True so many times in a million."""
        return self.random.randrange(PPM) < ppm

    def fill(self, tick: Tick) -> None:
        """Do what is due by this block."""
        while self._due and self._due[0][0] <= tick.number:
            heapq.heappop(self._due)[2](tick)
