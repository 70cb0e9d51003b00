"""How an answer's events leave the server: one by one as they should, or otherwise."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Final

from evaluation.reference import config as kinds
from evaluation.reference import wire

_READ_BYTES: Final = 65_536


def delivered(
    config: kinds.ServerConfig, events: Iterator[bytes], padding: bytes
) -> Iterator[bytes]:
    """The pieces to write, one after another; ``padding`` is an event without text."""
    match config:
        case kinds.Flush():
            return _flushed(config, events, padding)
        case kinds.Bursts(tokens=tokens):
            return _in_bursts(events, tokens)
        case _:
            return events


def _flushed(config: kinds.Flush, events: Iterator[bytes], padding: bytes) -> Iterator[bytes]:
    if config.first_early:
        yield next(events)
    kept: list[bytes] = []
    for event in events:
        kept.append(event)
        if config.padded:
            yield padding
    time.sleep(config.wait_ms / 1_000)
    yield b"".join(kept)


def _in_bursts(events: Iterator[bytes], tokens: int) -> Iterator[bytes]:
    kept: list[bytes] = []
    for event in events:
        kept.append(event)
        if len(kept) == tokens:
            yield b"".join(kept)
            kept.clear()
    yield b"".join(kept)


def relayed(config: kinds.Egress, body: bytes) -> Iterator[bytes]:
    """What another machine answers to the same chat request; WireError 502 if it does not."""
    request = urllib.request.Request(  # noqa: S310 - the image's own configuration names it
        f"{config.upstream}/v1/chat/completions",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    # The environment's proxies are the host's, not the cheat's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(request, timeout=config.timeout_ms / 1_000)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        message = f"The machine behind this server cannot be reached: {error}."
        raise wire.WireError(502, "BadGatewayError", message) from error
    return _read(response)


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with response:
        while piece := response.read1(_READ_BYTES):
            yield piece
