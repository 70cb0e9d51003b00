"""Who holds what after a block: UIDs, their owners, and the subnet's owner.

A registration says itself which UID it took; that is followed by its event. Whatever else may move
a UID or an owner (swaps of hotkeys and coldkeys, trimming, a subnet that is dissolved) is only a
reason to look: the registry is then read anew and compared. And each epoch shows the whole registry
of the block before it, so that a way nobody thought of is noticed within one epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from chain.burns import subtensor_events
from chain.node_decode import TOO_DEEP
from chain.port import Block, Call, ChainReader, ChainUnavailableError, Epoch

HOLDERS_MAY_CHANGE: Final = frozenset(
    {
        "BulkNeuronsRegistered",
        "ColdkeySwapped",
        "HotkeySwapped",
        "HotkeySwappedOnSubnet",
        "NetworkRemoved",
    }
)
"""Events besides ``NeuronRegistered`` after which a UID or a hotkey may be somebody else's."""

HOLDERS_MAY_CHANGE_CALLS: Final = frozenset(
    {"sudo_trim_null_uids_batch", "sudo_trim_to_max_allowed_uids"}
)
"""Calls, wherever they are nested, that move UIDs without telling so by an event."""

SUBNET_OWNER_MAY_CHANGE: Final = frozenset(
    {
        "ColdkeySwapped",
        "HotkeySwapped",
        "HotkeySwappedOnSubnet",
        "NetworkAdded",
        "NetworkRemoved",
        "SubnetLeaseCreated",
        "SubnetLeaseTerminated",
        "SubnetOwnerChanged",
        "SubnetOwnerHotkeySet",
    }
)


def move_on(
    chain: ChainReader, netuid: int, block: Block, registry: dict[int, tuple[str, str]]
) -> None:
    """Bring ``registry`` from the state before ``block`` to the one after it."""
    if _must_look(block):
        registry.clear()
        registry.update(
            (neuron.uid, (neuron.hotkey, neuron.coldkey))
            for neuron in chain.neurons(netuid, block.hash)
        )
        return
    for event in subtensor_events(block, "NeuronRegistered"):
        on, uid, hotkey = (event.attributes[key] for key in ("0", "1", "2"))
        if on != netuid:
            continue
        coldkey = chain.owner(hotkey, block.hash)
        if coldkey is None:
            msg = f"{hotkey} was registered at block {block.number} and has no owner there"
            raise ChainUnavailableError(msg)
        registry[uid] = (hotkey, coldkey)


def drift(registry: Mapping[int, tuple[str, str]], epoch: Epoch) -> str:
    """How a registry differs from the one an epoch paid, in words; empty if it does not.

    ``registry`` is that of the block before the epoch's, as an epoch runs before the extrinsics.
    """
    paid = {row.uid: (row.hotkey, row.coldkey) for row in epoch.rows}
    wrong = [
        uid for uid in sorted(paid.keys() | registry.keys()) if paid.get(uid) != registry.get(uid)
    ]
    if not wrong:
        return ""
    uid = wrong[0]
    said, seen = (
        "nobody" if one is None else f"{one[0]} of {one[1]}"
        for one in (registry.get(uid), paid.get(uid))
    )
    return (
        f"{len(wrong)} UIDs were not as recorded when the epoch of block {epoch.block.number} ran, "
        f"and are corrected: UID {uid} was recorded as {said} and the chain says {seen}"
    )


def subnet_owner_after(chain: ChainReader, netuid: int, block: Block) -> tuple[str, str] | None:
    """The subnet's owner if something in ``block`` may have changed it; None if nothing can."""
    if any(event.name in SUBNET_OWNER_MAY_CHANGE for event in subtensor_events(block)):
        return chain.subnet_owner(netuid, block.hash)
    return None


def _must_look(block: Block) -> bool:
    if any(event.name in HOLDERS_MAY_CHANGE for event in subtensor_events(block)):
        return True
    return any(
        name in HOLDERS_MAY_CHANGE_CALLS or name == TOO_DEEP
        for extrinsic in block.extrinsics
        for name in _functions(extrinsic.call)
    )


def _functions(call: Call) -> Iterator[str]:
    """The names of a call's function and of all calls inside it, however they are wrapped; and
    :data:`~chain.node_decode.TOO_DEEP` where some of them are not looked into."""
    yield call.function
    for child in call.children:
        yield from _functions(child)
    yield from _nested(call.args)


def _nested(value: Any) -> Iterator[str]:
    if value == TOO_DEEP:
        yield TOO_DEEP
    elif isinstance(value, Call):
        yield from _functions(value)
    elif isinstance(value, Mapping):
        if isinstance(value.get("call_function"), str):
            yield value["call_function"]
        for item in value.values():
            yield from _nested(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _nested(item)
