"""How many bytes really came from a server: below HTTP, where nothing that it sends is hidden.

Of a stream that is cut into one-byte HTTP chunks our client hands out the joined bytes. What the
frames, the headers and the interim answers around them cost us is only seen on the wire.
"""

from __future__ import annotations

import socket
from typing import Any

import aiohttp


class Wire:
    """The bytes received by all sockets of one session."""

    def __init__(self) -> None:
        self.received = 0

    def open(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket whose received bytes count here; ``address`` is as ``getaddrinfo`` gives it."""
        family, kind, protocol, *_ = address
        opened = _CountedSocket(family, kind, protocol)
        opened.wire = self
        return opened


class _CountedSocket(socket.socket):
    wire: Wire

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        self.wire.received += len(data)
        return data


class CountingConnector(aiohttp.TCPConnector):
    """A connector that knows what came in over all its connections."""

    def __init__(self, **options: Any) -> None:
        self.wire = Wire()
        super().__init__(**options, socket_factory=self.wire.open)


def received_by(session: aiohttp.ClientSession) -> int | None:
    """The bytes that came over the session's sockets so far; None where nobody counts them."""
    connector = session.connector
    return connector.wire.received if isinstance(connector, CountingConnector) else None
