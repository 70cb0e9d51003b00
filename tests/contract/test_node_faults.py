"""A node that fails, hangs or lags defers; only a clear "there is no such block" is an answer."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from chain.node import NodeChain
from chain.port import BlockRef, ChainUnavailableError, UnknownBlockError
from tests.cassette import Answer, SilenceError, node_that_says

FINAL, FORK, LATER, ABSENT, GENESIS, PARENT = ("0x" + digit * 64 for digit in "abcdef")
HEADERS = {FINAL: "0x5", FORK: "0x5", LATER: "0x6"}


def healthy(method: str, params: list[Any]) -> Any:
    """Block 5 is final; there is a fork of it and a block 6 that is not final yet."""
    if method == "chain_getFinalizedHead":
        return FINAL
    if method == "chain_getBlockHash":
        return {0: GENESIS, 4: PARENT, 5: FINAL, 6: LATER}.get(params[0], f"0x{params[0]:064x}")
    if method == "chain_getHeader":
        number = HEADERS.get(params[0])
        return None if number is None else {"number": number, "parentHash": "0x" + "0" * 64}
    return {"system_health": {"isSyncing": False, "peers": 1}, "system_chain": "Test"}[method]


def but(method: str, result: Any) -> Answer:
    """A healthy node with one answer replaced; an exception is raised instead."""

    def answer(asked: str, params: list[Any]) -> Any:
        if asked != method:
            return healthy(asked, params)
        if isinstance(result, Exception):
            raise result
        return result

    return answer


def test_a_finalized_block_is_found_by_its_hash() -> None:
    with node_that_says(healthy) as url:
        chain = NodeChain(url, timeout_s=10)
        assert chain.finalized_head() == BlockRef(5, FINAL)
        assert chain.block_ref(FINAL) == BlockRef(5, FINAL)


@pytest.mark.parametrize(
    ("block_hash", "why"),
    [(ABSENT, "has no block"), (FORK, "not on the finalized chain"), (LATER, "not finalized")],
)
def test_a_block_that_is_not_final_there_is_unknown(block_hash: str, why: str) -> None:
    with (
        node_that_says(healthy) as url,
        pytest.raises(UnknownBlockError, match=why),
    ):
        NodeChain(url, timeout_s=10).block_ref(block_hash)


def test_a_syncing_node_does_not_deny_a_block_it_may_still_get() -> None:
    with (
        node_that_says(but("system_health", {"isSyncing": True})) as url,
        pytest.raises(ChainUnavailableError, match="still syncing"),
    ):
        NodeChain(url, timeout_s=10).block_ref(ABSENT)


def test_a_node_that_hangs_is_given_up_at_the_deadline_and_asked_afresh() -> None:
    silent = [True]

    def answer(method: str, params: list[Any]) -> Any:
        if silent[0]:
            raise SilenceError
        return healthy(method, params)

    with node_that_says(answer) as url:
        chain = NodeChain(url, timeout_s=2)
        with pytest.raises(ChainUnavailableError, match=f"{url} did not answer chain_getHeader"):
            chain.block_ref(FINAL)
        silent[0] = False
        assert NodeChain(url, timeout_s=10).block_ref(FINAL) == BlockRef(5, FINAL)
        assert chain.finalized_head() == BlockRef(5, FINAL)


def test_a_node_that_is_not_there_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ChainUnavailableError, match=f"{url} did not answer chain_getBlockHash"):
            NodeChain(url, timeout_s=5).genesis_hash()


def test_an_answer_of_the_wrong_shape_is_no_answer() -> None:
    with (
        node_that_says(but("chain_getHeader", {"parentHash": FINAL})) as url,
        pytest.raises(ChainUnavailableError),
    ):
        NodeChain(url, timeout_s=10).block_ref(FINAL)
