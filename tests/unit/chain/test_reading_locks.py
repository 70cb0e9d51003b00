"""However many coldkeys a block touches, their locks are read in few rounds to the node.

The recorded runtime has no locks: the decoder here stands for one that has, and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chain.node import NodeChain
from chain.node_connection import MAP_PAGE, NodeConnection
from chain.node_subnet import LOCKS_AT_ONCE, read_locks
from tests.cassette import needs_cassette
from tests.scripted_node import Script, scripted_node

BLOCK = "0xaa"
NETUID = 14
STATE = {"locked_mass": 5, "conviction": {"bits": 3 << 64}, "last_update": 9}
MOST_ROUNDS = 4
"""That one deadline may hold, where one coldkey has a lock."""


def spelled(name: str, keys: Sequence[Any]) -> str:
    return " ".join([name, *map(str, keys)])


class Node:
    """A connection and its decoder, with the locks of some coldkeys; ``rounds`` by deadline."""

    def __init__(self, *locked: str) -> None:
        self.locked = locked
        self.rounds: list[int] = []
        self._at_hand: set[tuple[str, str]] = set()

    def ask_at(self, _: str, block_hash: str, read: Callable[[Any], Any]) -> Any:
        assert block_hash == BLOCK
        self.rounds.append(0)
        self._at_hand.clear()
        return read(self)

    def fetch_ahead(self, requests: Sequence[tuple[str, list[Any]]]) -> None:
        self.rounds[-1] += 1
        self._at_hand |= {(method, params[0]) for method, params in requests}

    def get_metadata_storage_function(self, _: str, name: str) -> str:
        return name

    def storage_key(self, _: str, name: str, keys: list[Any]) -> Any:
        return SimpleNamespace(to_hex=lambda: spelled(name, keys))

    def value(self, _: str, name: str, keys: list[Any], block_hash: str) -> Any:
        assert block_hash == BLOCK
        self._ask("state_getStorage", spelled(name, keys))
        return SimpleNamespace(value=50 if name.endswith("Rate") else None)

    def query(self, module: str, name: str, keys: list[Any], block_hash: str) -> Any:
        return self.value(module, name, keys, block_hash)

    def query_map(
        self, _: str, name: str, keys: list[Any], block_hash: str, page_size: int = 100
    ) -> Any:
        assert (block_hash, page_size) == (BLOCK, 100)
        self._ask("state_getKeysPaged", spelled(name, keys))
        if keys[0] not in self.locked:
            return SimpleNamespace(records=[])
        self.rounds[-1] += 1
        return SimpleNamespace(
            records=[(SimpleNamespace(value="hot"), SimpleNamespace(value=STATE))]
        )

    def _ask(self, method: str, key: str) -> None:
        self.rounds[-1] += (method, key) not in self._at_hand


def test_a_block_full_of_stake_transfers_costs_a_few_rounds() -> None:
    coldkeys = [f"cold {number:04}" for number in range(5 * LOCKS_AT_ONCE + 1)]
    node = Node(coldkeys[0], coldkeys[70])
    locks = read_locks(cast("NodeConnection", node), NETUID, coldkeys, BLOCK)
    assert [lock.coldkey for lock in locks] == [coldkeys[0], coldkeys[70]]
    assert {(lock.hotkey, lock.locked_alpha, lock.conviction_alpha) for lock in locks} == {
        ("hot", 5, 3)
    }
    assert len(node.rounds) == 6  # each with a deadline of its own
    assert max(node.rounds) <= MOST_ROUNDS


@needs_cassette
@pytest.mark.cassette
def test_what_was_fetched_ahead_is_not_asked_for_again() -> None:
    keys_asked = "state_getKeysPaged"

    def read(runtime: Any) -> list[str]:
        prefix = runtime.storage_key("SubtensorModule", "Keys", [2]).to_hex()
        chain._node.fetch_ahead([(keys_asked, [prefix, MAP_PAGE, prefix, block_hash])])
        assert node.asked[keys_asked] == 1
        rows = runtime.query_map(
            "SubtensorModule", "Keys", [2], block_hash=block_hash, page_size=MAP_PAGE
        )
        return [str(hotkey.value) for _, hotkey in rows.records]

    with scripted_node(Script()) as node:
        chain = NodeChain(node.url)
        block_hash = chain.block(48).hash
        hotkeys = chain._node.ask_at("keys", block_hash, read)
        assert node.asked[keys_asked] == 1
        assert sorted(hotkeys) == sorted(held.hotkey for held in chain.neurons(2, block_hash))
        chain.close()
