"""A simulated chain, a ledger that follows it, and what the tests of both need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from api.app import Services, open_services
from api.following import Follower
from api.settings import Settings
from chain.port import Chain
from chain.publish import WeightPublisher
from chain.simulated import Genesis, GenesisNeuron, ScriptedExtrinsic, SimulatedChain, account
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import WeightsReceipt
from ledger.policy import Policy, parse_policy_toml
from ledger.queries.weights import (
    burn_uid_eligible,
    policy_in_force,
    vector_in_force,
)
from tests.contract.stores import sqlite_copy

NETUID = 14
NETWORK = "test"
TAO = 10**9
OPENS_AT = 100

OWNER, OWNER_COLD = account("owner"), account("owner cold")
VALIDATOR, VALIDATOR_COLD = account("validator"), account("validator cold")
MINER, MINER_COLD = account("miner"), account("miner cold")
TREASURY = account("treasury")
DIGEST = "sha256:" + "ab" * 32

POLICY = f"""
name = "test"
[fee]
treasury_ss58 = "{TREASURY}"
[weights]
stale_after_blocks = 20
rate_limit_blocks = 3
max_ingest_lag_blocks = 5
[tracks.one]
model = "m"
[tracks.one.emission]
phase = "king_takes_all"
[tracks.one.scoring]
formula = "v2"
"""


def policy() -> Policy:
    return parse_policy_toml(POLICY)


def genesis() -> Genesis:
    return Genesis(
        name="following",
        netuid=NETUID,
        owner_hotkey=OWNER,
        owner_coldkey=OWNER_COLD,
        balances_rao=dict.fromkeys((OWNER_COLD, MINER_COLD, TREASURY, VALIDATOR_COLD), 10 * TAO),
        neurons=(
            GenesisNeuron(OWNER, OWNER_COLD),
            GenesisNeuron(VALIDATOR, VALIDATOR_COLD, validator_permit=True),
            GenesisNeuron(MINER, MINER_COLD),
        ),
        pool_tao_rao=1_000 * TAO,
        pool_alpha=20_000 * TAO,
        epoch_alpha=1_000_000_000,
        tempo=6,
        max_uids=5,
        weights_rate_limit_blocks=2,
        version_key=7,
        start_block=OPENS_AT,
    )


@dataclass(slots=True)
class Following:
    """One arena, its chain, and what happens on both."""

    services: Services
    chain: SimulatedChain
    ledger: Ledger
    follower: Follower

    def advance(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.chain.advance()
        self.follower.catch_up()

    def publisher(self) -> WeightPublisher:
        chain = _as_chain(self.chain)
        return WeightPublisher(chain, chain, self.ledger, validator_hotkey=VALIDATOR)

    def publish(self) -> WeightsReceipt | None:
        with self.services.at(NETWORK, NETUID) as scope:
            vector, rules = vector_in_force(scope), policy_in_force(scope).weights
            eligible = burn_uid_eligible(scope)
        return self.publisher().publish(vector, rules, burn_uid_eligible=eligible).receipt


def follow(
    folder: Path,
    script: Mapping[int, Sequence[ScriptedExtrinsic]],
    *,
    lacks: Collection[str] = (),
    rules: str = POLICY,
) -> Following:
    """Open an arena at the chain's first block and read it; the runtime ``lacks`` some calls."""
    chain = SimulatedChain(folder / "chain.db", genesis(), script, lacks=lacks)
    services = open_services(Settings(database_url=f"sqlite:///{sqlite_copy(folder, 'ledger.db')}"))
    ledger = open_arena(
        services.engine,
        ArenaKey(chain.genesis_hash(), NETUID),
        network=NETWORK,
        at_block=OPENS_AT,
        policy=parse_policy_toml(rules),
        actor="test",
    )
    follower = Follower(services, _as_chain(chain), NETWORK, NETUID)
    follower.catch_up()
    return Following(services, chain, ledger, follower)


def _as_chain(chain: SimulatedChain) -> Chain:
    return chain
