"""The price of alpha, as observed on chain."""

from __future__ import annotations

from chain.port import ChainReader, ChainUnavailableError
from ledger.rules.buybacks import ObservedPrice


def observed_price(chain: ChainReader, netuid: int) -> ObservedPrice:
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
