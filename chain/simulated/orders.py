"""The simulated runtime's calls for what is ordered through the port."""

from __future__ import annotations

from typing import Final

from chain.orders import (
    BurnOrder,
    CommitOrder,
    FeeOrder,
    Order,
    StakeBurnOrder,
    StakeOrder,
    WeightsOrder,
)
from chain.port import Call, Sending, SendRefusedError
from chain.simulated import script
from chain.simulated.compose import Submission, compose
from chain.simulated.genesis import Genesis, ScriptError

CALLS: Final[dict[type[Order], str]] = {
    WeightsOrder: "SubtensorModule.set_weights",
    StakeBurnOrder: "SubtensorModule.add_stake_burn",
    StakeOrder: "SubtensorModule.add_stake_limit",
    BurnOrder: "SubtensorModule.burn_alpha",
    FeeOrder: "Utility.batch_all",
    CommitOrder: "Commitments.set_commitment",
}
"""The call that each order needs."""


def submission_of(genesis: Genesis, order: Order, sending: Sending) -> Submission:
    """The call of an order, signed by the sending's signer.

    Raises :class:`SendRefusedError` for what this runtime has no call for.
    """
    signer = sending.signer
    match order:
        case WeightsOrder():
            act: script.ScriptedExtrinsic = script.SetWeights(
                hotkey=signer,
                netuid=order.netuid,
                uids=order.uids,
                values=order.values,
                version_key=order.version_key,
            )
        case StakeBurnOrder():
            act = script.BuyAndBurn(
                coldkey=signer,
                hotkey=order.hotkey,
                netuid=order.netuid,
                amount_rao=order.amount_rao,
                max_price_rao=order.max_price_rao,
            )
        case CommitOrder():
            wait = order.reveal_in_blocks
            act = script.Commit(
                hotkey=signer,
                payload=order.payload,
                reveal_at=None if wait is None else sending.after_block + wait,
            )
        case FeeOrder():
            transfer = {"dest": order.destination, "value": order.amount_rao}
            children = (
                Call("Balances", "transfer_keep_alive", transfer),
                Call("System", "remark", {"remark": order.remark}),
            )
            return Submission(signer, Call("Utility", "batch_all", {}, children))
        case StakeOrder():
            args: dict[str, object] = {
                "netuid": order.netuid,
                "hotkey": order.hotkey,
                "amount_staked": order.amount_rao,
                "limit_price": order.max_price_rao,
                "allow_partial": False,
            }
            return Submission(signer, Call("SubtensorModule", "add_stake_limit", args))
        case BurnOrder():
            args = {"netuid": order.netuid, "hotkey": order.hotkey, "amount": order.amount_alpha}
            return Submission(signer, Call("SubtensorModule", "burn_alpha", args))
    if isinstance(order, CommitOrder) and order.netuid != genesis.netuid:
        msg = f"the simulated chain has no subnet {order.netuid} to commit to"
        raise SendRefusedError(msg)
    try:
        return compose(genesis, act, {})
    except ScriptError as error:
        raise SendRefusedError(str(error)) from error
