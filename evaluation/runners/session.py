"""The processes of a server's session, by the kernel's own list (proc(5)).

A session and not only its group: a program of a server may make groups of its own.
Where there is no such list (no Linux) nothing is found, and a signal has to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_ENDED: Final = frozenset("ZXx")
"""Ended, and at most not yet reaped: its memory, a GPU's too, is given back."""
_STANDING_STILL: Final = _ENDED | frozenset("tT")
"""Stopped or traced, too."""


class Process(NamedTuple):
    """A process (or thread) at one moment: its state's letter, and to whom it belongs."""

    state: str
    parent: int
    group: int
    session: int

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in _ENDED


def read_process(pid: int, proc: Path = _PROC) -> Process | None:
    """The process of that number; None where there is none, or no such list."""
    return _read(proc / str(pid) / "stat")


def running_of(leader: int, proc: Path = _PROC) -> list[int]:
    """The processes of ``leader``'s session of which a thread is neither stopped nor ended."""
    return [pid for pid in members_of(leader, proc) if not _all_in(_STANDING_STILL, proc, pid)]


def left_of(leader: int, proc: Path = _PROC) -> list[int]:
    """The processes of ``leader``'s session of which a thread has not ended."""
    return [pid for pid in members_of(leader, proc) if not _all_in(_ENDED, proc, pid)]


def members_of(leader: int, proc: Path = _PROC) -> list[int]:
    """The processes of ``leader``'s session or group, ended ones that nobody reaped included."""
    found = []
    for entry in proc.glob("[0-9]*/stat"):
        stat = _read(entry)
        if stat is not None and leader in (stat.group, stat.session):
            found.append(int(entry.parent.name))
    return sorted(found)


def outside_of(leader: int, proc: Path = _PROC) -> list[int]:
    """Those of them in another group than ``leader``'s, which a signal to that one misses."""
    stats = ((pid, read_process(pid, proc)) for pid in members_of(leader, proc))
    return [pid for pid, stat in stats if stat is not None and stat.group != leader]


def _all_in(states: frozenset[str], proc: Path, pid: int) -> bool:
    """Whether every thread is in one of these; a process whose first thread has ended may go on."""
    return all(stat.state in states for stat in _threads(proc / str(pid)))


def _threads(process: Path) -> Iterator[Process]:
    for entry in process.glob("task/[0-9]*/stat"):
        stat = _read(entry)
        if stat is not None:
            yield stat


def _read(entry: Path) -> Process | None:
    """None where it ended while it was looked at."""
    try:
        # The name, in parentheses, may hold anything; what follows it is fixed.
        text = entry.read_text(errors="replace")
        state, parent, group, session = text.rpartition(")")[2].split()[:4]
        return Process(state, int(parent), int(group), int(session))
    except (OSError, ValueError):
        return None
