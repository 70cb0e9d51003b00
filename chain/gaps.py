"""Where a gap ends, and what must be observed anew after it.

A node keeps the state of its newest blocks. What it threw away it cannot give, so the cursor looks
for the first block that it can: by doubling steps and then by halving them, so that a million
missing blocks cost some forty questions and not a million.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.beside import alpha_told
from chain.port import Block, ChainReader, PrunedStateError
from ledger.commands.block_facts import Gap, SeenAnew


def can_give(chain: ChainReader, number: int) -> bool:
    """Whether the chain still holds that block with its state; raises what else goes wrong."""
    try:
        chain.block(number)
    except PrunedStateError:
        return False
    return True


def first_given(pruned: int, last: int, given: Callable[[int], bool]) -> int | None:
    """The first block after ``pruned``, which is not given, that is; None if none to ``last`` is.

    Exact where whatever follows a given block is given, too. Otherwise some given block whose
    predecessor is not.
    """
    low, step = pruned, 1
    while low < last:
        probe = min(pruned + step, last)
        if given(probe):
            return _halved(low, probe, given)
        low, step = probe, step * 2
    return None


def _halved(low: int, high: int, given: Callable[[int], bool]) -> int:
    """Between ``low``, which is not given, and ``high``, which is."""
    while high - low > 1:
        middle = (low + high) // 2
        if given(middle):
            high = middle
        else:
            low = middle
    return high


def registry_at(chain: ChainReader, netuid: int, block_hash: str) -> dict[int, tuple[str, str]]:
    """Who holds what in the state of a block."""
    return {
        neuron.uid: (neuron.hotkey, neuron.coldkey) for neuron in chain.neurons(netuid, block_hash)
    }


def holders_before(
    chain: ChainReader, netuid: int, block: Block
) -> tuple[dict[int, tuple[str, str]], tuple[str, str] | None]:
    """Who held what before a block, and who owned the subnet.

    After it, where its parent's state is no longer held.
    """
    try:
        return _holders_at(chain, netuid, block.parent_hash)
    except PrunedStateError:
        return _holders_at(chain, netuid, block.hash)


def _holders_at(
    chain: ChainReader, netuid: int, block_hash: str
) -> tuple[dict[int, tuple[str, str]], tuple[str, str] | None]:
    return registry_at(chain, netuid, block_hash), chain.subnet_owner(netuid, block_hash)


def treasury_balances(
    chain: ChainReader, treasury: str, netuid: int, block_hash: str
) -> tuple[tuple[tuple[str, str, int, str], ...], tuple[str, ...]]:
    """The treasury's balances in the state of a block, and why some are not known.

    Unknown for ever, for there is no later block to ask at: so only where the state is gone, or
    where a node tells TAO and cannot tell alpha. Raises what else the chain raises.
    """
    known: list[tuple[str, str, int, str]] = []
    try:
        known.append(("TAO", treasury, chain.balance_rao(treasury, block_hash), "chain"))
        alpha = alpha_told(chain, treasury, netuid, block_hash)
    except PrunedStateError as error:
        missing = "ALPHA balance" if known else "TAO and the ALPHA balance"
        return tuple(known), (f"the {missing} of {treasury} is unknown: {error}",)
    if isinstance(alpha, str):
        return tuple(known), (alpha,)
    return (*known, ("ALPHA", treasury, alpha, "chain")), ()


def seen_anew(
    chain: ChainReader, block: Block, *, gap: Gap | None, netuid: int, treasury: str
) -> SeenAnew:
    """The treasury's balances after a gap, so that the books show what moved in it."""
    known, unknown = treasury_balances(chain, treasury, netuid, block.hash)
    return SeenAnew(gap, balances=known, unknown=unknown)
