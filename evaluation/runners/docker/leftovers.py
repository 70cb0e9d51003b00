"""Takes away what a stage made: at its end, or later in place of a process that died in it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import docker.errors

from evaluation.runners.docker.connection import Connection, engine_faults
from evaluation.runners.docker.firewall import removed_rules
from evaluation.runners.docker.ownership import (
    IMAGE_LABEL,
    OWNER_LABEL,
    ROLE_LABEL,
    STAGE_LABEL,
    WORKER_LABEL,
)
from evaluation.runners.port import InfrastructureFaultError

GONE_S: Final = 30.0
"""How long the engine may take over a removal that it has begun already."""
_POLL_S: Final = 0.1
_OURS: Final = {"label": WORKER_LABEL}

Meant = Callable[[str, str, str], bool]
"""``(worker, owner, stage)`` to whether it is to go."""


@dataclass(slots=True)
class Cleared:
    """One sentence for each thing that is gone, and one for each that would not go."""

    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def clear(connection: Connection, meant: Meant, host_firewall: bool) -> Cleared:
    """Containers, then images and their marks, networks, firewall rules; every step is tried.

    Rules go last: as long as a container may be left, it stays shut off.
    """
    cleared = Cleared()
    for listed in (_containers, _volumes, _networks):
        try:
            with engine_faults("list what a contest left"):
                found = list(listed(connection))
        except InfrastructureFaultError as fault:
            cleared.failed.append(fault.detail)
            continue
        for labels, what, remove in found:
            if not meant(
                *(labels.get(key, "") for key in (WORKER_LABEL, OWNER_LABEL, STAGE_LABEL))
            ):
                continue
            try:
                with engine_faults(f"remove {what}"):
                    remove()
            except InfrastructureFaultError as fault:
                cleared.failed.append(fault.detail)
            else:
                cleared.removed.append(f"removed {what}")
    if cleared.failed or not host_firewall:
        return cleared
    try:
        cleared.removed.extend(removed_rules(meant))
    except InfrastructureFaultError as fault:
        cleared.failed.append(fault.detail)
    return cleared


def found_of(connection: Connection) -> list[str]:
    """What of ours is there, whosever it is: ``the container …``. Removes nothing.

    Raises :class:`InfrastructureFaultError` where the engine does not say.
    """
    with engine_faults("list what a contest left"):
        return [
            what
            for listed in (_containers, _volumes, _networks)
            for _, what, _ in listed(connection)
        ]


Found = tuple[dict[str, str], str, Callable[[], None]]


def _containers(connection: Connection) -> Iterator[Found]:
    api = connection.client.api
    for one in api.containers(all=True, filters=_OURS):
        labels = one.get("Labels") or {}
        what = f"the container {one['Id'][:12]} ({labels.get(ROLE_LABEL, 'not started')})"
        yield labels, what, partial(_remove_container, api, one["Id"])


def _remove_container(api: Any, container: str) -> None:
    deadline_s = time.monotonic() + GONE_S
    while True:
        try:
            api.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # 409: the engine is removing it already, on behalf of somebody who is gone.
            if error.status_code != 409 or time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _volumes(connection: Connection) -> Iterator[Found]:
    """Each is the mark of an image that a stage pulled (:mod:`.marks`), and goes after it."""
    api = connection.client.api
    for one in api.volumes(filters=_OURS).get("Volumes") or ():
        labels = one.get("Labels") or {}
        image = labels.get(IMAGE_LABEL, "")
        what = f"the pulled image {image}"
        yield labels, what, partial(_unpull, api, image, one["Name"])


def _unpull(api: Any, image: str, mark: str) -> None:
    with contextlib.suppress(docker.errors.ImageNotFound):  # the pull had not come to its end
        api.remove_image(image)
    api.remove_volume(mark)


def _networks(connection: Connection) -> Iterator[Found]:
    api = connection.client.api
    for one in api.networks(filters=_OURS):
        what = f"the network {one['Name']}"
        yield one.get("Labels") or {}, what, partial(_remove_network, api, one["Id"])


def _remove_network(api: Any, network: str) -> None:
    try:
        api.remove_network(network)
    except docker.errors.NotFound:
        return
