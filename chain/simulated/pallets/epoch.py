"""What an epoch pays, in whole alpha units (10^-9)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chain.port import EpochRow
from chain.simulated.execution import Execution
from chain.simulated.world import LatestEpoch, Total
from ledger.units import U16_MAX

OWNER_CUT_U16 = 11_796
"""The owner's part of emission in 65,535ths (DOMAIN 3)."""


@dataclass(frozen=True, slots=True)
class EpochSplit:
    """One epoch's emission: owner cut + incentive + dividends + unpaid = the whole."""

    owner_cut_alpha: int
    incentive_alpha: Mapping[int, int]
    dividends_alpha: Mapping[int, int]
    unpaid_alpha: int


def split_emission(
    emission_alpha: int,
    weights_of_validators: Sequence[Sequence[tuple[int, int]]],
    validator_uids: Collection[int],
) -> EpochSplit:
    """Divide an epoch's emission.

    The owner gets floor(emission x 11796 / 65535); of the rest, half (floored) is the miners' and
    the other half the validators'. Every validator that has set weights directs an equal part of
    the miners' half, by its own weights; all validators with a permit share the other half equally.
    Every part is floored. What the floors leave over, a half without anybody to take it and the
    miners' half when nobody has set weights are paid to nobody: the unpaid part. (Real consensus
    goes by stake; with one validator, as in a season, the outcome is the same.)
    """
    owner_cut = emission_alpha * OWNER_CUT_U16 // U16_MAX
    miners = (emission_alpha - owner_cut) // 2
    validators = emission_alpha - owner_cut - miners

    incentive: dict[int, int] = {}
    for weights in weights_of_validators:
        directed = miners // len(weights_of_validators)
        total = sum(value for _, value in weights)
        for uid, value in weights:
            incentive[uid] = incentive.get(uid, 0) + directed * value // total
    dividends = {uid: validators // len(validator_uids) for uid in validator_uids}
    paid = owner_cut + sum(incentive.values()) + sum(dividends.values())
    return EpochSplit(owner_cut, incentive, dividends, emission_alpha - paid)


def run_epoch(run: Execution) -> None:
    """Before a block's extrinsics, where the tempo says so: pay out and keep the rows.

    The incentive of a UID whose holder or holder's coldkey is the subnet owner's stands in its row
    and is burned instead of staked (DOMAIN 5, ``withheld``). Event ``EpochRan`` is simulated.
    """
    if not run.genesis.epoch_runs_at(run.number):
        return
    world = run.world
    neurons = world.neurons()
    permitted = [neuron.uid for neuron in neurons if world.has_permit(neuron.uid)]
    held = [set_.weights for uid in permitted if (set_ := world.weights(uid)) is not None]
    split = split_emission(run.genesis.epoch_alpha, held, permitted)

    owner_hotkey, owner_coldkey = world.subnet_owner()
    world.add_stake(owner_coldkey, owner_hotkey, split.owner_cut_alpha)
    burned = 0
    rows = []
    for neuron in neurons:
        incentive = split.incentive_alpha.get(neuron.uid, 0)
        dividends = split.dividends_alpha.get(neuron.uid, 0)
        rows.append(EpochRow(neuron.uid, neuron.hotkey, neuron.coldkey, incentive, dividends))
        staked = incentive + dividends
        if neuron.hotkey == owner_hotkey or neuron.coldkey == owner_coldkey:
            burned += incentive
            staked = dividends
        if staked:
            world.add_stake(neuron.coldkey, neuron.hotkey, staked)
    world.add_total(Total.INCENTIVE_BURNED_ALPHA, burned)
    world.add_total(Total.UNPAID_ALPHA, split.unpaid_alpha)
    world.set_epoch(LatestEpoch(run.number, tuple(rows), split.owner_cut_alpha))
    run.emit(
        "SubtensorModule",
        "EpochRan",
        netuid=run.genesis.netuid,
        emission=run.genesis.epoch_alpha,
        owner_cut=split.owner_cut_alpha,
        incentive_burned=burned,
        unpaid=split.unpaid_alpha,
    )
