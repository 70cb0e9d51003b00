"""The owner's cut of the recorded season, by storage, is what the owner's stake grew by.

The recording keeps ``TotalHotkeyAlpha`` of the owner's hotkey: at an epoch that paid the hotkey
nothing else, the cut alone raised it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chain.node import NodeChain
from chain.node_subnet import Item, read_items
from tests.cassette import TRUTH, needs_cassette, replay_server, truth

pytestmark = [needs_cassette, pytest.mark.cassette]

SAID: dict[str, Any] = truth() if TRUTH.exists() else {"epochs": []}
NETUID = 2
ROUNDED_AWAY = 2
"""Units of 10^-9 alpha that splitting one hotkey's dividends may lose."""
EPOCHS = [one for one in SAID["epochs"] if one["block"] >= 22]


@pytest.fixture(scope="module")
def chain() -> Iterator[NodeChain]:
    with replay_server() as url:
        found = NodeChain(url)
        try:
            yield found
        finally:
            found.close()


def _staked(chain: NodeChain, hotkey: str, block_hash: str) -> int:
    item = Item("TotalHotkeyAlpha", (hotkey, NETUID))
    (alpha,) = read_items(chain._node, [item], block_hash)
    return int(alpha)


@pytest.mark.parametrize("said", EPOCHS, ids=lambda one: f"block {one['block']}")
def test_the_cut_is_what_the_owners_stake_grew_by(chain: NodeChain, said: dict[str, Any]) -> None:
    block = chain.block(said["block"])
    owner = chain.subnet_owner(NETUID, block.parent_hash)
    assert owner is not None
    cut = chain.owner_cut(block, NETUID)
    assert cut is not None
    epoch = chain.epoch(block, NETUID)
    assert epoch is not None
    dividends = sum(row.dividends_alpha for row in epoch.rows if row.hotkey == owner[0])
    grown = _staked(chain, owner[0], block.hash) - _staked(chain, owner[0], block.parent_hash)
    # A validator's dividends are split into its take and its stakers' part, each rounded down.
    lost = ROUNDED_AWAY if dividends else 0
    assert 0 <= cut + dividends - grown <= lost
