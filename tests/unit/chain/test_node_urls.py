"""A node's URL may hold a key: only scheme, host and port are ever shown."""

from __future__ import annotations

import socket

import pytest

from chain.node import NodeChain
from chain.node_connection import NodeConnection
from chain.node_url import NodeUrlError
from chain.node_wire import Wire
from chain.port import ChainUnavailableError

KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("ws://127.0.0.1:9944", "ws://127.0.0.1:9944"),
        (f"wss://node.example/{KEY}", "wss://node.example"),
        (f"wss://node.example:443/v1/{KEY}?apikey={KEY}#{KEY}", "wss://node.example:443"),
        (f"wss://{KEY}:{KEY}@node.example", "wss://node.example"),
        ("ws://[::1]:9944/", "ws://[::1]:9944"),
    ],
)
def test_a_node_is_shown_by_scheme_host_and_port(url: str, place: str) -> None:
    assert NodeConnection(url, 1.0).place == place
    assert NodeChain(url).place == place


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1", f"https://h/{KEY}", f"ws:///{KEY}", f"ws://h:{KEY}", "ws://h:0", "ws://["],
)
def test_what_is_no_websocket_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(NodeUrlError, match="must be ws:// or wss://") as refused:
        NodeConnection(url, 1.0)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "tail", [f"/{KEY}", f"/v1/{KEY}/rpc", f"/?token={KEY}", f"/?{KEY}", f"/{KEY[:8]}%20{KEY}"]
)
def test_an_unreachable_node_is_named_without_its_key(tail: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        place = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ChainUnavailableError, match=f"^{place} did not answer") as failed:
            NodeConnection(place + tail, 5.0).rpc("chain_getHeader", [], str)
    assert KEY not in str(failed.value)


@pytest.mark.parametrize("quoted", [f"ws://me:{KEY}@h/{KEY}", f"GET /{KEY}", f"{KEY} is unknown"])
def test_a_reason_that_quotes_the_key_is_masked(quoted: str) -> None:
    node = NodeConnection(f"ws://me:{KEY}@h/{KEY}", 1.0)

    def cannot_connect() -> Wire:
        raise OSError(quoted)

    node._connected = cannot_connect  # type: ignore[method-assign]
    with pytest.raises(ChainUnavailableError) as failed:
        node.rpc("it", [], str)
    assert str(failed.value).startswith("ws://h did not answer it: ")
    assert "***" in str(failed.value)
    assert KEY not in str(failed.value)
