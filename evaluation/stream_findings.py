"""All that is wrong with one streamed answer, where the contest's client stops at the first thing.

It decides nothing: whether an answer counts is for :mod:`evaluation.client` alone. This only tells
a miner everything at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from evaluation.client import ChatRequest, media_type, printable
from evaluation.sse import Chunk, sse_events

MAX_LOOKED_BYTES: Final = 8 * 1024 * 1024
"""Of one answer; more is not read."""
MAX_QUOTED_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Raw:
    """What came back to one request: its status, its kind, its bytes in the order they came."""

    status: int
    content_type: str
    body: bytes
    cut: bool
    """Whether the connection broke, or more came than is read."""


@dataclass(slots=True)
class Heard:
    """What the events of one stream said.

    ``unreadable`` quotes the first event that is no JSON object with choices; the counts are of
    pieces of text, of those without logprobs, and of those whose logprobs lack alternatives.
    """

    pieces: list[str] = field(default_factory=list)
    without_logprobs: int = 0
    without_top: int = 0
    entries: int = 0
    finish_reason: str | None = None
    done: bool = False
    unreadable: str | None = None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


async def look(session: aiohttp.ClientSession, base_url: str, request: ChatRequest) -> Raw:
    """Send the contest's own request and take what comes, whatever it is.

    Raises ``TimeoutError``, ``aiohttp.ClientError`` or ``OSError`` where nothing came at all.
    """
    body = bytearray()
    async with session.post(
        f"{base_url}/v1/chat/completions",
        data=msgspec.json.encode(request.body()),
        headers={"Content-Type": "application/json"},
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=request.timeout_s),
    ) as response:
        cut = False
        try:
            async for data in response.content.iter_any():
                body += data
                if len(body) > MAX_LOOKED_BYTES:
                    cut = True
                    break
        except (aiohttp.ClientError, OSError):
            cut = True
        return Raw(response.status, media_type(response), bytes(body), cut)


def heard(raw: Raw) -> Heard:
    """Read the events of a stream as far as they can be read."""
    said = Heard()
    for event in sse_events([Chunk(0, raw.body)]):
        if event.data.strip() == b"[DONE]":
            said.done = True
            continue
        choice = _choice(event.data, said)
        if choice is None:
            continue
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            said.finish_reason = reason
        content = _mapping(choice.get("delta")).get("content")
        if isinstance(content, str) and content:
            said.pieces.append(content)
            _count_logprobs(choice, said)
    return said


def quoted(body: bytes) -> str:
    """The beginning of a body as one printable line."""
    return printable(body[: 4 * MAX_QUOTED_CHARS].decode(errors="replace"))[:MAX_QUOTED_CHARS]


def _choice(data: bytes, said: Heard) -> dict[str, Any] | None:
    try:
        chunk = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        chunk = None
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        if said.unreadable is None:
            said.unreadable = quoted(data)
        return None
    return choices[0] if choices else None


def _count_logprobs(choice: dict[str, Any], said: Heard) -> None:
    entries = _mapping(choice.get("logprobs")).get("content")
    if not isinstance(entries, list) or not entries:
        said.without_logprobs += 1
        return
    said.entries += len(entries)
    tops: Sequence[Any] = [_mapping(entry).get("top_logprobs") for entry in entries]
    if not all(isinstance(top, list) and top for top in tops):
        said.without_top += 1


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
