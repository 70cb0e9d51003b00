"""A block is decoded by the runtime that made it, whose metadata is fetched once.

The scripted node changes the version that it tells for a state; the metadata is the recording's for
every version, so that what is proved here is which version is taken, and when it is fetched.
"""

from __future__ import annotations

import gc
import weakref
from itertools import count
from typing import Any

import pytest
from scalecodec.base import RuntimeConfigurationObject, ScaleDecoder
from scalecodec.types import Struct

from chain import node_decoder
from chain.ahead import read_ahead
from chain.node import NodeChain
from chain.port import Block, ChainUnavailableError
from tests.cassette import needs_cassette, truth
from tests.scripted_node import Script, ScriptedNode, _ErrorAnswerError, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

UPGRADED_AT = 40
"""The block that carries the upgrade: its state holds the new code, it was made by the old one."""
HEAD = 77

_versions = count(10_000)


@pytest.fixture
def versions() -> tuple[int, int]:
    """Two versions that no other test has had: metadata is kept for all nodes of a chain."""
    return next(_versions), next(_versions)


def upgraded(old: int, new: int) -> Script:
    return Script(upgrades={0: old, UPGRADED_AT: new})


def number_of(block_hash: str | None) -> int:
    (number,) = [n for n, block in enumerate(truth()["blocks"]) if block["hash"] == block_hash]
    return number


def made_by(old: int, new: int, number: int) -> int:
    return old if number <= UPGRADED_AT else new


@pytest.mark.parametrize("workers", [1, 4])
def test_every_block_has_the_runtime_that_made_it_and_its_metadata_is_fetched_once(
    versions: tuple[int, int], workers: int
) -> None:
    with scripted_node(upgraded(*versions)) as node:
        chain = NodeChain(node.url)
        chain.finalized_head()
        blocks = list(read_ahead(chain.block, 0, HEAD, workers=workers))
        assert [b.spec_version for b in blocks] == [made_by(*versions, b.number) for b in blocks]
        # It is fetched from a state of that version.
        states = sorted(number_of(block_hash) for block_hash in node.metadata_of)
        assert len(states) == 2
        assert states[0] < UPGRADED_AT <= states[1]


def test_going_back_and_forth_over_an_upgrade_fetches_nothing_again(
    versions: tuple[int, int],
) -> None:
    with scripted_node(upgraded(*versions)) as node:
        chain = NodeChain(node.url)
        for _ in range(3):
            for number in (UPGRADED_AT, UPGRADED_AT + 1, 3, HEAD):
                chain._blocks.clear()
                assert chain.block(number).spec_version == made_by(*versions, number)
                assert chain.balance_rao(
                    truth()["treasury"], chain.block(number).hash
                ) == balance_at(number)
        assert len(node.metadata_of) == 2


def test_only_new_metadata_is_taken_out_of_the_collector_s_rounds(
    versions: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[None] = []
    monkeypatch.setattr(node_decoder, "_spare_the_collector", lambda **_: spared.append(None))
    for _ in range(3):
        with scripted_node(upgraded(*versions)) as node:
            chain = NodeChain(node.url)
            for number in (UPGRADED_AT, HEAD):
                assert chain.block(number).spec_version == made_by(*versions, number)
        assert len(spared) == 2


def test_what_was_taken_out_is_looked_through_again_once_a_runtime_had_to_go() -> None:
    cache = node_decoder.MetadataCache()
    for number in range(node_decoder.MAX_RUNTIMES):
        cache.set(str(number), object())
    assert not cache.has_left
    cache.set("one more", object())
    assert cache.has_left
    left = _Loop()
    gone = weakref.ref(left)
    gc.collect()
    gc.freeze()  # as it is when it is kept
    del left
    node_decoder._spare_the_collector(has_left=False)
    assert gone() is not None
    node_decoder._spare_the_collector(has_left=True)
    assert gone() is None


class _Loop:
    """What only the collector takes away."""

    def __init__(self) -> None:
        self.itself = self


def test_a_registry_begins_with_the_library_s_own_types_alone() -> None:
    """Of another runtime's a process may hold thousands, under names that this one has too."""
    stray = type("MadeForAnotherRuntime", (Struct,), {})
    assert stray in RuntimeConfigurationObject.all_subclasses(ScaleDecoder)
    types = node_decoder._Types().type_registry["types"]
    assert types["struct"] is Struct
    assert stray.__name__.lower() not in types


def test_state_is_read_by_the_runtime_that_wrote_it(versions: tuple[int, int]) -> None:
    """The upgrade's own block still has the old layout: migrations run at the next one."""
    with scripted_node(upgraded(*versions)) as node:
        chain = NodeChain(node.url)
        block = chain.block(UPGRADED_AT)
        assert chain.balance_rao(truth()["treasury"], block.hash) == balance_at(UPGRADED_AT)
        assert [number_of(h) for h in node.metadata_of] == [UPGRADED_AT - 1]


@pytest.mark.parametrize("fails", ["state_getMetadata", "state_getRuntimeVersion", "system_chain"])
def test_an_error_in_the_middle_of_an_upgrade_leaves_nothing_half_done(
    versions: tuple[int, int], fails: str
) -> None:
    """substrate-interface notes the version first, and went on with the old metadata."""
    with scripted_node(upgraded(*versions)) as node:
        chain = NodeChain(node.url)
        assert chain.block(UPGRADED_AT).spec_version == versions[0]
        once_failing(node, fails)
        with pytest.raises(ChainUnavailableError, match="the node says no"):
            chain.block(UPGRADED_AT + 1)
        block: Block = chain.block(UPGRADED_AT + 1)
        assert block.spec_version == versions[1]
        assert [number_of(h) for h in node.metadata_of][-1] == UPGRADED_AT
        assert chain.block(UPGRADED_AT - 1).spec_version == versions[0]


def once_failing(node: ScriptedNode, method: str) -> None:
    found, failed = node.answer, [False]

    def answer(asked: str, params: list[Any]) -> Any:
        if asked == method and not failed[0]:
            failed[0] = True
            msg = "the node says no"
            raise _ErrorAnswerError(-32000, msg)
        return found(asked, params)

    node.answer = answer  # type: ignore[method-assign]


def balance_at(number: int) -> int:
    return int(dict(truth()["treasury_balance"]["by_block"])[number])
