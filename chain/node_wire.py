"""One WebSocket to a node: JSON-RPC questions and their answers, each by its id and its deadline.

substrate-interface's own transport waits for its answer as long as anything at all arrives, keeps
whatever it did not ask for, and reconnects by itself to whoever answers there by then. This one
does none of that: an answer is taken by its id, everything else is dropped, and a connection that
failed once is never used again.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import Any

from chain.deadlines import cutting, within

Request = tuple[str, list[Any]]
"""Method and parameters."""
Reply = dict[str, Any]
"""``{"result": …}`` or ``{"error": {"code", "message"}}``, as the node sent it."""


class Wire:
    """A connection, made within ``timeout_s``; for one thread at a time.

    Raises :class:`OSError` (of which :class:`TimeoutError`), ``WebSocketException`` and
    :class:`ValueError`; after any of them the wire is broken.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        from websocket import WebSocket

        def connect() -> Any:
            # Decoding the text validates it anyway.
            made: Any = WebSocket(skip_utf8_validation=True)
            made.connect(url, timeout=timeout_s)
            return made

        self._socket: Any = within(timeout_s, connect, discard=lambda late: late.shutdown())
        self._last_id = 0
        self.used_at = time.monotonic()
        """When it was last heard of, by the monotonic clock."""
        self.finalized = 0
        """The newest finalized block that whoever is at the other end told of over it."""
        self._late = False

    def ask(self, requests: Sequence[Request], timeout_s: float) -> list[Reply]:
        """The replies to all requests, in their order; sent together, awaited together."""
        if timeout_s <= 0:
            msg = "no time is left for another question"
            raise TimeoutError(msg)
        ids = range(self._last_id + 1, self._last_id + 1 + len(requests))
        self._last_id += len(requests)
        replies: dict[int, Reply] = {}
        started = time.monotonic()
        try:
            with cutting(timeout_s, self._cut):
                self._socket.settimeout(timeout_s)
                for number, (method, params) in zip(ids, requests, strict=True):
                    self._socket.send(
                        json.dumps(
                            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                        )
                    )
                while len(replies) < len(requests):
                    message = self._received()
                    answered = message.get("id")
                    if isinstance(answered, int) and answered in ids and answered not in replies:
                        replies[answered] = message
        except Exception:
            if self._late or time.monotonic() - started >= timeout_s:
                msg = f"no answer within {timeout_s:g} s"
                raise TimeoutError(msg) from None
            raise
        self.used_at = time.monotonic()
        return [replies[number] for number in ids]

    def cut(self) -> None:
        """Break the connection from any thread: whoever waits for an answer gets an error."""
        raw = self._socket.sock
        if raw is None:
            return
        try:
            # Of the plain socket: an encrypted one would first forget the state others still use.
            socket.socket.shutdown(raw, socket.SHUT_RDWR)
        except OSError:
            return  # it is broken already

    def close(self) -> None:
        """Close it at once; no handshake is waited for."""
        self._socket.shutdown()

    def _cut(self) -> None:
        self._late = True
        self.cut()

    def _received(self) -> dict[str, Any]:
        text = self._socket.recv()
        if not text:
            msg = "the node closed the connection"
            raise ConnectionError(msg)
        message = json.loads(text)
        if not isinstance(message, dict):
            msg = "the node sent something that is no answer"
            raise ValueError(msg)
        return message
