"""Who uses the GPUs and should not: processes that belong to no server of the contest.

They void nothing by themselves: what they take shows in the baseline's own drift. An operator has
to know of them all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from evaluation.gpus import GpuFacts, GpuProcess
from evaluation.runners.session import Process, read_process

MAX_STRANGERS: Final = 16
"""So many are recorded of one moment, those with most memory first."""
HIDDEN_MIB: Final = 1_024
"""A GPU with more memory in use than this has a process, listed or not; a driver needs less."""
_MAX_DEPTH: Final = 64


class Neighbours:
    """The servers of one contest that run, and who else is found on the GPUs.

    Before the first server is launched whoever is there is a stranger. From then on a process is
    ours that is in the session, in the group or below the process of a running server. Where that
    cannot be said (servers in containers, or a driver that numbers processes otherwise than this
    system does) the strangers are None: unknown, not none.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._any_launched = False
        self._servers: list[int | None] = []
        self._ours: set[int] = set()

    def launched(self, pid: int | None) -> None:
        """A server runs from now on; None where it is no process of this host."""
        self._any_launched = True
        self._servers.append(pid)

    def ended(self, pid: int | None) -> None:
        """It has been stopped."""
        if pid in self._servers:
            self._servers.remove(pid)

    def strangers(self, facts: GpuFacts) -> tuple[GpuProcess, ...] | None:
        """Those among the processes of ``facts``, at most :data:`MAX_STRANGERS`."""
        if facts.gpus is None:
            return None
        if not facts.processes:
            # In a container the driver may list nobody, whoever is there.
            used = [gpu.memory_used_mib for gpu in facts.gpus]
            return () if all(mib is not None and mib <= HIDDEN_MIB for mib in used) else None
        left = self._not_ours(facts.processes) if self._any_launched else facts.processes
        return None if left is None else _most(left)

    def _not_ours(self, processes: Sequence[GpuProcess]) -> list[GpuProcess] | None:
        servers = {pid for pid in self._servers if pid is not None}
        ours = {one.pid for one in processes if self._belongs(one.pid, servers)}
        self._ours |= ours
        # One of ours that was stopped a moment ago may be listed though it is gone.
        left = [
            one
            for one in processes
            if one.pid not in ours and (one.pid not in self._ours or self._lives(one.pid))
        ]
        in_containers = len(servers) < len(self._servers)
        # A number that this system does not know, or none of a server of ours that works on a GPU:
        # the driver numbers processes otherwise than this system does.
        unnumbered = any(self._read(one.pid) is None for one in left)
        never_ours = bool(servers and left and not self._ours)
        return None if in_containers or unnumbered or never_ours else left

    def _belongs(self, pid: int, servers: set[int]) -> bool:
        found = self._read(pid)
        if found is None:
            return False
        return not servers.isdisjoint({found.session, found.group, *self._above(pid)})

    def _above(self, pid: int) -> Iterator[int]:
        """The process itself and those that started it, up to the first."""
        for _ in range(_MAX_DEPTH):
            yield pid
            found = self._read(pid)
            if found is None or found.parent <= 1:
                return
            pid = found.parent

    def _lives(self, pid: int) -> bool:
        found = self._read(pid)
        return found is not None and not found.ended

    def _read(self, pid: int) -> Process | None:
        return read_process(pid, self._proc)


def all_strangers(
    seen: Iterable[tuple[GpuProcess, ...] | None],
) -> tuple[GpuProcess, ...] | None:
    """Everybody who was seen, once for each GPU, with the most memory; None if all is unknown."""
    known = [moment for moment in seen if moment is not None]
    if not known:
        return None
    found: dict[tuple[str, int, str], GpuProcess] = {}
    for one in (process for moment in known for process in moment):
        key = (one.gpu_uuid, one.pid, one.name)
        if key not in found or (one.memory_mib or 0) > (found[key].memory_mib or 0):
            found[key] = one
    return tuple(found[key] for key in sorted(found))


def _most(processes: Iterable[GpuProcess]) -> tuple[GpuProcess, ...]:
    ordered = sorted(processes, key=lambda one: (-(one.memory_mib or 0), one.gpu_uuid, one.pid))
    return tuple(ordered[:MAX_STRANGERS])
