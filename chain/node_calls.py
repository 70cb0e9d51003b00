"""The runtime's call for each order, composed by bittensor's SDK against the node's own metadata.

No SCALE is written here. What the SDK made is not believed either: :mod:`chain.node_writer` decodes
it with substrate-interface and compares it with the order before it is sent.
"""

from __future__ import annotations

from typing import Any, Final

from chain.orders import (
    MAIN_MECHANISM,
    BurnOrder,
    CommitOrder,
    FeeOrder,
    Order,
    StakeBurnOrder,
    StakeOrder,
    WeightsOrder,
)
from chain.port import SendRefusedError
from chain.wallets import Signer
from ledger.units import U16_MAX

MAX_BIG_RAW_BYTES: Final = 512
MAX_SEALED_BYTES: Final = 1_024
"""What one ``BigRaw`` and one ``TimelockEncrypted`` field hold (DOMAIN 1)."""

SDK_WEIGHTS: Final = ("SubtensorModule", "set_mechanism_weights")
"""Where the runtime has this call, bittensor's ``SetWeights`` knows its way."""

CALL_OF: Final[dict[type[Order], tuple[str, str]]] = {
    WeightsOrder: ("SubtensorModule", "set_weights"),
    StakeBurnOrder: ("SubtensorModule", "add_stake_burn"),
    StakeOrder: ("SubtensorModule", "add_stake_limit"),
    BurnOrder: ("SubtensorModule", "burn_alpha"),
    FeeOrder: ("Utility", "batch_all"),
    CommitOrder: ("Commitments", "set_commitment"),
}
"""The call that the runtime must have for an order; for weights the oldest form of it."""


async def compose(substrate: Any, order: Order, signer: Signer, *, sdk_weights: bool) -> Any:
    """The composed call (the SDK's ``CallBytes``).

    ``sdk_weights`` leaves the form of weights to bittensor's ``SetWeights``: plain, or sealed where
    the subnet has commit-reveal. Raises :class:`SendRefusedError` for what no call can carry and
    for what the SDK refuses to build.
    """
    module, function = CALL_OF[type(order)]
    match order:
        case WeightsOrder():
            if sdk_weights:
                return await _sdk_weights(substrate, order, signer)
            args: dict[str, Any] = {
                "netuid": order.netuid,
                "dests": list(order.uids),
                "weights": list(order.values),
                "version_key": order.version_key,
            }
        case StakeBurnOrder():
            args = {
                "hotkey": order.hotkey,
                "netuid": order.netuid,
                "amount": order.amount_rao,
                "limit": order.max_price_rao,
            }
        case StakeOrder():
            args = {
                "hotkey": order.hotkey,
                "netuid": order.netuid,
                "amount_staked": order.amount_rao,
                "limit_price": order.max_price_rao,
                "allow_partial": False,
            }
        case BurnOrder():
            args = {"hotkey": order.hotkey, "netuid": order.netuid, "amount": order.amount_alpha}
        case FeeOrder():
            transfer = {"dest": order.destination, "value": order.amount_rao}
            remark = {"remark": order.remark.encode()}
            args = {
                "calls": [
                    await substrate.raw.compose_call("Balances", "transfer_keep_alive", transfer),
                    await substrate.raw.compose_call("System", "remark", remark),
                ]
            }
        case CommitOrder():
            field = await _commitment_field(substrate, order)
            args = {"netuid": order.netuid, "info": {"fields": [field]}}
    return await substrate.raw.compose_call(module, function, args)


async def _sdk_weights(substrate: Any, order: WeightsOrder, signer: Signer) -> Any:
    import bittensor
    from bittensor.intents.base import BuiltCall
    from bittensor.intents.weights import clip_to_max_weight, normalize

    # The SDK clips and quantises on its own. A sealed call cannot be looked into afterwards, so
    # what its own functions would make of the values is compared before.
    limit = await substrate.query("SubtensorModule", "MaxWeightsLimit", [order.netuid])
    weights = [float(value) for value in order.values]
    max_weight = U16_MAX if limit is None else int(limit)
    is_self_weight = await _is_self_weight(substrate, order, signer)
    if max_weight < U16_MAX and not is_self_weight:
        weights = clip_to_max_weight(weights, max_weight / U16_MAX)
    uids, values = normalize(list(order.uids), weights)
    if (tuple(uids), tuple(values)) != (order.uids, order.values):
        msg = (
            f"bittensor would change the weights to fit the subnet's limit of {max_weight} of "
            f"{U16_MAX} for one UID, so they are not sent; ask the subnet's owner to raise "
            "max_weight_limit"
        )
        raise SendRefusedError(msg)
    intent = bittensor.SetWeights(
        netuid=order.netuid,
        uids=list(order.uids),
        weights=[float(value) for value in order.values],
        mechid=MAIN_MECHANISM,
        version_key=order.version_key,
    )
    try:
        built = await intent.build(substrate, signer)
    except bittensor.ChainError as error:
        msg = f"bittensor does not set the weights: {error.message}"
        raise SendRefusedError(msg) from error
    return built.call if isinstance(built, BuiltCall) else built


async def _is_self_weight(substrate: Any, order: WeightsOrder, signer: Signer) -> bool:
    own = await substrate.query("SubtensorModule", "Uids", [order.netuid, signer.ss58_address])
    return own is not None and order.uids == (int(own),)


async def _commitment_field(substrate: Any, order: CommitOrder) -> dict[str, Any]:
    if order.reveal_in_blocks is None:
        if len(order.payload) > MAX_BIG_RAW_BYTES:
            msg = (
                f"a commit of {len(order.payload)} bytes does not fit into a field of "
                f"{MAX_BIG_RAW_BYTES}; shorten the image's name"
            )
            raise SendRefusedError(msg)
        return {"BigRaw": order.payload}
    import bittensor_core

    try:
        text = order.payload.decode()
    except UnicodeDecodeError as error:
        msg = "a timelocked commit must be UTF-8 text, and this one is not"
        raise SendRefusedError(msg) from error
    block_time_s = float(await substrate.block_time())
    sealed, reveal_round = bittensor_core.get_encrypted_commitment(
        text, order.reveal_in_blocks, block_time_s
    )
    if len(sealed) > MAX_SEALED_BYTES:
        msg = (
            f"a timelocked commit of {len(order.payload)} bytes becomes {len(sealed)} when sealed, "
            f"and a field holds {MAX_SEALED_BYTES}; shorten the image's name"
        )
        raise SendRefusedError(msg)
    return {"TimelockEncrypted": {"encrypted": bytes(sealed), "reveal_round": int(reveal_round)}}
