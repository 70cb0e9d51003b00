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
CLIENT_CPUS: Final = 2
"""Cores' time that servers never get: the client that times them runs beside them, and a server
that burns all of the machine would make it late. At most half of the machine, rounded down."""
LOG_FILES: Final = 2
RUNTIME: Final = "runc"
"""Named, so that a machine's default runtime is not asked: a vendor's one mounts devices and runs
hooks by what an image's own environment says. GPUs come by device requests alone."""
VENDOR_ENVIRONMENT: Final = {
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "NVIDIA_GDRCOPY": "disabled",
    "NVIDIA_GDS": "disabled",
    "NVIDIA_IMEX_CHANNELS": "",
    "NVIDIA_MIG_CONFIG_DEVICES": "",
    "NVIDIA_MIG_MONITOR_DEVICES": "",
    "NVIDIA_MOFED": "disabled",
    "NVIDIA_NVSWITCH": "disabled",
    "NVIDIA_VISIBLE_DEVICES": "void",
}
"""Written over the image's own words to the GPU hook, e.g. for InfiniBand, a way around the
firewall. Which GPUs are seen is said by the engine, after these, where any are asked for."""
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
    servers: int = 1,
) -> dict[str, Any]:
    """The body of the engine's ``POST /containers/create``; ``servers`` live at once.

    Nothing of our own environment is in it. The image's own entrypoint, command, environment and
    user stay, but for what is said to the GPU hook; its health check, its stop signal and its
    volumes do not.
    """
    memory_bytes = memory_limit(limits, machine, servers)
    return {
        "Image": image_id,
        "Hostname": "server",
        "Labels": dict(labels),
        "Env": [f"{name}={value}" for name, value in sorted(VENDOR_ENVIRONMENT.items())],
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "NetworkingConfig": {"EndpointsConfig": {network: {}}},
        "HostConfig": {
            "Runtime": RUNTIME,
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
            "NanoCpus": cpu_limit(limits, machine) * 10**9,
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


def memory_limit(limits: ServerLimits, machine: Machine, servers: int = 1) -> int:
    """The policy's for each of the servers that live at once, or an equal share of what the machine
    can spare if that is less: else one that eats memory would have the kernel end another.

    What a server writes to its scratch space counts as its own memory, so this bounds it, too.
    """
    reserve = min(HOST_MEMORY_RESERVE, machine.memory_bytes // 2)
    spared = machine.memory_bytes - reserve
    return min(limits.memory_bytes, spared // servers)


def cpu_limit(limits: ServerLimits, machine: Machine) -> int:
    """The policy's, or what the machine can spare beside the client if that is less."""
    return min(limits.cpus, machine.cpus - min(CLIENT_CPUS, machine.cpus // 2))


def scratch_paths(declared_volumes: Iterable[str]) -> list[str]:
    """Where memory is mounted: ``/tmp``, and every path that the image declares as a volume, which
    would else be a writable folder on the host's disk."""
    declared = {posixpath.normpath("/" + path.lstrip("/")) for path in declared_volumes}
    return [SCRATCH_MOUNT, *sorted(declared - {SCRATCH_MOUNT, MODEL_MOUNT})]


def _gpus(count: int) -> list[dict[str, Any]]:
    if not count:
        return []
    return [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]
