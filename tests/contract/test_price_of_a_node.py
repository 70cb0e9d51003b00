"""A price is unknown only where the runtime has none; a node's passing error is no answer."""

from __future__ import annotations

from typing import Any

import pytest

from chain.node import NodeChain
from chain.node_subnet import PRICE_CALL
from chain.port import ChainUnavailableError
from tests.cassette import needs_cassette, truth
from tests.scripted_node import Script, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

EPOCH = 48


def node_that_refuses_the_price(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    from substrateinterface.exceptions import SubstrateRequestException

    node_that_says(monkeypatch, SubstrateRequestException({"code": 4003, "message": words}))


def node_that_says(monkeypatch: pytest.MonkeyPatch, price: Any) -> None:
    """Of the price ``price``, an exception to be raised or an answer; all else as recorded."""
    from chain.node_decoder import Decoder

    answered = Decoder.rpc_request

    def answer(self: Any, method: str, params: list[Any], *more: Any) -> Any:
        if method != "state_call" or params[0] != PRICE_CALL:
            return answered(self, method, params, *more)
        if isinstance(price, Exception):
            raise price
        return price

    monkeypatch.setattr(Decoder, "rpc_request", answer)


def reserves_at_an_epoch() -> Any:
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=10)
        try:
            return chain.reserves(truth()["netuid"], chain.block(EPOCH).hash)
        finally:
            chain.close()


def test_a_runtime_without_the_call_has_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reserves_at_an_epoch().price_rao > 0
    words = "Client error: Execution failed: Exported method SwapRuntimeApi_x is not found"
    node_that_refuses_the_price(monkeypatch, words)
    found = reserves_at_an_epoch()
    assert (found.price_rao, found.tao_rao > 0) == (None, True)


def test_an_answer_that_is_no_number_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    node_that_says(monkeypatch, {"result": True})
    with pytest.raises(ChainUnavailableError):
        reserves_at_an_epoch()


def test_any_other_error_is_asked_again_and_never_no_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node_that_refuses_the_price(monkeypatch, "Server error: try again later")
    with pytest.raises(ChainUnavailableError, match="try again later"):
        reserves_at_an_epoch()
