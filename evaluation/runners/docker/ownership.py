"""Whose a container, a network or a rule is: told by labels, so that a dead owner's can be found.

A worker's name alone does not say whether its process still lives; the boot, the process id and
the process's start time do, on the machine where the engine is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WORKER_LABEL: Final = "cacheon-ledger.worker"
OWNER_LABEL: Final = "cacheon-ledger.owner"
STAGE_LABEL: Final = "cacheon-ledger.stage"
CONTEST_LABEL: Final = "cacheon-ledger.contest"
ROLE_LABEL: Final = "cacheon-ledger.role"
IMAGE_LABEL: Final = "cacheon-ledger.image"

_WORKER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_START_TIME_FIELD: Final = 19  # of /proc/PID/stat, counted from the state on


def checked_worker(name: str) -> str:
    """The name, or ``ValueError``: it goes into labels and comments of firewall rules."""
    if not _WORKER.fullmatch(name):
        msg = f"{name!r} is no worker's name; use up to 63 letters, digits, dots, dashes"
        raise ValueError(msg)
    return name


def this_process() -> str:
    """``<boot>-<pid>-<start>``: no other process of this machine ever is the same."""
    pid = os.getpid()
    return f"{_boot()}-{pid}-{_start_of(pid)}"


def is_alive(owner: str) -> bool:
    """Whether the process that said so of itself is still running."""
    boot, _, rest = owner.partition("-")
    pid, _, start = rest.partition("-")
    if boot != _boot() or not pid.isdecimal():
        return False
    try:
        return _start_of(int(pid)) == start
    except OSError:  # no such process: it is dead
        return False


@dataclass(frozen=True, slots=True)
class Ownership:
    """What is written on everything one stage makes."""

    worker: str
    owner: str
    stage: str
    contest_id: str

    def labels(self, **more: str) -> dict[str, str]:
        """Labels of the engine."""
        return {
            WORKER_LABEL: self.worker,
            OWNER_LABEL: self.owner,
            STAGE_LABEL: self.stage,
            CONTEST_LABEL: self.contest_id,
            **more,
        }

    @property
    def tag(self) -> str:
        """The comment of a firewall rule."""
        return f"{TAG_PREFIX}{self.worker}:{self.owner}:{self.stage}"


TAG_PREFIX: Final = "cacheon-ledger:"


def read_tag(comment: str) -> tuple[str, str, str] | None:
    """``(worker, owner, stage)`` of a rule's comment, None for a rule of somebody else."""
    parts = comment.removeprefix(TAG_PREFIX).split(":")
    if not comment.startswith(TAG_PREFIX) or len(parts) != 3:
        return None
    worker, owner, stage = parts
    return worker, owner, stage


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


def _start_of(pid: int) -> str:
    # The name in brackets may hold blanks and brackets itself.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[_START_TIME_FIELD]
