"""A call wrapped as deep as a runtime carries it out is read, and does not stop the reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chain.burns import alpha_burns
from chain.commits import sealed_commits
from chain.holders import move_on
from chain.node import NodeChain
from chain.payments import payment_extrinsic, treasury_deposits
from chain.port import Block, Call
from chain.runs import MAX_NESTING
from tests.cassette import needs_cassette, truth
from tests.scripted_node import Script, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

NUMBER = 48
LEVELS = 256
"""``MAX_EXTRINSIC_DEPTH`` of the runtime."""
BATCH_OF_ONE = bytes.fromhex("0b0004")
REMARK = bytes.fromhex("0000086869")
BARE = b"\x04"
"""The version of an extrinsic without a signature."""


def extrinsic(levels: int) -> str:
    """``batch([batch([… remark("hi")])])`` as a node gives it."""
    body = BARE + BATCH_OF_ONE * levels + REMARK
    length = len(body) << 2 | 0b01  # SCALE's compact form of two bytes
    return "0x" + (length.to_bytes(2, "little") + body).hex()


@pytest.fixture
def block() -> Iterator[Block]:
    """A recorded block with such an extrinsic at its end, decoded by the real libraries."""
    with scripted_node(Script()) as node:
        found = node.answer

        def answer(method: str, params: list[Any]) -> Any:
            said = found(method, params)
            if method != "chain_getBlock":
                return said
            body = said["block"]
            deep = [*body["extrinsics"], extrinsic(LEVELS)]
            return said | {"block": body | {"extrinsics": deep}}

        node.answer = answer  # type: ignore[method-assign]
        chain = NodeChain(node.url)
        yield chain.block(NUMBER)
        chain.close()


def depth_of(call: Call) -> int:
    return 1 + max((depth_of(child) for child in call.children), default=0)


def test_a_call_256_levels_deep_is_read(block: Block) -> None:
    deep = block.extrinsics[-1]
    assert deep.call.name == "Utility.batch"
    assert depth_of(deep.call) == MAX_NESTING + 1
    assert payment_extrinsic(block, deep).outer_call == "Utility.batch"


def test_the_other_extrinsics_of_its_block_are_read_as_ever(block: Block) -> None:
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url)
        recorded = chain.block(NUMBER)
        assert block.extrinsics[:-1] == recorded.extrinsics
        assert chain.commits(block, 2) == chain.commits(recorded, 2)
        assert sealed_commits(block, 2) == sealed_commits(recorded, 2)
        treasury = truth()["treasury"]
        assert treasury_deposits(block, treasury) == treasury_deposits(recorded, treasury)
        assert alpha_burns(block, 2) == alpha_burns(recorded, 2)
        held = {n.uid: (n.hotkey, n.coldkey) for n in chain.neurons(2, recorded.hash)}
        after = dict(held)
        move_on(chain, 2, block, after)  # what cannot be looked into is looked up
        assert after == held
        chain.close()
