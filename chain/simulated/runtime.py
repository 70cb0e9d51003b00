"""Carrying out a call: which pallet answers it, and how batches treat a failure among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from chain.port import Call
from chain.simulated.execution import DispatchError, Execution
from chain.simulated.pallets import balances, commitments, locks, subtensor

WITHOUT_FEE = frozenset({"Commitments.set_commitment", "SubtensorModule.set_weights"})
"""Calls the real runtime does not charge a transaction fee for."""

_SIGNED: Final[dict[str, Callable[..., None]]] = {
    "Balances.transfer_keep_alive": balances.transfer_keep_alive,
    "Commitments.set_commitment": commitments.set_commitment,
    "SubtensorModule.burned_register": subtensor.burned_register,
    "SubtensorModule.swap_coldkey": subtensor.swap_coldkey,
    "SubtensorModule.swap_hotkey": subtensor.swap_hotkey,
    "SubtensorModule.lock_stake": locks.lock_stake,
    "SubtensorModule.set_perpetual_lock": locks.set_perpetual_lock,
    "SubtensorModule.set_weights": subtensor.set_weights,
    "SubtensorModule.add_stake_burn": subtensor.add_stake_burn,
    "SubtensorModule.add_stake_limit": subtensor.add_stake_limit,
    "SubtensorModule.burn_alpha": subtensor.burn_alpha,
}
"""Calls that somebody signs, each with the pallet's function: (execution, signer, arguments)."""


def dispatch(run: Execution, signer: str | None, call: Call) -> None:
    """Carry out a call; raises :class:`DispatchError` and may then have written half of it.

    A ``signer`` of None is the runtime or root. Callers run it inside ``run.transaction()``.
    """
    args = dict(call.args)
    signed = _SIGNED.get(call.name)
    match call.name, signer:
        case _, str() if signed is not None:
            signed(run, signer, **args)
        case "Timestamp.set", None:
            pass  # the block's time is part of the block, not of the state
        case "AdminUtils.sudo_set_subnet_owner", None:
            subtensor.set_subnet_owner(run, **args)
        case "AdminUtils.sudo_trim_to_max_allowed_uids", None:
            subtensor.trim_to_max_allowed_uids(run, **args)
        case "System.remark", str():
            pass  # a remark is only written down
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
