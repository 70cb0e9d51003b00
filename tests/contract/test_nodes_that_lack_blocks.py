"""A node that lacks a block is behind, or syncing, or never had it, or has thrown it away.

Only the last is a gap, and only one that has all headers of its own chain may deny a hash: a wrong
answer here is a gap that is none, or a payment refused that is good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chain.node import NodeChain
from chain.nodes import Nodes
from chain.payments import gather_payment
from chain.port import BlockRef, ChainUnavailableError, PrunedStateError, UnknownBlockError
from ledger.rules.payload import CommitPayload
from tests.cassette import needs_cassette, truth
from tests.scripted_node import Script, ScriptedNode, _ErrorAnswerError, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

HEAD = 77
OLD = 20
LAG = 3
FORK = "0x" + "f0" * 32
ABSENT = "0x" + "1" * 64


def block_hash(number: int) -> str:
    return str(truth()["blocks"][number]["hash"])


@contextmanager
def chain_over(
    script: Script, change: Callable[[ScriptedNode, Callable[..., Any]], Callable[..., Any]] | None
) -> Iterator[tuple[NodeChain, ScriptedNode]]:
    """A node that answers by its script, but for what ``change`` changes, and the chain over it."""
    with scripted_node(script) as node:
        if change is not None:
            node.answer = change(node, node.answer)  # type: ignore[method-assign]
        chain = NodeChain(node.url, timeout_s=10)
        chain.learn_head(BlockRef(HEAD, block_hash(HEAD)))
        yield chain, node
        chain.close()


def without_body(_: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
    return lambda method, params: None if method == "chain_getBlock" else found(method, params)


def without_header(_: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
    """Neither the body nor the header of one block, which it names by its number."""

    def answer(method: str, params: list[Any]) -> Any:
        if method == "chain_getBlock" or (method, params) == ("chain_getHeader", [block_hash(OLD)]):
            return None
        return found(method, params)

    return answer


def without_state(_: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
    def answer(method: str, params: list[Any]) -> Any:
        if method == "state_getStorage":
            msg = f"Client error: UnknownBlock: State already discarded for {params[-1]}"
            raise _ErrorAnswerError(4003, msg)
        return found(method, params)

    return answer


# --- no gap -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [HEAD, HEAD - LAG + 1])
def test_a_backend_that_is_behind_makes_no_gap(number: int) -> None:
    """The hash and the head came from another one behind the same URL."""
    with chain_over(Script(lags=(LAG,)), None) as (chain, node):
        chain._hashes.put(number, block_hash(number))
        chain._hashes.put(number - 1, block_hash(number - 1))
        with pytest.raises(ChainUnavailableError) as failed:
            chain.block(number)
        assert type(failed.value) is not PrunedStateError
        assert node.asked["chain_getBlock"] == 1


def test_a_body_that_its_node_has_not_yet_finalized_is_no_gap() -> None:
    with chain_over(Script(head=OLD - 1), without_body) as (chain, _):
        chain._hashes.put(OLD, block_hash(OLD))
        with pytest.raises(ChainUnavailableError, match=f"is at block {OLD - 1}") as failed:
            chain.block(OLD)
        assert type(failed.value) is not PrunedStateError


@pytest.mark.parametrize(
    ("script", "change", "why"),
    [
        (Script(is_syncing=True), without_body, "still syncing"),
        (Script(is_syncing=True), without_state, "still syncing"),
        (Script(), without_header, "may not have it yet"),
    ],
)
def test_what_a_node_may_still_get_is_no_gap(script: Script, change: Any, why: str) -> None:
    with chain_over(script, change) as (chain, _):
        with pytest.raises(ChainUnavailableError, match=why) as failed:
            chain.block(OLD)
        assert type(failed.value) is not PrunedStateError


def test_a_syncing_node_does_not_make_a_balance_unknown() -> None:
    with chain_over(Script(is_syncing=True), without_state) as (chain, _):
        with pytest.raises(ChainUnavailableError, match="still syncing") as failed:
            chain.balance_rao(truth()["treasury"], block_hash(OLD))
        assert type(failed.value) is not PrunedStateError


@pytest.mark.parametrize("change", [without_body, without_state])
def test_what_an_up_to_date_node_has_thrown_away_is_gone(change: Any) -> None:
    with chain_over(Script(), change) as (chain, _):
        for _ in range(2):
            with pytest.raises(PrunedStateError):
                chain.block(OLD)


def test_a_body_that_comes_when_it_is_asked_for_again_is_taken() -> None:
    def late(node: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
        return lambda method, params: (
            None
            if method == "chain_getBlock" and node.asked["chain_getBlock"] == 1
            else found(method, params)
        )

    with chain_over(Script(), late) as (chain, _):
        assert chain.block(OLD).hash == block_hash(OLD)


def test_a_fork_that_a_backend_behind_tells_by_number_is_not_taken() -> None:
    """Past its own finalized head a node tells its best chain, of which nothing is final yet."""

    def forked(_: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
        return lambda method, params: (
            FORK if (method, params) == ("chain_getBlockHash", [OLD]) else found(method, params)
        )

    with chain_over(Script(head=OLD - 1), forked) as (chain, node):
        with pytest.raises(ChainUnavailableError, match=f"is at block {OLD - 1}, before {OLD}"):
            chain.block(OLD)
        with pytest.raises(ChainUnavailableError, match=f"is at block {OLD - 1}, before {OLD}"):
            chain.block_ref(block_hash(OLD))
        node.answer = type(node).answer.__get__(node)  # type: ignore[method-assign]
        node.head = HEAD
        assert chain.block(OLD).hash == block_hash(OLD)


# --- no refusal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("headers_from", [2, OLD + 1, HEAD - 1])
def test_a_node_that_lacks_headers_does_not_deny_a_block(headers_from: int) -> None:
    """As one that began at a recent state: it is not syncing, it is at the head."""
    with chain_over(Script(headers_from=headers_from), None) as (chain, _):
        for wanted in (ABSENT, block_hash(1)):
            with pytest.raises(PrunedStateError, match="nor some blocks of its own chain"):
                chain.block_ref(wanted)
        assert chain.block_ref(block_hash(HEAD)).number == HEAD


def test_a_hole_in_the_headers_is_seen_before_a_block_is_denied() -> None:
    """They are fetched from block 1 on: what is missing is in the middle."""
    hole = range(OLD, HEAD - 8)

    def holed(node: ScriptedNode, found: Callable[..., Any]) -> Callable[..., Any]:
        missing = {block_hash(number) for number in hole}

        def answer(method: str, params: list[Any]) -> Any:
            lacks = method == "chain_getBlockHash" and params[0] in hole
            lacks = lacks or (method == "chain_getHeader" and params[0] in missing)
            return None if lacks else found(method, params)

        return answer

    with chain_over(Script(), holed) as (chain, _), pytest.raises(PrunedStateError):
        chain.block_ref(block_hash(OLD + 5))


def test_a_payment_that_such_a_node_does_not_know_is_deferred_and_not_refused() -> None:
    payload = CommitPayload(
        image="registry.test/m:v1",
        digest="sha256:" + "ab" * 32,
        payment_tx=ABSENT,
        payment_block=block_hash(OLD),
    )
    asked: dict[str, Any] = {"hotkey": "5Hot", "payload": payload, "commit_block_number": HEAD}
    with scripted_node(Script(headers_from=OLD + 1)) as young, scripted_node(Script()) as whole:
        alone = Nodes([young.url])
        with pytest.raises(ChainUnavailableError):
            gather_payment(alone, **asked)
        with_archive = Nodes([young.url], archive=whole.url)
        with_archive.finalized_head()
        assert with_archive.block_ref(block_hash(OLD)).number == OLD
        with pytest.raises(UnknownBlockError):  # the archive has all headers, and may say so
            with_archive.block_ref(ABSENT)
        for chain in (alone, with_archive):
            chain.close()
