"""A small season on the simulated chain, shared by its tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chain.lookup import next_sending
from chain.orders import StakeBurnOrder, WeightsOrder
from chain.port import Block, ChainEvent, Receipt, Sending
from chain.simulated import (
    Commit,
    Genesis,
    GenesisNeuron,
    Pay,
    Register,
    ScriptedExtrinsic,
    SimulatedChain,
    SwapColdkey,
    Transfer,
    account,
    paid_payload,
)

NETUID = 14
FEE_RAO = 100_000_000
TX_FEE_RAO = 124_000
TAO = 10**9
DIGEST = "sha256:" + "ab" * 32

OWNER_HOT, OWNER_COLD = account("owner hot"), account("owner cold")
VALIDATOR, VALIDATOR_COLD = account("validator"), account("validator cold")
M1, C1 = account("m1"), account("c1")
M2, C2 = account("m2"), account("c2")
M3, C3 = account("m3"), account("c3")
TREASURY, STRANGER = account("treasury"), account("stranger")

GENESIS = Genesis(
    name="test season",
    netuid=NETUID,
    owner_hotkey=OWNER_HOT,
    owner_coldkey=OWNER_COLD,
    balances_rao=dict.fromkeys((C1, C2, C3, TREASURY, STRANGER, OWNER_COLD), 10 * TAO),
    neurons=(
        GenesisNeuron(OWNER_HOT, OWNER_COLD),
        GenesisNeuron(VALIDATOR, VALIDATOR_COLD, validator_permit=True),
        GenesisNeuron(M1, C1),
        GenesisNeuron(M2, C2),
    ),
    pool_tao_rao=1_000 * TAO,
    pool_alpha=20_000 * TAO,
    epoch_alpha=10_000_000_007,
    tempo=6,
    max_uids=5,
    fee_rao=TX_FEE_RAO,
    weights_rate_limit_blocks=3,
    version_key=7,
)

Script = Mapping[int, Sequence[ScriptedExtrinsic]]


def pay(label: str = "pay", **changes: object) -> Pay:
    """M1's right payment, with what a test makes wrong about it."""
    right: dict[str, object] = {"coldkey": C1, "hotkey": M1, "digest": DIGEST, "treasury": TREASURY}
    return Pay(label=label, **{**right, **changes})  # type: ignore[arg-type]


SEASON: Script = {
    2: [pay(), Register(hotkey=M3, coldkey=C3)],
    4: [
        Commit(hotkey=M1, payload=paid_payload("ghcr.io/m1/engine", DIGEST, "pay"), reveal_at=9),
        Transfer(source=C2, destination=C3, rao=TAO),
    ],
    6: [pay("second", coldkey=C2, hotkey=M2), SwapColdkey(old=C1, new=account("c1 new"))],
    8: [Commit(hotkey=M2, payload=paid_payload("ghcr.io/m2/engine", DIGEST, "second"))],
    11: [Register(hotkey=account("m4"), coldkey=C2, replacing_uid=2)],
}


@contextmanager
def opened(
    folder: Path, script: Script | None = None, genesis: Genesis = GENESIS, name: str = "chain.db"
) -> Iterator[SimulatedChain]:
    """The chain of a test, in the file ``name`` of its folder."""
    with SimulatedChain(
        folder / name,
        genesis,
        script or {},
    ) as chain:
        yield chain


def everything(chain: SimulatedChain, upto: int) -> list[object]:
    """All that can be read of the first blocks, for comparing two chains."""
    seen: list[object] = []
    for number in range(chain.block(upto).number + 1):
        block = chain.block(number)
        seen += [
            block,
            chain.commits(block, NETUID),
            chain.epoch(block, NETUID),
            chain.neurons(NETUID, block.hash),
            chain.validator_weights(NETUID, block.hash),
            chain.supply(block.hash),
            [chain.balance_rao(who, block.hash) for who in (C1, C2, C3, TREASURY)],
            [chain.stake_alpha(who, NETUID, block.hash) for who in (C1, C2, OWNER_COLD)],
        ]
    return [*seen, dict(chain.labels)]


def events_of(block: Block, index: int | None, name: str) -> list[ChainEvent]:
    """Events called ``Module.Name`` of one extrinsic, or of the runtime for None."""
    return [
        event
        for event in block.events
        if event.extrinsic_index == index and f"{event.module}.{event.name}" == name
    ]


def set_weights(
    chain: SimulatedChain,
    uids: Sequence[int],
    values: Sequence[int],
    version_key: int = 7,
    netuid: int = NETUID,
) -> Receipt:
    """The validator's weights, sent through the port."""
    order = WeightsOrder(
        netuid=netuid, uids=tuple(uids), values=tuple(values), version_key=version_key
    )
    return chain.send(chain.prepare(order, next_sending(chain, VALIDATOR)))


def buy_and_burn(
    chain: SimulatedChain, netuid: int, amount_rao: int, max_price_rao: int, *, nonce: int
) -> Receipt:
    """The treasury's purchase on the validator's hotkey, sent through the port."""
    order = StakeBurnOrder(
        netuid=netuid, hotkey=VALIDATOR, amount_rao=amount_rao, max_price_rao=max_price_rao
    )
    sending = Sending(TREASURY, nonce, chain.finalized_head().number)
    return chain.send(chain.prepare(order, sending))
