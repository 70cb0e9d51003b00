"""A block that does not fit the log: whoever gave it is left, and the other nodes are asked.

Nodes with the same block 0 may have parted since. One on another branch must not end the reading
of what the others give; where nobody else is left, the error stands.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from chain.port import BlockRef, ChainReader, OtherChainError


class ForeignBlockError(OtherChainError):
    """A node gave ``block``, which is not of the chain that the log was read from."""

    def __init__(self, message: str, block: BlockRef) -> None:
        super().__init__(message)
        self.block = block


@runtime_checkable
class CanDisown(Protocol):
    """A chain over several nodes, such as :class:`chain.nodes.Nodes`."""

    def disown(self, block: BlockRef) -> bool:
        """Ask whoever gave that block no more; whether somebody else is left to be asked."""
        ...


def disowned(chain: ChainReader, error: ForeignBlockError) -> bool:
    """Whether the node that gave the block was left for another one."""
    return isinstance(chain, CanDisown) and chain.disown(error.block)
