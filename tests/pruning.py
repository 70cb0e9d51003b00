"""A chain that has thrown away the state of some blocks, over one that holds all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from chain.port import Block, BlockRef, ChainReader, ChainUnavailableError, PrunedStateError

_STATE: Final = {
    "neurons": 1,
    "owner": 1,
    "subnet_owner": 1,
    "balance_rao": 1,
    "stake_alpha": 2,
    "validator_weights": 1,
}
"""The reads of a block's state, and the place of its hash among their arguments."""


class PruningChain:
    """``chain`` without the blocks and states for which ``pruned`` says so; headers are kept.

    ``head`` is where its finalized head is, the chain's own if None. ``asked`` counts the blocks
    that were asked for; ``before`` is told of every question and may raise.
    """

    def __init__(
        self, chain: ChainReader, pruned: Callable[[int], bool], *, head: int | None = None
    ) -> None:
        self._chain = chain
        self.pruned = pruned
        self.head = head
        self.asked: list[int] = []
        self.before: Callable[[str], None] = lambda _: None

    def finalized_head(self) -> BlockRef:
        self.before("finalized_head")
        if self.head is None:
            return self._chain.finalized_head()
        return self._chain.block(self.head).ref

    def block(self, number: int) -> Block:
        self.before("block")
        self.asked.append(number)
        if self.pruned(number):
            msg = f"the node no longer holds the state of block {number}; ask an archive node"
            raise PrunedStateError(msg)
        return self._chain.block(number)

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._chain, name)

        def asked(*arguments: Any) -> Any:
            self.before(name)
            block_hash = arguments[_STATE[name]] if name in _STATE else None
            if name in {"commits", "epoch"}:
                block_hash = arguments[0].hash
            if block_hash is not None:
                number = self._chain.block_ref(block_hash).number
                if self.pruned(number):
                    msg = f"the node no longer holds the state of block {number}"
                    raise PrunedStateError(msg)
            return read(*arguments)

        return asked


def pruning(
    chain: ChainReader, pruned: Callable[[int], bool], *, head: int | None = None
) -> tuple[PruningChain, ChainReader]:
    """Such a chain, twice: as itself and as the port that it stands for."""
    made = PruningChain(chain, pruned, head=head)
    return made, cast("ChainReader", made)


def failing(times: int, what: str) -> Callable[[str], None]:
    """A ``before`` that lets a node fail at the first ``times`` questions of a kind."""
    left = [times]

    def before(name: str) -> None:
        if name == what and left[0]:
            left[0] -= 1
            msg = f"the node did not answer {name}"
            raise ChainUnavailableError(msg)

    return before
