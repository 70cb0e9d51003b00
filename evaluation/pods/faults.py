"""What goes wrong on the way to a rented machine, and on it. Every message is one sentence.

What the machine says is a stranger's: it is bounded and printable in each of these.
"""

from __future__ import annotations

from typing import Final

from evaluation.client import printable

MAX_SAID_CHARS: Final = 2_000
"""Of a machine's own words in an error: their end, where the reason usually stands."""


class HostError(Exception):
    """A machine that cannot be used as asked."""


class KeyFileError(HostError):
    """Our own key file will not do."""


class UnreachableError(HostError):
    """No SSH answers there (yet)."""


class KeyRefusedError(HostError):
    """SSH answers and does not let us in."""


class HostKeyChangedError(HostError):
    """Another machine answers than the one that was trusted first."""


class ConnectionLostError(HostError):
    """The connection broke in the middle; whether the command ran is open."""


class TooSlowError(HostError):
    """No end within the deadline; the connection was closed."""


class TooMuchError(HostError):
    """The machine sent more than it may; the connection was closed."""


class CommandFailedError(HostError):
    """A command ended with another code than 0."""

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message)
        self.code = code
        self.said = said


class RemoteContestError(HostError):
    """A contest on the machine came to nothing that could be taken home."""


def said(data: bytes) -> str:
    """The end of what a machine said, on one line that can be shown."""
    text = " ".join(printable(data.decode(errors="replace")).split())
    return text if len(text) <= MAX_SAID_CHARS else "…" + text[1 - MAX_SAID_CHARS :]
