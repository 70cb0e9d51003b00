"""One look at a stranger's health path or version, in bounded time whatever it sends."""

from __future__ import annotations

import re
import socket
import time
from typing import Final

import msgspec

from evaluation.answers import printable

VERSION_TIMEOUT_S: Final = 2.0
MAX_VERSION_CHARS: Final = 64
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] 200[ \r\n]")
_ENOUGH_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 4_096


class _Version(msgspec.Struct):
    version: str


def answers_healthy(host: str, port: int, timeout_s: float, path: str = "/health") -> bool:
    """Whether it answers 200 within the time, headers and body included."""
    return _asked(host, port, timeout_s, path) is not None


def engine_version(base_url: str, timeout_s: float = VERSION_TIMEOUT_S) -> str | None:
    """What ``GET /version`` of an engine says (vLLM: ``{"version": "0.25.1"}``), in its own words.

    None where it says nothing of the kind within the time: not every engine has a version to tell,
    and that is nobody's fault.
    """
    host, _, port = base_url.removeprefix("http://").rpartition(":")
    answer = _asked(host, int(port), timeout_s, "/version")
    body = (answer or b"").partition(b"\r\n\r\n")[2]
    try:
        # From brace to brace: a body in chunks has their lengths around it.
        said = body[body.index(b"{") : body.rindex(b"}") + 1]
    except ValueError:
        return None
    try:
        version = msgspec.json.decode(said, type=_Version).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return printable(version)[:MAX_VERSION_CHARS].strip() or None


def _asked(host: str, port: int, timeout_s: float, path: str) -> bytes | None:
    """The answer, headers and all, to its end or to as much as is ever read; None if it is no 200.

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
                    return None
                connection.settimeout(left_s)
                piece = connection.recv(_PIECE_BYTES)
                if not piece:
                    break
                answer += piece
    except OSError:
        # Not listening yet, or gone: who asks for health asks again until the time is over.
        return None
    return answer if _STATUS_LINE.match(answer) else None
