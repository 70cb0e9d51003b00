"""Whether a kill for memory was at a container's own limit, where the engine cannot tell.

Under cgroup v2 the engine says ``OOMKilled`` of every container in which the kernel killed
something for memory: also when the whole machine ran out, by whoever's doing. But the kernel counts
the times that a limit was met (``oom`` in ``memory.events``) in each group and all above it. A
container's own group is gone with it; the group above stays. Under cgroup v1 the engine is only
told of kills at a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MOUNTS: Final = Path("/proc/self/mounts")
_GROUP_OF_DRIVER: Final = {"systemd": "system.slice", "cgroupfs": "docker"}


class MetLimits:
    """Counts how often containers met their memory limit since this was made."""

    def __init__(
        self, info: Mapping[str, Any], cgroups: Path = CGROUPS, mounts: Path = MOUNTS
    ) -> None:
        """``info`` is what the engine says of itself."""
        self._events: Path | None = None
        group = _GROUP_OF_DRIVER.get(str(info.get("CgroupDriver")))
        if str(info.get("CgroupVersion")) == "2" and group and not _counts_are_local(mounts):
            self._events = cgroups / group / "memory.events"
        self._before = self._count()

    def none_met(self) -> bool:
        """Whether it is known that no limit was met: then a kill was not for a limit."""
        now = self._count()
        return now is not None and self._before is not None and now == self._before

    def _count(self) -> int | None:
        if self._events is None:
            return None
        try:
            lines = self._events.read_text().splitlines()
        except OSError:
            return None  # no such group here: unknown, and the engine's word stands
        counts = dict(line.split() for line in lines)
        return int(counts["oom"]) if "oom" in counts else None


def _counts_are_local(mounts: Path) -> bool:
    """Whether groups count without those below them, or nobody can say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return True
    return any(
        words[2] == "cgroup2" and "memory_localevents" in words[3].split(",")
        for words in map(str.split, lines)
        if len(words) > 3
    )
