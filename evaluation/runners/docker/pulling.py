"""Pulls an image by its digest, and stops as soon as it is too large, too slow or too much."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import docker.auth
import docker.errors

from evaluation.images import ImageRef
from evaluation.runners.docker.connection import (
    ENGINE_ERRORS,
    Check,
    Connection,
    Deadline,
    reason_of,
)
from evaluation.runners.port import ImageRefusedError, InfrastructureFaultError
from ledger.codes import DisqualificationCode, InfrastructureCause

FREE_SPACE_FLOOR: Final = 2 * 2**30
"""Bytes of the engine's disk that no image may take: a full disk ends more than a contest."""
LOOK_AGAIN_SHARE: Final = 4
"""New layers are measured again after each fourth of the limit that the disk filled."""
LAYERS_FOLDER: Final = "overlay2"
_WHY: Final = (
    (r"no space left", "the engine's disk is full"),
    (r"toomanyrequests|rate limit", "the registry wants fewer pulls from here"),
    (r"denied|unauthori[sz]ed|forbidden|authentication", "the registry does not give it out"),
    (r"manifest unknown|not found|does not exist|name unknown", "the registry has no such image"),
    (r"x509|certificate|tls:|HTTPS client", "the registry does not speak TLS that can be trusted"),
    (r"no such host|server misbehaving", "the registry's name leads nowhere"),
    (r"time-?out|timed out|deadline exceeded|took longer", "the registry did not answer in time"),
    (r"refused|unreachable|no route|reset by peer", "the registry cannot be reached"),
    (r"verification|digest|mismatch|unexpected EOF|invalid|broke off", "it is not the digest's"),
)
"""Why a pull failed, by the engine's words. They quote what a registry answered, which is whatever
a stranger wants a ledger to publish; so they go to the operator's log alone."""
_WHY_UNKNOWN: Final = "the evaluator's log says why"
_LOG: Final = logging.getLogger(__name__)


def find_image(connection: Connection, image: ImageRef) -> Any | None:
    """The SDK's ``Image`` if it is on the machine. Raises what the SDK raises."""
    try:
        return connection.client.images.get(str(image))
    except docker.errors.ImageNotFound:
        return None


def pull(
    connection: Connection,
    image: ImageRef,
    max_bytes: int,
    deadline: Deadline,
    room: Check | None = None,
) -> Any:
    """Have the engine pull it; the engine checks manifest and layers against the digest.

    ``room`` watches the disk instead of us where the engine is another machine's.

    Raises :class:`ImageRefusedError` as soon as its layers, packed or unpacked, are known to be
    larger than ``max_bytes``; :class:`InfrastructureFaultError` (`pull_failed`) otherwise.
    """
    with _pull_faults(image):
        api = connection.client.api
        registry, _ = docker.auth.resolve_repository_name(image.repository)
        credentials = docker.auth.get_config_header(api, registry)
        with connection.stream(
            "POST",
            "/images/create",
            deadline=deadline,
            checks=[room or _room_check(connection, image, max_bytes)],
            params={"fromImage": image.repository, "tag": image.digest},
            headers={"X-Registry-Auth": credentials} if credentials else {},
        ) as response:
            _follow(response.iter_lines(), image, max_bytes)
        pulled = find_image(connection, image)
    if pulled is None or not any(
        name.endswith("@" + image.digest) for name in pulled.attrs.get("RepoDigests") or ()
    ):
        raise InfrastructureFaultError(
            InfrastructureCause.PULL_FAILED, f"{image} was pulled and is not on this machine"
        )
    return pulled


@contextmanager
def _pull_faults(image: ImageRef) -> Iterator[None]:
    try:
        yield
    except ENGINE_ERRORS as error:
        _LOG.warning("the Docker Engine could not pull %s: %s", image, reason_of(error))
        raise InfrastructureFaultError(
            InfrastructureCause.PULL_FAILED,
            f"the Docker Engine could not pull {image}: {why_not_pulled(reason_of(error))}",
        ) from error


def why_not_pulled(said: str) -> str:
    """The kind of failure in our own words; nothing of ``said`` is in them."""
    for words, why in _WHY:
        if re.search(words, said, re.IGNORECASE):
            return why
    return _WHY_UNKNOWN


def too_large(image: ImageRef, found_bytes: int, max_bytes: int, how: str) -> ImageRefusedError:
    """The miner's own fault, in figures."""
    return ImageRefusedError(
        DisqualificationCode.IMAGE_TOO_LARGE,
        f"the image {image} has {how} {found_bytes} bytes; at most {max_bytes} are allowed",
    )


def _follow(lines: Iterable[bytes], image: ImageRef, max_bytes: int) -> None:
    """Read the engine's progress: every layer's packed size is known before it is downloaded."""
    sizes: dict[str, int] = {}
    for line in lines:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            msg = f"it broke off in the middle of {line[:80]!r}"
            raise docker.errors.DockerException(msg) from error
        if said := event.get("error"):
            raise docker.errors.DockerException(said)
        progress = event.get("progressDetail") or {}
        if event.get("status") != "Downloading" or "id" not in event:
            continue
        known = max(progress.get("total") or 0, progress.get("current") or 0)
        sizes[event["id"]] = max(known, sizes.get(event["id"], 0))
        if sum(sizes.values()) > max_bytes:
            raise too_large(image, sum(sizes.values()), max_bytes, "layers of")


def _room_check(connection: Connection, image: ImageRef, max_bytes: int) -> Check:
    """Watches the disk while layers are unpacked: a few bytes packed can be terabytes unpacked.

    The disk is everybody's, so what is gone of it is only the occasion to look how much of that
    lies in new layers: only what does is the image's own fault.
    """
    info = connection.client.info()
    root = Path(info["DockerRootDir"])
    began_s = time.time()
    free_at_first = _free_bytes(root)
    look_at = max_bytes

    def check() -> Exception | None:
        nonlocal look_at
        free = _free_bytes(root)
        gone = free_at_first - free
        if free >= FREE_SPACE_FLOOR and gone <= look_at:
            return None
        unpacked = new_layer_bytes(root / LAYERS_FOLDER, began_s)
        if unpacked > max_bytes:
            return too_large(image, unpacked, max_bytes, "unpacked to more than")
        if free < FREE_SPACE_FLOOR:
            return InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"the disk of the Docker Engine has {free} bytes left while {image} is pulled; "
                f"{FREE_SPACE_FLOOR} are kept free",
            )
        look_at = gone + max_bytes // LOOK_AGAIN_SHARE
        return None

    return check


def _free_bytes(root: Path) -> int:
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def new_layer_bytes(layers: Path, since_s: float) -> int:
    """The size of the files in layers that were begun since; 0 where the engine keeps none there.
    A file of several names counts once.

    Files come and go meanwhile; one that is gone counts for nothing.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    folders = [layers]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if folder == layers and status.st_ctime < since_s - 1:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        # The merged view of a running container shows its layers again.
                        if entry.name != "merged" or folder.parent != layers:
                            folders.append(Path(entry.path))
                    elif (status.st_dev, status.st_ino) not in linked:
                        if status.st_nlink > 1:
                            linked.add((status.st_dev, status.st_ino))
                        total += status.st_size
        except FileNotFoundError:
            continue
    return total
