"""A chain to live on without a network: the demo's season and the tests run against it."""

from chain.simulated.accounts import account
from chain.simulated.chain import SimulatedChain
from chain.simulated.genesis import Genesis, GenesisNeuron, ScriptError
from chain.simulated.script import (
    BuyAndBurn,
    Commit,
    Labels,
    Landed,
    LockStake,
    Pay,
    Register,
    ScriptedExtrinsic,
    SetPerpetualLock,
    SetSubnetOwner,
    SetWeights,
    SwapColdkey,
    SwapHotkey,
    Transfer,
    TrimUids,
    fee_remark,
    paid_payload,
)
from chain.simulated.world import Pool, Supply

__all__ = [
    "BuyAndBurn",
    "Commit",
    "Genesis",
    "GenesisNeuron",
    "Labels",
    "Landed",
    "LockStake",
    "Pay",
    "Pool",
    "Register",
    "ScriptError",
    "ScriptedExtrinsic",
    "SetPerpetualLock",
    "SetSubnetOwner",
    "SetWeights",
    "SimulatedChain",
    "Supply",
    "SwapColdkey",
    "SwapHotkey",
    "Transfer",
    "TrimUids",
    "account",
    "fee_remark",
    "paid_payload",
]
