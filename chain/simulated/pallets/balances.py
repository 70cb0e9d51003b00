"""Free TAO: transfers between accounts."""

from __future__ import annotations

from chain.simulated.execution import DispatchError, Execution
from chain.simulated.genesis import EXISTENTIAL_DEPOSIT_RAO


def transfer_keep_alive(run: Execution, signer: str, dest: str, value: int) -> None:
    """Move ``value`` rao; the sender must keep the existential deposit."""
    spend(run, signer, value)
    run.world.change_balance(dest, value)
    # `from` is a keyword of the language, hence the dictionary.
    run.emit("Balances", "Transfer", **{"from": signer, "to": dest, "amount": value})


def spend(run: Execution, signer: str, rao: int) -> None:
    """Take TAO from a balance, or fail when too little would be left."""
    if rao < 0 or run.world.balance_rao(signer) - rao < EXISTENTIAL_DEPOSIT_RAO:
        raise DispatchError("Token.FundsUnavailable")
    run.world.change_balance(signer, -rao)
