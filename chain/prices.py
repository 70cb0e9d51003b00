"""The price of alpha, as observed on chain."""

from __future__ import annotations

from typing import Protocol

from chain.port import BlockRef, Chain, ChainUnavailableError, Reserves
from ledger.rules.buybacks import ObservedPrice


class PriceSource(Protocol):
    """What a price is read of."""

    def finalized_head(self) -> BlockRef:
        """The newest finalized block."""
        ...

    def reserves(self, netuid: int, block_hash: str) -> Reserves | None:
        """The pool and its price in the state of that block; None for a subnet that is not."""
        ...


class PricedChain(Chain, PriceSource, Protocol):
    """A chain to buy on."""


def observed_price(chain: PriceSource, netuid: int) -> ObservedPrice:
    """Rao per whole alpha in the state of the finalized head.

    Raises :class:`~chain.port.ChainUnavailableError` where the chain states none: unknown is
    never 0.
    """
    head = chain.finalized_head()
    pool = chain.reserves(netuid, head.hash)
    if pool is None or not pool.price_rao:
        msg = f"the chain states no price of alpha of subnet {netuid} at block {head.number}"
        raise ChainUnavailableError(msg)
    return ObservedPrice(pool.price_rao, head.number, head.hash)
