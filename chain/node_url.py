"""A node's URL: what of it may be shown, and what may be somebody's key."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

_SHORTEST_KEY: Final = 4
"""Shorter parts of a path are words like `ws`; hiding them would hide the reason too."""


class NodeUrlError(ValueError):
    """A URL of no node; the message is one sentence and quotes none of it."""


class NodeUrl:
    """``url`` as given, and ``place``: scheme, host and port, which may be shown.

    A path, a query or a login may be somebody's key. Raises :class:`NodeUrlError` for a URL other
    than ``ws://`` or ``wss://``.
    """

    def __init__(self, url: str) -> None:
        parts = _node_parts(url)
        self.url = url
        self.place = _place(parts)
        self._secrets = _secrets(url, parts)

    def masked(self, text: str) -> str:
        """``text`` without the secrets: libraries quote the URL, and nodes what they were asked."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _node_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number; the error quotes it, so it is not kept as cause
        usable = False
    if not usable:
        msg = "the node's URL must be ws:// or wss:// with a host, such as ws://127.0.0.1:9944"
        raise NodeUrlError(msg)
    return parts


def _place(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _secrets(url: str, parts: SplitResult) -> list[str]:
    """What of a URL may be a key, as any library may quote it; the longest first."""
    words = [*parts.path.split("/"), parts.username or ""]
    words += [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces = [word for word in words if len(word) >= _SHORTEST_KEY]
    pieces += [parts.query, parts.password or ""]
    whole = [url] if url.rstrip("/") != _place(parts) else []
    known = {*whole, *pieces, *map(unquote, pieces)} - {""}
    return sorted(known, key=len, reverse=True)
