"""The subnet: registrations, coldkey swaps, weights, and buying alpha to burn it."""

from __future__ import annotations

from collections.abc import Sequence

from chain.simulated.execution import DispatchError, Execution
from chain.simulated.pallets.balances import spend
from chain.simulated.world import Pool, Total, WeightsSet
from ledger.units import ALPHA_UNITS_PER_ALPHA, U16_MAX

MODULE = "SubtensorModule"


def burned_register(
    run: Execution, signer: str, netuid: int, hotkey: str, replacing_uid: int | None = None
) -> None:
    """Register a hotkey. The real chain picks whom to replace; here the script may name the UID.

    Registration itself costs nothing beyond the transaction fee.
    """
    _require_subnet(run, netuid)
    if run.world.uid_of(hotkey) is not None:
        raise DispatchError(f"{MODULE}.HotKeyAlreadyRegisteredInSubNet")
    if run.world.owner(hotkey) not in (None, signer):
        raise DispatchError(f"{MODULE}.NonAssociatedColdKey")
    uid = _lowest_free_uid(run) if replacing_uid is None else replacing_uid
    if replacing_uid is not None and run.world.hotkey_at(replacing_uid) is None:
        raise DispatchError(f"{MODULE}.NoNeuronIdAvailable")
    run.world.set_owner(hotkey, signer)
    run.world.set_neuron(uid, hotkey)
    run.emit_tuple(MODULE, "NeuronRegistered", netuid, uid, hotkey)


def swap_coldkey(
    run: Execution, signer: str, old_coldkey: str, new_coldkey: str, swap_cost: int
) -> None:
    """Hotkeys, stake, free balance and a subnet owned pass to the new coldkey."""
    if signer != old_coldkey:
        raise DispatchError("System.BadOrigin")
    if run.world.hotkeys_of(new_coldkey) or new_coldkey == old_coldkey:
        raise DispatchError(f"{MODULE}.ColdKeyAlreadyAssociated")
    for hotkey in run.world.hotkeys_of(old_coldkey):
        run.world.set_owner(hotkey, new_coldkey)
    run.world.move_stakes(old_coldkey, new_coldkey)
    rao = run.world.balance_rao(old_coldkey)
    run.world.change_balance(old_coldkey, -rao)
    run.world.change_balance(new_coldkey, rao)
    owner_hotkey, owner_coldkey = run.world.subnet_owner()
    if owner_coldkey == old_coldkey:
        run.world.set_subnet_owner(owner_hotkey, new_coldkey)
    run.emit(
        MODULE,
        "ColdkeySwapped",
        old_coldkey=old_coldkey,
        new_coldkey=new_coldkey,
        swap_cost=swap_cost,
    )


def swap_hotkey(run: Execution, signer: str, hotkey: str, new_hotkey: str) -> None:
    """A hotkey's UID passes to another of the same coldkey. Stake stays where it is (simplified).

    As on the real chain no ``NeuronRegistered`` tells of it.
    """
    uid = run.world.uid_of(hotkey)
    if uid is None or run.world.owner(hotkey) != signer:
        raise DispatchError(f"{MODULE}.NonAssociatedColdKey")
    if run.world.uid_of(new_hotkey) is not None:
        raise DispatchError(f"{MODULE}.HotKeyAlreadyRegisteredInSubNet")
    if run.world.owner(new_hotkey) not in (None, signer):
        raise DispatchError(f"{MODULE}.NonAssociatedColdKey")
    run.world.set_owner(new_hotkey, signer)
    run.world.swap_neuron(uid, new_hotkey)
    run.emit(MODULE, "HotkeySwapped", coldkey=signer, old_hotkey=hotkey, new_hotkey=new_hotkey)


def trim_to_max_allowed_uids(run: Execution, netuid: int, max_n: int) -> None:
    """Root empties the UIDs from ``max_n`` on. The real one drops the least paid and moves the rest
    to the left; neither tells of it by an event."""
    _require_subnet(run, netuid)
    for neuron in run.world.neurons():
        if neuron.uid >= max_n:
            run.world.empty_neuron(neuron.uid)


def set_subnet_owner(run: Execution, netuid: int, hotkey: str, coldkey: str) -> None:
    """Root gives the subnet to another owner (a simplification: a real one passes by lock or swap).

    A hotkey that has an owner keeps it; call and event ``SubnetOwnerChanged`` are simulated.
    """
    _require_subnet(run, netuid)
    if run.world.owner(hotkey) is None:
        run.world.set_owner(hotkey, coldkey)
    run.world.set_subnet_owner(hotkey, coldkey)
    run.emit(MODULE, "SubnetOwnerChanged", netuid=netuid, hotkey=hotkey, coldkey=coldkey)


def set_weights(
    run: Execution,
    signer: str,
    netuid: int,
    dests: Sequence[int],
    weights: Sequence[int],
    version_key: int,
) -> None:
    """Keep a validator's weights, u16 by UID. A UID that is replaced later keeps its weight."""
    _require_subnet(run, netuid)
    uid = run.world.uid_of(signer)
    if uid is None:
        raise DispatchError(f"{MODULE}.HotKeyNotRegisteredInSubNet")
    if not run.world.has_permit(uid):
        raise DispatchError(f"{MODULE}.NeuronNoValidatorPermit")
    if version_key != run.genesis.version_key:
        raise DispatchError(f"{MODULE}.IncorrectWeightVersionKey")
    before = run.world.weights(uid)
    if before is not None and run.number - before.block < run.genesis.weights_rate_limit_blocks:
        raise DispatchError(f"{MODULE}.SettingWeightsTooFast")
    if len(dests) != len(weights):
        raise DispatchError(f"{MODULE}.WeightVecNotEqualSize")
    if len(set(dests)) != len(dests):
        raise DispatchError(f"{MODULE}.DuplicateUids")
    if any(run.world.hotkey_at(dest) is None for dest in dests):
        raise DispatchError(f"{MODULE}.UidVecContainInvalidOne")
    # Stricter than the runtime, which scales up by itself: the port promises the canonical form.
    if max(weights, default=0) != U16_MAX or min(weights) < 0:
        raise DispatchError(f"{MODULE}.MaxWeightExceeded")
    nonzero = tuple((dest, value) for dest, value in zip(dests, weights, strict=True) if value)
    run.world.set_weights(uid, WeightsSet(run.number, tuple(sorted(nonzero))))
    run.emit_tuple(MODULE, "WeightsSet", netuid, uid)


def add_stake_burn(
    run: Execution, signer: str, netuid: int, hotkey: str, amount: int, limit: int
) -> None:
    """Buy alpha for ``amount`` rao and burn it. Constant product, no pool fee, alpha floored.

    Fails when the pool's price after the purchase would exceed ``limit`` rao per whole alpha; it
    bounds the price paid from above. What is burned never becomes stake.
    """
    _require_subnet(run, netuid)
    alpha = _buy(run, signer, amount, limit)
    run.world.add_total(Total.BOUGHT_BURNED_ALPHA, alpha)
    run.emit(MODULE, "AddStakeBurn", netuid=netuid, hotkey=hotkey, amount=amount, alpha=alpha)
    run.emit_tuple(MODULE, "AlphaBurned", signer, hotkey, alpha, netuid)


def add_stake_limit(
    run: Execution,
    signer: str,
    netuid: int,
    hotkey: str,
    amount_staked: int,
    limit_price: int,
    allow_partial: bool,
) -> None:
    """Buy alpha for ``amount_staked`` rao and stake it, all of it or nothing.

    As :func:`add_stake_burn` for the price. Filling an order in part is not simulated.
    """
    _require_subnet(run, netuid)
    if allow_partial:
        raise DispatchError("System.CallFiltered")
    if run.world.owner(hotkey) is None:
        raise DispatchError(f"{MODULE}.HotKeyAccountNotExists")
    alpha = _buy(run, signer, amount_staked, limit_price)
    run.world.add_stake(signer, hotkey, alpha)
    run.emit_tuple(MODULE, "StakeAdded", signer, hotkey, amount_staked, alpha, netuid, 0)


def burn_alpha(run: Execution, signer: str, hotkey: str, amount: int, netuid: int) -> None:
    """Burn alpha that the signer has staked on a hotkey of its own."""
    _require_subnet(run, netuid)
    if run.world.owner(hotkey) != signer:
        raise DispatchError(f"{MODULE}.NonAssociatedColdKey")
    if not 0 < amount <= run.world.stake_on(signer, hotkey):
        raise DispatchError(f"{MODULE}.NotEnoughStakeToWithdraw")
    run.world.add_stake(signer, hotkey, -amount)
    run.world.add_total(Total.BOUGHT_BURNED_ALPHA, amount)
    run.emit_tuple(MODULE, "AlphaBurned", signer, hotkey, amount, netuid)


def _buy(run: Execution, signer: str, amount_rao: int, limit_price: int) -> int:
    """Take TAO from the signer for alpha of the pool; how much alpha that is."""
    pool = run.world.pool()
    alpha = pool.alpha * amount_rao // (pool.tao_rao + amount_rao) if amount_rao > 0 else 0
    if alpha == 0:
        raise DispatchError(f"{MODULE}.AmountTooLow")
    after = Pool(pool.tao_rao + amount_rao, pool.alpha - alpha)
    if after.tao_rao * ALPHA_UNITS_PER_ALPHA > limit_price * after.alpha:
        raise DispatchError(f"{MODULE}.SlippageTooHigh")
    spend(run, signer, amount_rao)
    run.world.set_pool(after)
    return alpha


def _require_subnet(run: Execution, netuid: int) -> None:
    if netuid != run.genesis.netuid:
        raise DispatchError(f"{MODULE}.SubnetNotExists")


def _lowest_free_uid(run: Execution) -> int:
    held = {neuron.uid for neuron in run.world.neurons()}
    free = next((uid for uid in range(run.genesis.max_uids) if uid not in held), None)
    if free is None:
        raise DispatchError(f"{MODULE}.NoNeuronIdAvailable")
    return free
