"""One look at a stranger's health path, in bounded time whatever it sends."""

from __future__ import annotations

import re
import socket
import time
from typing import Final

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] 200[ \r\n]")
_ENOUGH_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 4_096


def answers_healthy(host: str, port: int, timeout_s: float, path: str = "/health") -> bool:
    """Whether it answers 200 within the time, headers and body included.

    Not ``http.client``: its time-out starts anew with every byte, and a server that sends a byte a
    second would hold us for ever.
    """
    deadline_s = time.monotonic() + timeout_s
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(request.encode())
            # To its end: a server that is hung up on says so in its log, which a miner reads.
            while len(answer) < _ENOUGH_BYTES:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                connection.settimeout(left_s)
                piece = connection.recv(_PIECE_BYTES)
                if not piece:
                    break
                answer += piece
    except OSError:
        # Not listening yet, or gone: asked again until the start-up time is over.
        return False
    return _STATUS_LINE.match(answer) is not None
