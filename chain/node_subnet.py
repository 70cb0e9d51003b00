"""What a node's runtime keeps of one subnet besides its registry: pool, weights, stake locks.

Values of one block are asked for together, in one request. All of it is read with the metadata of
the block's own runtime, so an item that a runtime does not have is told from one that is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from chain.node_answers import STORAGE
from chain.node_connection import NodeConnection
from chain.port import Reserves, StakeLock, ValidatorWeights

if TYPE_CHECKING:
    from chain.node_decoder import Decoder

SUBTENSOR: Final = "SubtensorModule"
PRICE_CALL: Final = "SwapRuntimeApi_current_alpha_price"
NO_SUCH_CALL: Final = "is not found"
"""What a node says of a call that the runtime does not have: "Exported method … is not found"."""
CONVICTION_FRACTION_BITS: Final = 64
"""The pallet keeps conviction as ``U64F64``: that many bits of it are the fraction."""
LOCK_RATE_BLOCKS: Final = 934_866
"""``UnlockRate`` and ``MaturityRate`` where the chain has set neither (DOMAIN 6)."""

LOCKS_AT_ONCE: Final = 64
"""Coldkeys whose locks are asked for together."""
LOCKS_PAGE: Final = 100
"""Locks of one coldkey on one subnet that are read at once; a coldkey has one."""


class Item(NamedTuple):
    """A storage value of the subtensor pallet: its name and its keys."""

    name: str
    keys: tuple[Any, ...]


def read_items(node: NodeConnection, items: Sequence[Item], block_hash: str) -> list[Any]:
    """The values of ``items`` in the state of a block, in their order and in one request.

    An empty one has the runtime's default. Raises
    :class:`~chain.port.ChainUnavailableError` for an item that the runtime does not have.
    """

    def read(runtime: Decoder) -> list[Any]:
        keys = [runtime.storage_key(SUBTENSOR, item.name, list(item.keys)) for item in items]
        answers = {
            key.to_hex(): value.value
            for key, value in runtime.query_multi(keys, block_hash=block_hash)
        }
        return [answers[key.to_hex()] for key in keys]

    names = ", ".join(sorted({item.name for item in items}))
    return node.ask_at(f"{SUBTENSOR}.{names}", block_hash, read) if items else []


def read_reserves(node: NodeConnection, netuid: int, block_hash: str) -> Reserves | None:
    """``SubnetTAO``, ``SubnetAlphaIn``, ``SubnetAlphaOut``, and the runtime's own price.

    The price is ``SwapRuntimeApi.current_alpha_price``, which bittensor's ``alpha_price`` asks for,
    too: rao per alpha as a u64, the runtime's fixed-point price times 10^9 rounded down. A runtime
    without the call leaves the price unknown; any other error does not, for it may be a passing
    one. None for a subnet that is not among ``NetworksAdded``.
    """
    names = ("NetworksAdded", "SubnetTAO", "SubnetAlphaIn", "SubnetAlphaOut")
    added, tao, alpha_in, alpha_out = read_items(
        node, [Item(name, (netuid,)) for name in names], block_hash
    )
    if not added:
        return None
    return Reserves(int(tao), int(alpha_in), int(alpha_out), _price_rao(node, netuid, block_hash))


def _price_rao(node: NodeConnection, netuid: int, block_hash: str) -> int | None:
    from substrateinterface.exceptions import SubstrateRequestException

    def read(runtime: Decoder) -> int | None:
        asked = runtime.encode_scale("u16", netuid)
        try:
            answer = runtime.rpc_request("state_call", [PRICE_CALL, str(asked), block_hash])
        except SubstrateRequestException as error:
            if NO_SUCH_CALL in str(error):
                return None  # a runtime without the call, which is an answer
            raise
        return int(runtime.decode_scale("u64", answer["result"]))

    return node.ask_at(PRICE_CALL, block_hash, read)


def read_weights(
    node: NodeConnection, netuid: int, uids: Collection[int], block_hash: str
) -> list[ValidatorWeights]:
    """The rows of ``Weights`` of these UIDs, empty ones too, with ``Keys`` and ``LastUpdate``.

    A UID that nobody holds has no row.
    """
    ordered = sorted(uids)
    asked = [Item(name, (netuid, uid)) for uid in ordered for name in ("Keys", "Weights")]
    *rows, updates = read_items(node, [*asked, Item("LastUpdate", (netuid,))], block_hash)
    held = zip(ordered, rows[0::2], rows[1::2], strict=True)
    return [
        ValidatorWeights(uid, str(hotkey), weights_row(row), last_update_of(updates, uid))
        for uid, hotkey, row in held
        if hotkey is not None and uid < len(updates)
    ]


def last_update_of(updates: Sequence[Any], uid: int) -> int | None:
    """A UID's entry of ``LastUpdate``."""
    return int(updates[uid]) if uid < len(updates) else None


def weights_row(row: Any) -> tuple[tuple[int, int], ...]:
    """A row of ``Weights`` without its zero entries."""
    return tuple((int(uid), int(weight)) for uid, weight in row or () if int(weight))


def read_locks(
    node: NodeConnection, netuid: int, coldkeys: Collection[str], block_hash: str
) -> list[StakeLock]:
    """The locks of these coldkeys on a subnet; nothing where the runtime knows no ``Lock``.

    Names and shapes are those of bittensor 11.3 (``bittensor/reads/locks.py``): ``Lock`` by
    (coldkey, netuid, hotkey) holds ``{locked_mass, conviction, last_update}``; ``DecayingLock`` by
    (coldkey, netuid) is there and false for a perpetual one; ``UnlockRate`` and ``MaturityRate``
    are blocks. Unverified until a recording has it.

    A block may touch as many coldkeys as it has room for transfers: they are asked for
    :data:`LOCKS_AT_ONCE` together, each time with a deadline of its own.
    """
    ordered = sorted(coldkeys)
    locks: list[StakeLock] = []
    for start in range(0, len(ordered), LOCKS_AT_ONCE):
        some = ordered[start : start + LOCKS_AT_ONCE]
        locks += node.ask_at(
            f"{SUBTENSOR}.Lock", block_hash, partial(_locks_of, node, netuid, some, block_hash)
        )
    return locks


def _locks_of(
    node: NodeConnection,
    netuid: int,
    coldkeys: Sequence[str],
    block_hash: str,
    runtime: Decoder,
) -> list[StakeLock]:
    """In one round, and one more for each coldkey that has a lock."""
    if runtime.get_metadata_storage_function(SUBTENSOR, "Lock") is None:
        return []

    def key(name: str, *keys: Any) -> str:
        return str(runtime.storage_key(SUBTENSOR, name, list(keys)).to_hex())

    def value(name: str, *keys: Any) -> Any:
        return runtime.value(SUBTENSOR, name, list(keys), block_hash).value

    rows_of = {coldkey: key("Lock", coldkey, netuid) for coldkey in coldkeys}
    values = [key("UnlockRate"), key("MaturityRate")]
    values += [key("DecayingLock", coldkey, netuid) for coldkey in coldkeys]
    node.fetch_ahead(
        [
            *(("state_getKeysPaged", [p, LOCKS_PAGE, p, block_hash]) for p in rows_of.values()),
            *((STORAGE, [one, block_hash]) for one in values),
        ]
    )
    rates = value("UnlockRate"), value("MaturityRate")
    locks: list[StakeLock] = []
    for coldkey in coldkeys:
        # Its records: whoever iterates over the result asks for another page.
        rows = runtime.query_map(
            SUBTENSOR, "Lock", [coldkey, netuid], block_hash=block_hash, page_size=LOCKS_PAGE
        ).records
        if len(rows) >= LOCKS_PAGE:
            msg = f"{coldkey} has {LOCKS_PAGE} locks or more on one subnet, where it can have one"
            raise ValueError(msg)
        decaying = value("DecayingLock", coldkey, netuid)
        locks += [
            lock_from(coldkey, str(hotkey.value), state.value, decaying, rates)
            for hotkey, state in rows
        ]
    return locks


def lock_from(
    coldkey: str,
    hotkey: str,
    state: Mapping[str, Any],
    decaying: object,
    rates: tuple[Any, Any],
) -> StakeLock:
    """A lock from its decoded ``LockState``; conviction is fixed point, ``{"bits": …}``."""
    conviction = state["conviction"]
    bits = conviction["bits"] if isinstance(conviction, Mapping) else conviction
    return StakeLock(
        coldkey=coldkey,
        hotkey=hotkey,
        locked_alpha=int(state["locked_mass"]),
        conviction_alpha=int(bits) >> CONVICTION_FRACTION_BITS,
        last_update=int(state["last_update"]),
        perpetual=decaying is not None and not decaying,
        unlock_blocks=int(rates[0] or LOCK_RATE_BLOCKS),
        maturity_blocks=int(rates[1] or LOCK_RATE_BLOCKS),
    )
