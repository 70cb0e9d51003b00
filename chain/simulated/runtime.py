"""Carrying out a call: which pallet answers it, and how batches treat a failure among them."""

from __future__ import annotations

from chain.port import Call
from chain.simulated.execution import DispatchError, Execution
from chain.simulated.pallets import balances, commitments, locks, subtensor

WITHOUT_FEE = frozenset({"Commitments.set_commitment", "SubtensorModule.set_weights"})
"""Calls the real runtime does not charge a transaction fee for."""


def dispatch(run: Execution, signer: str | None, call: Call) -> None:
    """Carry out a call; raises :class:`DispatchError` and may then have written half of it.

    A ``signer`` of None is the runtime or root. Callers run it inside ``run.transaction()``.
    """
    args = dict(call.args)
    match call.name, signer:
        case "Timestamp.set", None:
            pass  # the block's time is part of the block, not of the state
        case "AdminUtils.sudo_set_subnet_owner", None:
            subtensor.set_subnet_owner(run, **args)
        case "AdminUtils.sudo_trim_to_max_allowed_uids", None:
            subtensor.trim_to_max_allowed_uids(run, **args)
        case "System.remark", str():
            pass  # a remark is only written down
        case "Balances.transfer_keep_alive", str():
            balances.transfer_keep_alive(run, signer, **args)
        case "Commitments.set_commitment", str():
            commitments.set_commitment(run, signer, **args)
        case "SubtensorModule.burned_register", str():
            subtensor.burned_register(run, signer, **args)
        case "SubtensorModule.swap_coldkey", str():
            subtensor.swap_coldkey(run, signer, **args)
        case "SubtensorModule.swap_hotkey", str():
            subtensor.swap_hotkey(run, signer, **args)
        case "SubtensorModule.lock_stake", str():
            locks.lock_stake(run, signer, **args)
        case "SubtensorModule.set_perpetual_lock", str():
            locks.set_perpetual_lock(run, signer, **args)
        case "SubtensorModule.set_weights", str():
            subtensor.set_weights(run, signer, **args)
        case "SubtensorModule.add_stake_burn", str():
            subtensor.add_stake_burn(run, signer, **args)
        case "Utility.batch_all", str():
            _batch_all(run, signer, call)
        case "Utility.batch", str():
            _batch(run, signer, call)
        case _:
            raise DispatchError("System.CallFiltered")


def _batch_all(run: Execution, signer: str, call: Call) -> None:
    """All inner calls or none: the error goes up and takes everything with it."""
    for child in call.children:
        dispatch(run, signer, child)
        run.emit("Utility", "ItemCompleted")
    run.emit("Utility", "BatchCompleted")


def _batch(run: Execution, signer: str, call: Call) -> None:
    """Inner calls until one fails; the extrinsic succeeds either way (cassette README 6)."""
    for index, child in enumerate(call.children):
        try:
            with run.transaction() as inner:
                dispatch(inner, signer, child)
        except DispatchError as error:
            run.emit("Utility", "BatchInterrupted", index=index, error=error_parts(error))
            return
        run.emit("Utility", "ItemCompleted")
    run.emit("Utility", "BatchCompleted")


def error_parts(error: DispatchError) -> dict[str, str]:
    """A dispatch error as events carry it: ``{"Token": "FundsUnavailable"}``."""
    module, _, name = str(error).partition(".")
    return {module: name}
