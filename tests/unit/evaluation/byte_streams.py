"""Event streams as servers of the container contract write them, for the tests beside this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evaluation.client import RawStream

DONE = b"data: [DONE]\n\n"


def event(text: str | None, finish_reason: str | None = None, *, logprobs: bool = True) -> bytes:
    """One completion chunk."""
    entry = {"token": text, "logprob": -0.1, "bytes": [], "top_logprobs": [{"token": text}]}
    choice: dict[str, Any] = {"delta": {}, "logprobs": None, "finish_reason": finish_reason}
    if text is not None:
        choice["delta"] = {"content": text}
        choice["logprobs"] = {"content": [entry]} if logprobs else None
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def whole_stream(text: str, finish_reason: str = "length") -> bytes:
    """A complete stream of one event per character."""
    return b"".join(event(character) for character in text) + event(None, finish_reason) + DONE


def raw(chunks: Sequence[bytes], content_type: str = "text/event-stream") -> RawStream:
    """A received stream whose chunks arrived 10 us apart, the first at 10 us."""
    arrived_ns = [10_000 * at for at in range(1, len(chunks) + 1)]
    return RawStream(content_type, arrived_ns, chunks, 0, 10_000 * (len(chunks) + 1))
