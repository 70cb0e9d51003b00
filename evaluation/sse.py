"""Server-sent events out of raw chunks with arrival times (WHATWG HTML, "Server-sent events").

Only what streaming completions use is kept: the ``data`` field. An event arrives with the chunk
that holds the end of its last line, wherever the network happened to cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class Chunk(NamedTuple):
    """Bytes as they came off the socket, microseconds after the request was sent.

    A tuple, since one is made for every piece of every stream.
    """

    at_us: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: when its last ``data`` line was complete, and its lines joined by newlines."""

    at_us: int
    data: bytes


def sse_events(chunks: Sequence[Chunk]) -> list[SseEvent]:
    """The events of a stream that has ended, in order.

    The same bytes give the same data however they were cut into chunks. Lines end in LF, CRLF or
    CR; comments and other fields are dropped. A last event without its blank line counts when its
    line is complete, since a stream that ends says as much as a blank line does.
    """
    events: list[SseEvent] = []
    lines: list[bytes] = []
    arrived_us = 0
    for at_us, line in _lines(chunks):
        if line == b"":
            if lines:
                events.append(SseEvent(arrived_us, b"\n".join(lines)))
            lines = []
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
            arrived_us = at_us
    if lines:
        events.append(SseEvent(arrived_us, b"\n".join(lines)))
    return events


def _lines(chunks: Sequence[Chunk]) -> Iterator[tuple[int, bytes]]:
    """Complete lines without their ends, each with the arrival of the chunk that ended it."""
    # An unfinished line is kept in pieces: joining it at every chunk would let a server that sends
    # one endless line byte by byte cost us the square of its length.
    pieces: list[bytes] = []
    after_cr = False
    at_start = True
    for chunk in chunks:
        if not chunk.data:
            continue
        # After a CR at the end of the previous chunk, an LF is the other half of a CRLF.
        data = chunk.data.removeprefix(b"\n") if after_cr else chunk.data
        after_cr = chunk.data.endswith(b"\r")
        first, *others = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pieces.append(first)
        for following in others:
            line = b"".join(pieces)
            yield chunk.at_us, line.removeprefix(_BOM) if at_start else line
            at_start = False
            pieces = [following]
