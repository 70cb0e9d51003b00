"""A port of the loopback for a server that must be told which one it listens at."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_FIRST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_FROM = 32_768


def free_port() -> int:
    """One that nobody has, below those that the system itself gives away.

    Of the system's own, somebody else's connection may get the port between the look and its use.
    """
    upper = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else _USUALLY_FROM
    while True:
        port = random.SystemRandom().randrange(_FIRST, max(upper, _FIRST + 10_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
