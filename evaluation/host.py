"""What a contest says of the machine it ran on. A figure that cannot be read here is None."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from evaluation.client import printable

_CPU_INFO: Final = Path("/proc/cpuinfo")
_MAX_TEXT_CHARS: Final = 120


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine at one moment; ``load_milli`` is its load average over a minute, in thousandths
    of a process that wants to run. ``usable_cores`` are those this process may run on."""

    cpu: str | None
    cores: int | None
    usable_cores: int | None
    memory_bytes: int | None
    kernel: str
    load_milli: int | None


def host_facts(cpu_info: Path = _CPU_INFO) -> HostFacts:
    """Read the machine now."""
    try:
        load_milli = round(os.getloadavg()[0] * 1_000)
    except OSError:
        load_milli = None
    affinity = getattr(os, "sched_getaffinity", None)
    return HostFacts(
        cpu=_cpu_model(cpu_info),
        cores=os.cpu_count(),
        usable_cores=len(affinity(0)) if affinity is not None else None,
        memory_bytes=_memory_bytes(),
        kernel=printable(f"{platform.system()} {platform.release()}")[:_MAX_TEXT_CHARS],
        load_milli=load_milli,
    )


def client_version() -> str:
    """What asked the prompts: this project, the HTTP client under it, and Python."""
    parts = [f"{name} {_version_of(name)}" for name in ("cacheon-ledger", "aiohttp")]
    return ", ".join([*parts, f"Python {platform.python_version()}"])


def _version_of(package: str) -> str:
    """Its version, or that it runs from a folder and was never installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model(cpu_info: Path) -> str | None:
    try:
        lines = cpu_info.read_text(errors="replace").splitlines()
    except OSError:
        return None  # no Linux, or no /proc
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return printable(value)[:_MAX_TEXT_CHARS]
    return None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
