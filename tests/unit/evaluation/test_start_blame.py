"""Whose fault a container is that the engine could not start, by the engine's own words."""

from __future__ import annotations

from typing import Any, Final

import pytest

from evaluation.runners.docker.blame import is_images_own_fault

IMAGE: Final[dict[str, Any]] = {
    "Entrypoint": ["/server"],
    "Cmd": ["--fast"],
    "WorkingDir": "/work",
    "User": "somebody",
    "Volumes": {"/data": {}, "/proc/inside": {}, "/tmp": {}},  # noqa: S108 - the container's own
}
RUNC: Final = "OCI runtime create failed: runc create failed: unable to start container process: "
LAYERS: Final = "/var/lib/docker/overlay2"

HOSTS: Final = [
    f"{RUNC}error during container init: error running prestart hook #0: exit status 1, stdout: , "
    "stderr: Auto-detected mode as 'legacy' nvidia-container-cli: initialization error: load "
    "library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory: "
    "unknown",
    "failed to create task for container: fork/exec /usr/bin/nvidia-container-runtime-hook: "
    "no such file or directory: unknown",
    "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error: "
    'exec: "nvidia-container-runtime": executable file not found in $PATH: unknown',
    'invalid mount config for type "bind": bind source path does not exist: /srv/models/one',
    f"mkdir {LAYERS}/abc-init: read-only file system",
    f"{RUNC}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/docker/x: no such file or "
    "directory: unknown",
    "nvidia-container-cli: mount error: open failed: /sys/fs/cgroup/devices/devices.allow: "
    "permission denied: unknown",
    'could not select device driver "" with capabilities: [[gpu]]',
    f'{RUNC}error mounting "/srv/models" to rootfs at "/models": no such file or directory',
    f'{RUNC}error mounting "tmpfs" to rootfs at "/tmp": permission denied: unknown',
    f'{RUNC}exec: "/other": permission denied: unknown',
    f'{RUNC}exec: "/server": input/output error: unknown',
    f"mkdir {LAYERS}/abc/merged/models: not a directory",
    "containerd-shim-runc-v2: permission denied: unknown",
    "",
]
IMAGES: Final = [
    f'{RUNC}exec: "/server": stat /server: no such file or directory: unknown',
    f'{RUNC}exec: "/server": permission denied: unknown',
    f'{RUNC}exec: "/server": is a directory: unknown',
    f'{RUNC}error mounting "tmpfs" to rootfs at "/proc/inside": "{LAYERS}/abc/merged/proc/inside" '
    "cannot be mounted because it is inside /proc: unknown",
    f'{RUNC}error mounting "tmpfs" to rootfs at "/data": mkdirat {LAYERS}/abc/merged/data: '
    "read-only file system: unknown",
    "unable to find user somebody: no matching entries in passwd file",
    f'{RUNC}chdir to cwd ("/work") set in config.json failed: permission denied: unknown',
    "Cannot mkdir: /work is not a directory",
    "No command specified",
    "invalid mount config for type \"tmpfs\": invalid specification: destination can't be '/'",
]


@pytest.mark.parametrize("said", HOSTS)
def test_a_broken_machine_is_nobodys_fault(said: str) -> None:
    assert not is_images_own_fault(said, IMAGE)


@pytest.mark.parametrize("said", IMAGES)
def test_what_the_image_names_and_cannot_be_is_its_own(said: str) -> None:
    assert is_images_own_fault(said, IMAGE)


def test_a_name_that_speaks_of_the_machine_hides_nothing() -> None:
    named = {"Entrypoint": ["/opt/nvidia/cgroup-hook"]}
    said = f'{RUNC}exec: "/opt/nvidia/cgroup-hook": stat /opt/nvidia/cgroup-hook: no such file'
    assert is_images_own_fault(said, named)
    assert not is_images_own_fault(said + "; nvidia-container-cli: driver error", named)


def test_an_image_that_says_nothing_of_itself_is_blamed_for_nothing() -> None:
    assert not is_images_own_fault(IMAGES[0], {})
    assert is_images_own_fault("No command specified", {"Entrypoint": None, "Cmd": None})
