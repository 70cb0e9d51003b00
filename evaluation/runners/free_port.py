"""A port of the loopback for a server that must be told where to listen and cannot choose."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FIRST: Final = 10_000
"""The lowest port that is tried; well-known services are below."""
_WIDTH: Final = 10_000
"""At least so many are tried, where the system gives away those above :data:`FIRST` itself."""
_TRIES: Final = 256
_GIVEN_AWAY: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_FROM: Final = 32_768


def free_port(given_away: Path = _GIVEN_AWAY) -> int:
    """One that nobody has, below those that the system gives to connections by itself.

    An engine listens a minute after it was told where; of the system's own, somebody's connection
    may have got the port by then, and the entrant would be blamed. Where none of many tries is
    free, it is one of the system's after all.
    """
    draw = random.SystemRandom()
    last = max(_lowest_given_away(given_away), FIRST + _WIDTH)
    for _ in range(_TRIES):
        port = draw.randrange(FIRST, last)
        if _is_free(port):
            return port
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        return int(listening.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _lowest_given_away(told: Path) -> int:
    """The first port of the system's own, as it says; the usual one where it does not."""
    try:
        return int(told.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _USUALLY_FROM
