"""What an epoch paid to the subnet's owner, worked out of a node's storage. Pure integers.

No event tells of the owner's cut: it arrives as stake (DOMAIN 3). The pallet adds each block's cut
to ``PendingOwnerCut`` and an epoch pays all of it, the block's own included, before the block's
extrinsics. So what the epoch of block b paid is

    PendingOwnerCut in the state of b - 1  +  the cut of b's own emission

and b's own cut is ``SubnetAlphaOutEmission`` in the state of b times ``SubnetOwnerCut``/65535, in
the pallet's fixed point (``U96F32``, 32 bits of fraction, every step rounded down). Held against
the recorded season (runtime 293), whose owner's stake grew by exactly that at its epochs.

``SubnetAlphaOutEmission`` is left as it was where a block emits nothing to the subnet. So it is
believed only where the pending cut shows that blocks before b were paid by it: all since the last
epoch, or at least the one before b. Else the cut is not known. Where the subnet is leased, what
goes on to others is taken out of the stake afterwards and is no part of this.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from chain.node_connection import NodeConnection
from chain.node_subnet import Item, read_items

_FRACTION_BITS: Final = 32
_U16_MAX: Final = 65_535


class CutState(NamedTuple):
    """What the state of the block before an epoch's says of the cut.

    ``pending`` is alpha in 10^-9, ``blocks`` how many the last epoch was ago, ``cut_u16`` the
    owner's part in 65,535ths.
    """

    pending: int
    blocks: int
    cut_u16: int


def cut_of(emission: int, cut_u16: int) -> int:
    """The owner's part of one block's emission, rounded as the pallet does."""
    part = (cut_u16 << _FRACTION_BITS) // _U16_MAX
    return emission * part >> _FRACTION_BITS


def pending_since(before: CutState, own: int) -> bool:
    """Whether every block since the last epoch added that much to what is pending."""
    return before.pending == before.blocks * own


def read_cut_state(node: NodeConnection, netuid: int, block_hash: str) -> CutState:
    """The state of the block before an epoch's."""
    pending, blocks, cut = read_items(
        node,
        [
            Item("PendingOwnerCut", (netuid,)),
            Item("BlocksSinceLastStep", (netuid,)),
            Item("SubnetOwnerCut", ()),
        ],
        block_hash,
    )
    return CutState(int(pending), int(blocks), int(cut))


def read_emission(node: NodeConnection, netuid: int, block_hash: str) -> int:
    """What the subnet's last emitting block made outside the pool, in 10^-9 alpha."""
    (emission,) = read_items(node, [Item("SubnetAlphaOutEmission", (netuid,))], block_hash)
    return int(emission)


def read_pending(node: NodeConnection, netuid: int, block_hash: str) -> int:
    """The owner's cut that waits for the next epoch."""
    (pending,) = read_items(node, [Item("PendingOwnerCut", (netuid,))], block_hash)
    return int(pending)
