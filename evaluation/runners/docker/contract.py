"""The container contract (DOMAIN 4) as what the engine is asked for: limits, mounts, no rights."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.contest_policy import ServerLimits

SERVER_PORT: Final = 8_000
MODEL_MOUNT: Final = "/models"
SCRATCH_MOUNT: Final = "/tmp"  # noqa: S108 - the container's own, in memory
HOST_MEMORY_RESERVE: Final = 2 * 2**30
"""What is left to the host when the policy's limit is more than the machine has: a server that
eats memory must be ended at its own limit, not at the machine's."""
LOG_FILES: Final = 2
OOM_SCORE_ADJ: Final = 1_000
"""If the machine's memory runs out all the same, the kernel takes the server and not us."""
NOWHERE: Final = "127.0.0.1"
"""The container's own loopback, where no resolver is. Without a server given, engines before 25.0.5
let the embedded resolver ask the host's own one, even for an internal network (CVE-2024-29018)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to be limited."""

    cpus: int
    memory_bytes: int


def container_config(
    image_id: str,
    *,
    declared_volumes: Iterable[str],
    network: str,
    model_dir: Path,
    limits: ServerLimits,
    machine: Machine,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """The body of the engine's ``POST /containers/create``.

    Nothing of our own environment is in it. The image's own entrypoint, command, environment and
    user stay; its health check, its stop signal and its volumes do not.
    """
    memory_bytes = memory_limit(limits, machine)
    return {
        "Image": image_id,
        "Hostname": "server",
        "Labels": dict(labels),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "NetworkingConfig": {"EndpointsConfig": {network: {}}},
        "HostConfig": {
            "NetworkMode": network,
            "Dns": [NOWHERE],
            "DnsSearch": ["."],
            "ReadonlyRootfs": True,
            "Tmpfs": dict.fromkeys(
                scratch_paths(declared_volumes), f"rw,exec,mode=1777,size={limits.tmp_bytes}"
            ),
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": str(model_dir),
                    "Target": MODEL_MOUNT,
                    "ReadOnly": True,
                    "BindOptions": {"Propagation": "rprivate"},
                }
            ],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,  # memory and swap together: no swap
            "NanoCpus": min(limits.cpus, machine.cpus) * 10**9,
            "PidsLimit": limits.pids,
            "ShmSize": min(limits.shm_bytes, memory_bytes),
            "OomScoreAdj": OOM_SCORE_ADJ,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "LogConfig": {
                "Type": "json-file",
                "Config": {
                    "max-size": str(limits.log_bytes // LOG_FILES),
                    "max-file": str(LOG_FILES),
                },
            },
            "RestartPolicy": {"Name": "no"},
            "PublishAllPorts": False,
            "DeviceRequests": _gpus(limits.gpus),
        },
    }


def memory_limit(limits: ServerLimits, machine: Machine) -> int:
    """The policy's, or what the machine can spare if that is less."""
    if machine.memory_bytes <= 2 * HOST_MEMORY_RESERVE:
        return min(limits.memory_bytes, machine.memory_bytes // 2)
    return min(limits.memory_bytes, machine.memory_bytes - HOST_MEMORY_RESERVE)


def scratch_paths(declared_volumes: Iterable[str]) -> list[str]:
    """Where memory is mounted: ``/tmp``, and every path that the image declares as a volume, which
    would else be a writable folder on the host's disk."""
    declared = {posixpath.normpath("/" + path.lstrip("/")) for path in declared_volumes}
    return [SCRATCH_MOUNT, *sorted(declared - {SCRATCH_MOUNT, MODEL_MOUNT})]


def _gpus(count: int) -> list[dict[str, Any]]:
    if not count:
        return []
    return [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]
