"""Where a server really listens, read from the kernel (Linux), for one that is not found.

A container has a network of its own, so every listening socket of its namespace is the server's; a
plain process shares ours, so only sockets that its session holds open count.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_LISTEN: Final = "0A"
MAX_LISTENERS: Final = 16


class Listener(NamedTuple):
    """One listening TCP socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listeners(pid: int) -> tuple[Listener, ...] | None:
    """Where the server with this process id listens, at most :data:`MAX_LISTENERS` places.

    None where this machine does not tell: no Linux, the process is gone, or it is not ours to see.
    """
    try:
        shared = (_PROC / str(pid) / "ns/net").readlink() == (_PROC / "self/ns/net").readlink()
        sockets = _sockets(pid) if shared else None
        found = {
            listener for listener, inode in _listening(pid) if sockets is None or inode in sockets
        }
    except (OSError, ValueError):
        return None
    return tuple(sorted(found, key=lambda one: (one.port, one.host))[:MAX_LISTENERS])


def _listening(pid: int) -> Iterator[tuple[Listener, str]]:
    for table in ("tcp", "tcp6"):
        path = _PROC / str(pid) / "net" / table
        if not path.exists():
            continue  # a kernel without IPv6
        for line in path.read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, port = fields[1].split(":")
                yield Listener(_host(address), int(port, 16)), fields[9]


def _host(text: str) -> str:
    """The kernel writes addresses as 32-bit words in the machine's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))


def _sockets(leader: int) -> set[str]:
    """The inodes of the sockets that any process of the leader's session holds open."""
    inodes: set[str] = set()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or not _is_of_session(folder, leader):
            continue
        try:
            for descriptor in (folder / "fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
        except OSError:
            continue  # it ended while we looked
    return inodes


def _is_of_session(folder: Path, leader: int) -> bool:
    try:
        # The name in brackets may hold anything; what follows its last bracket is fixed.
        fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[3]) == leader
