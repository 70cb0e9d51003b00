"""One node whose chain parted from the log's does not end what the other nodes give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chain.nodes import DISOWNED_S, FIRST_BACK_OFF_S, Nodes
from chain.port import BlockRef, OtherChainError
from tests.cassette import needs_cassette, truth
from tests.contract.test_season_with_gaps import begun
from tests.contract.test_several_nodes import Clock
from tests.scripted_node import Script, ScriptedNode, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

PARTED = 30
"""The first block that the other branch has not in common."""
READ = 39
HEAD = 77
UNTIL = 45


def block_hash(number: int) -> str:
    return str(truth()["blocks"][number]["hash"])


def forked_hash(number: int) -> str:
    return f"0x{'fe' * 30}{number:04x}" if number >= PARTED else block_hash(number)


def parted(found: Callable[[str, list[Any]], Any]) -> Callable[[str, list[Any]], Any]:
    """The answers of a node with the same blocks under other hashes from :data:`PARTED` on."""
    real = {forked_hash(number): block_hash(number) for number in range(HEAD + 1)}
    not_there = {block_hash(number) for number in range(PARTED, HEAD + 1)}

    def header_of(header: dict[str, Any]) -> dict[str, Any]:
        return header | {"parentHash": forked_hash(int(header["number"], 16) - 1)}

    def answer(method: str, params: list[Any]) -> Any:
        if params and str(params[-1]) in not_there:
            return None
        said = found(method, [real.get(p, p) if isinstance(p, str) else p for p in params])
        if method == "chain_getFinalizedHead":
            return forked_hash(HEAD)
        if method == "chain_getBlockHash" and said is not None:
            return forked_hash(params[0])
        if method == "chain_getHeader" and said is not None:
            return header_of(said)
        if method == "chain_getBlock":
            return said | {"block": said["block"] | {"header": header_of(said["block"]["header"])}}
        return said

    return answer


@contextmanager
def forked_node() -> Iterator[ScriptedNode]:
    with scripted_node(Script()) as node:
        node.answer = parted(node.answer)  # type: ignore[method-assign]
        yield node


def test_the_others_are_asked_for_a_block_that_does_not_fit(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with forked_node() as forked, scripted_node(Script()) as good:
        whole = Nodes([good.url])
        run.read(whole, until_block=READ)
        both = Nodes([forked.url, good.url], genesis=truth()["genesis_hash"])
        assert both.block(READ + 1).hash == forked_hash(READ + 1)
        assert run.read(both, until_block=UNTIL).head_block == UNTIL
        asked = forked.asked.total()
        assert run.read(both).head_block == HEAD
        assert forked.asked.total() == asked  # it is not asked any more
        assert both.finalized_head() == BlockRef(HEAD, block_hash(HEAD))
        both.close()
        whole.close()


def test_where_nobody_gives_a_block_that_fits_the_run_ends(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with forked_node() as forked, forked_node() as another, scripted_node(Script()) as good:
        whole = Nodes([good.url])
        run.read(whole, until_block=PARTED - 1)
        run.read(whole, until_block=READ)
        whole.close()
        for urls in ([forked.url], [forked.url, another.url]):
            nodes = Nodes(urls)
            with pytest.raises(OtherChainError):
                run.read(nodes)
            nodes.close()


def test_the_last_node_is_never_disowned_and_another_one_for_a_while() -> None:
    clock = Clock()
    with forked_node() as forked, scripted_node(Script()) as good:
        nodes = Nodes([forked.url, good.url], clock=clock)
        given = nodes.block(READ)
        assert given.hash == forked_hash(READ)
        assert nodes.disown(given.ref)
        assert nodes.place == good.url
        fits = nodes.block(READ)
        assert fits.hash == block_hash(READ)
        assert not nodes.disown(fits.ref)
        assert not nodes.disown(BlockRef(READ, "0x" + "1" * 64))  # given by nobody
        good.is_silent = True
        clock.now += FIRST_BACK_OFF_S
        assert nodes.block(READ).hash == block_hash(READ)
        clock.now += DISOWNED_S
        nodes.leave()
        assert nodes.place == forked.url
        nodes.close()
