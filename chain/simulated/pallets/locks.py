"""Conviction locks: alpha of a stake tied to a hotkey (DOMAIN 6), rolled forward at each touch."""

from __future__ import annotations

from chain.port import StakeLock
from chain.simulated.execution import DispatchError, Execution
from ledger.rules.conviction import LOCK_RATE_BLOCKS, LockState, roll_forward

MODULE = "SubtensorModule"


def lock_stake(run: Execution, signer: str, hotkey: str, netuid: int, amount: int) -> None:
    """Lock alpha, or add to the lock there is, which must be of the same hotkey."""
    before = run.world.stake_lock(signer)
    if netuid != run.genesis.netuid:
        raise DispatchError(f"{MODULE}.SubnetNotExists")
    if before is not None and before.hotkey != hotkey:
        raise DispatchError(f"{MODULE}.LockHotkeyMismatch")
    rolled = _rolled(run, before)
    if amount <= 0 or run.world.stake_alpha(signer) < rolled.locked_alpha + amount:
        raise DispatchError(f"{MODULE}.NotEnoughStakeToWithdraw")
    perpetual = before is not None and before.perpetual
    locked = LockState(rolled.locked_alpha + amount, rolled.conviction_alpha)
    _keep(run, signer, hotkey, locked, perpetual=perpetual)
    run.emit(MODULE, "StakeLocked", coldkey=signer, hotkey=hotkey, netuid=netuid, amount=amount)


def set_perpetual_lock(run: Execution, signer: str, netuid: int, enabled: bool) -> None:
    """From now on the coldkey's lock decays no more, or again."""
    before = run.world.stake_lock(signer)
    if before is None or netuid != run.genesis.netuid:
        raise DispatchError(f"{MODULE}.NoExistingLock")
    _keep(run, signer, before.hotkey, _rolled(run, before), perpetual=enabled)
    run.emit(MODULE, "PerpetualLockUpdated", coldkey=signer, netuid=netuid, enabled=enabled)


def _rolled(run: Execution, lock: StakeLock | None) -> LockState:
    if lock is None:
        return LockState(0, 0)
    return roll_forward(
        LockState(lock.locked_alpha, lock.conviction_alpha),
        run.number - lock.last_update,
        perpetual=lock.perpetual,
        unlock_blocks=lock.unlock_blocks,
        maturity_blocks=lock.maturity_blocks,
    )


def _keep(run: Execution, coldkey: str, hotkey: str, state: LockState, *, perpetual: bool) -> None:
    lock = StakeLock(
        coldkey=coldkey,
        hotkey=hotkey,
        locked_alpha=state.locked_alpha,
        conviction_alpha=state.conviction_alpha,
        last_update=run.number,
        perpetual=perpetual,
        unlock_blocks=LOCK_RATE_BLOCKS,
        maturity_blocks=LOCK_RATE_BLOCKS,
    )
    run.world.set_stake_lock(lock)
