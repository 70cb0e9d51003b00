"""A server's output under a bound: its beginning and its end are kept, the middle is not."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

MAX_LOG_BYTES: Final = 256 * 1024

_FRAME: Final = re.compile(r'(.*?)  File "[^"]+", line \d+(, in [\w.<>]+)?')
"""A frame of a Python stack; before it stands what a logger writes before every line. What says
more than where it is in which function is a line like any other."""


class BoundedLog:
    """Thread-safe. Holds at most ``max_bytes``: one half the first bytes, one half the newest."""

    def __init__(self, max_bytes: int = MAX_LOG_BYTES) -> None:
        self._half = max_bytes // 2
        self._head = bytearray()
        self._newest: deque[bytes] = deque()
        self._newest_bytes = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Take output as it comes."""
        with self._lock:
            room = self._half - len(self._head)
            self._head += data[:room]
            if rest := data[room:]:
                self._newest.append(rest)
                self._newest_bytes += len(rest)
            while self._newest_bytes > self._half:
                excess = self._newest_bytes - self._half
                oldest = self._newest.popleft()
                if len(oldest) > excess:
                    self._newest.appendleft(oldest[excess:])
                gone = min(excess, len(oldest))
                self._newest_bytes -= gone
                self._dropped += gone

    def content(self) -> bytes:
        """All that is kept; a line in the middle says how many bytes are not."""
        with self._lock:
            newest = b"".join(self._newest)
            if not self._dropped:
                return bytes(self._head) + newest
            note = f"\n[... {self._dropped} bytes not kept ...]\n".encode()
            return bytes(self._head) + note + newest

    def tail(self, lines: int, max_bytes: int) -> str:
        """The newest lines that fit both bounds, in text that a terminal cannot obey.

        Where not all lines fit, the stacks among them give way first: an engine of several
        processes ends with what its first one did, sixty frames after another said why.
        """
        text = self.content().decode(errors="replace")
        shown = [
            "".join(c if c.isprintable() or c == "\t" else "?" for c in line)
            for line in text.splitlines()
        ]
        if len(shown) > lines or sum(len(line.encode()) + 1 for line in shown) > max_bytes:
            shown = list(without_stacks(shown))
        kept: list[str] = []
        size = 0
        for line in reversed(shown[-lines:] if lines > 0 else []):
            size += len(line.encode()) + 1
            if size > max_bytes:
                if not kept:
                    kept.append(line.encode()[-max_bytes:].decode(errors="ignore"))
                break
            kept.append(line)
        return "\n".join(reversed(kept))


def without_stacks(lines: Iterable[str]) -> Iterator[str]:
    """The frames of Python's stacks left out; a line in their place says how many lines they were.

    What a stack ends with, the error, stays.
    """
    before, left_out = "", 0
    for line in lines:
        frame = _FRAME.fullmatch(line)
        # Beneath a frame stands its source, further in. Another's frame begins another stack.
        goes_on = left_out > 0 and (
            frame[1] == before if frame is not None else line.startswith(f"{before}    ")
        )
        if left_out and not goes_on:
            yield _note(before, left_out)
            left_out = 0
        if frame is not None:
            before = frame[1]
        if frame is not None or goes_on:
            left_out += 1
        else:
            yield line
    if left_out:
        yield _note(before, left_out)


def _note(before: str, left_out: int) -> str:
    lines = "line" if left_out == 1 else "lines"
    return f"{before}  [... {left_out} {lines} of a stack ...]"
