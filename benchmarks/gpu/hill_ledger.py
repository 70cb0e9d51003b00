"""A ledger for the king of the hill: an arena of a made-up chain, whose every block is settled.

Hashes, payments, commits and epochs follow from the block's number and the images alone, so that a
second ledger over the same bundles holds the same log. The chain pays each epoch by the vector that
the ledger itself had in force.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final
from uuid import UUID

from api.app import Services, open_services
from api.settings import Settings
from benchmarks.paid_commit import Paid, paid_commit
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.commands.block_facts import (
    BlockFacts,
    EpochPaid,
    NeuronChange,
    PoolSeen,
)
from ledger.commands.blocks import record_block
from ledger.keys import ArenaKey, submission_id
from ledger.policy import Policy
from ledger.queries.weights import vector_in_force

NETWORK: Final = "gpu-campaign"
NETUID: Final = 14
OPENED_AT: Final = 1_000
FIRST_BLOCK: Final = OPENED_AT + 1
"""In it everybody is registered."""
EPOCH_EVERY: Final = 10
"""Blocks between two epochs, at the blocks whose number this divides."""
EPOCH_ALPHA: Final = 148 * 10**9
"""What an epoch pays all miners together, in 10^-9 alpha."""
ALPHA_PRICE_RAO: Final = 50_000_000
OPERATOR: Final = "campaign"
ARENA: Final = ArenaKey("0x" + hashlib.sha256(b"cacheon gpu campaign").hexdigest(), NETUID)

OWNER: Final = (
    "5CfQvZM9XWaAFBpb3mPzwUvPzNPvGvLp3hTFnKgbnBuMg1vG",
    "5EyorE3KGAb3tCsr9Zb1oNyvaDBf73sGDSytDf6u4kv96UnW",
)
"""Hotkey and coldkey of the subnet's owner, whose UID burns; as all here of nobody's keys."""
MINERS: Final = {
    "K1": (
        "5Cgj32UkUXZYQphQzNrH17po9JdoggPVcWveGX3fKbyJRHbv",
        "5GcZFNRGswNKMsCv7naAE3cNB6ZG9igPqHgk9ra3G3A9vE6R",
    ),
    "K2": (
        "5FqUi71gxRbKnoRJq6EvX7XMUbAmWUdRDPzTmk4nH8jeezC9",
        "5FANSoEbvb2pNacqFFmUJ8eXKP8VjjogRuMjax13vhh4d2Dm",
    ),
    "K3": (
        "5FL71Q2tZT38uc2WT8Q3AgmmChoxeqzJL6EC8wwhWbALRSTn",
        "5Dnx3QNWLiGcSQgUQXUZ9qS2999QdeYnpQJjLerkSRLtH1Ho",
    ),
}
"""Hotkey and coldkey of each climber, in the order of their rounds."""
_EVERYBODY: Final = (OWNER, *MINERS.values())
"""By UID."""
NAME_OF: Final = {hotkey: name for name, (hotkey, _) in MINERS.items()}


class HillLedger:
    """The arena in one SQLite file; opened with its first block where it is not there."""

    def __init__(self, database: Path, policy: Policy) -> None:
        self.url = f"sqlite:///{database}"
        self.services: Services = open_services(Settings(database_url=self.url))
        self._fee = policy.fee
        self.ledger: Ledger = open_arena(
            self.services.engine,
            ARENA,
            network=NETWORK,
            at_block=OPENED_AT,
            policy=policy,
            actor=OPERATOR,
        )
        if self.head == OPENED_AT:
            self.block(
                neurons=tuple(
                    NeuronChange(uid, hotkey, coldkey, None)
                    for uid, (hotkey, coldkey) in enumerate(_EVERYBODY)
                ),
                subnet_owner=OWNER,
                pool=PoolSeen(10**15, 2 * 10**16, 10**16, ALPHA_PRICE_RAO),
            )

    def close(self) -> None:
        """Let go of the database."""
        self.services.close()

    def words(self) -> list[str]:
        """The options by which commands find this arena."""
        return ["--database", self.url, "--network", NETWORK, "--netuid", str(NETUID)]

    @property
    def head(self) -> int:
        """The newest block."""
        return self.ledger.head().effective_block

    def block(self, **content: object) -> int:
        """Record the next block, and its epoch where one ends there."""
        number = self.head + 1
        if number % EPOCH_EVERY == 0:
            content["epoch"] = self._epoch(number)
        facts = BlockFacts(
            number,
            block_hash(number),
            block_hash(number - 1),
            number * 12_000,
            1,
            **content,  # type: ignore[arg-type]  # its own fields by name
        )
        record_block(self.ledger, facts)
        return number

    def to_next_epoch(self) -> int:
        """Blocks up to the next one that ends an epoch; its number."""
        while True:
            number = self.block()
            if number % EPOCH_EVERY == 0:
                return number

    def submit(self, miner: str, digest: str) -> UUID:
        """A payment and a commit of this miner for the image, in two blocks."""
        hotkey, coldkey = MINERS[miner]
        image = f"ghcr.io/{miner.lower()}/engine:v1"
        paid = Paid(hotkey, coldkey, image, digest, self._fee.treasury_ss58, self._fee.fee_rao)
        number = self.head + 1
        tx = block_hash(number, "payment")
        deposit, commit = paid_commit(paid, number, block_hash(number), tx)
        self.block(deposits=(deposit,))
        at = self.block(commits=(commit,))
        return submission_id(ARENA, hotkey, at, commit.place, commit.payload)

    def _epoch(self, number: int) -> EpochPaid:
        """What the chain pays for the vector that was in force a block before."""
        with self.services.at(NETWORK, NETUID) as scope:
            vector = vector_in_force(scope)
        total = sum(vector.values)
        paid = {
            uid: EPOCH_ALPHA * value // total
            for uid, value in zip(vector.uids, vector.values, strict=True)
        }
        return EpochPaid(
            uids=tuple(range(len(_EVERYBODY))),
            hotkeys=tuple(hotkey for hotkey, _ in _EVERYBODY),
            coldkeys=tuple(coldkey for _, coldkey in _EVERYBODY),
            incentive_alpha=tuple(paid.get(uid, 0) for uid in range(len(_EVERYBODY))),
            dividends_alpha=(0,) * len(_EVERYBODY),
            previous_block=number - EPOCH_EVERY,
        )


def block_hash(number: int, what: str = "block") -> str:
    """The hash of a block of the made-up chain, or of something else in it."""
    return "0x" + hashlib.sha256(f"cacheon gpu campaign {what} {number}".encode()).hexdigest()
