"""One contest's place on a Docker Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import docker.errors

from evaluation.images import ImageRef, is_public_registry, registry_of
from evaluation.runners.docker.blame import is_images_own_fault
from evaluation.runners.docker.connection import (
    Connection,
    Deadline,
    engine_faults,
    reason_of,
)
from evaluation.runners.docker.contract import Machine, container_config
from evaluation.runners.docker.fingerprint import image_fingerprint
from evaluation.runners.docker.firewall import HostFirewall
from evaluation.runners.docker.marks import mark_pull
from evaluation.runners.docker.memory_kills import MetLimits
from evaluation.runners.docker.network import Networks
from evaluation.runners.docker.ownership import ROLE_LABEL, Ownership
from evaluation.runners.docker.pulling import find_image, pull, too_large
from evaluation.runners.docker.server import DockerServer
from evaluation.runners.docker.watching import Watch
from evaluation.runners.port import (
    ExitedAtStartError,
    ImageFacts,
    ImageRefusedError,
    InfrastructureFaultError,
)
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.contest_policy import ServerLimits

NOT_STARTED_EXIT_CODE: Final = 127


class DockerStage:
    """A :class:`~evaluation.runners.port.Stage`; made and cleared away by the runner."""

    def __init__(
        self,
        connection: Connection,
        *,
        model_dir: Path,
        limits: ServerLimits,
        machine: Machine,
        ownership: Ownership,
        networks: Networks,
        firewall: HostFirewall | None,
        fingerprints: dict[str, str],
        stop_grace_s: float,
        servers: int,
        registries: frozenset[str] | None,
    ) -> None:
        """``servers`` live at once; ``registries`` as the runner's; ``fingerprints`` are remembered
        by image id, which is the content's own hash."""
        self._connection = connection
        self._model_dir = model_dir
        self._limits = limits
        self._machine = machine
        self._ownership = ownership
        self._networks = networks
        self._firewall = firewall
        self._fingerprints = fingerprints
        self._stop_grace_s = stop_grace_s
        self._servers = servers
        self._registries = registries

    def prepare(self, image: ImageRef, timeout_s: float) -> ImageFacts:
        """Pull it unless it is here; see :meth:`evaluation.runners.port.Stage.prepare`."""
        deadline = Deadline(timeout_s)
        found = self._found(image)
        if found is None:
            found = self._pulled(image, deadline)
        size = int(found.attrs["Size"])
        if size > self._limits.image_bytes:
            raise too_large(image, size, self._limits.image_bytes, "unpacked")
        fingerprint = self._fingerprints.get(found.id)
        if fingerprint is None:
            fingerprint = self._fingerprint(image, found, deadline)
            self._fingerprints[found.id] = fingerprint
        return ImageFacts(image=str(image), fingerprint=fingerprint, bytes=size)

    def launch(self, image: ImageRef, role: str) -> DockerServer:
        """Start a container of it; see :meth:`evaluation.runners.port.Stage.launch`."""
        found = self._found(image)
        if found is None:
            raise InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"the image {image} is not on this machine; it is to be prepared first",
            )
        if self._firewall is not None:
            self._firewall.ensure()
        network = self._networks.new()
        own = found.attrs.get("Config") or {}
        config = container_config(
            found.id,
            declared_volumes=own.get("Volumes") or (),
            network=network.name,
            model_dir=self._model_dir,
            limits=self._limits,
            machine=self._machine,
            labels=self._ownership.labels(**{ROLE_LABEL: role}),
            servers=self._servers,
        )
        # What is made here and cannot be started goes with the stage.
        try:
            api = self._connection.client.api
            made: str = api.create_container_from_config(config)["Id"]
            met_limits = MetLimits(api.info())
            watch = Watch(self._connection, made)
            try:
                api.start(made)
            except BaseException:
                watch.close()
                raise
        except docker.errors.APIError as error:
            said = reason_of(error)
            if is_images_own_fault(said, own):
                raise ExitedAtStartError(
                    f"the image {image} cannot be started: {said}",
                    log_tail=said,
                    exit_code=NOT_STARTED_EXIT_CODE,
                ) from error
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"the Docker Engine could not start the {role}'s server: {said}",
            ) from error
        except OSError as error:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"the Docker Engine could not start the {role}'s server: {reason_of(error)}",
            ) from error
        return DockerServer(
            self._connection,
            made,
            network.name,
            watch=watch,
            met_limits=met_limits,
            stop_grace_s=self._stop_grace_s,
            release=network.remove,
        )

    def _fingerprint(self, image: ImageRef, found: Any, deadline: Deadline) -> str:
        doing = f"read the files of {image}"
        with engine_faults(doing, InfrastructureCause.PULL_FAILED):
            try:
                return image_fingerprint(
                    self._connection, found, self._ownership.labels(), deadline
                )
            except docker.errors.APIError as error:
                said = reason_of(error)
                if not is_images_own_fault(said, found.attrs.get("Config") or {}):
                    raise
                raise ImageRefusedError(
                    DisqualificationCode.EXITED_AT_START,
                    f"no container can be made of the image {image}: {said}",
                ) from error

    def _found(self, image: ImageRef) -> Any | None:
        with engine_faults(f"look for the image {image}"):
            return find_image(self._connection, image)

    def _pulled(self, image: ImageRef, deadline: Deadline) -> Any:
        if not image.repository:
            raise InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"the image {image} is not on this machine, and nothing says where to pull it from",
            )
        registry = registry_of(image)
        named = self._registries
        if named is not None and registry not in named and not is_public_registry(registry):
            raise ImageRefusedError(
                DisqualificationCode.IMAGE_NAME_INVALID,
                f"the image {image} is at {registry}, which is no public registry; "
                "push it to one and commit it by that name",
            )
        with engine_faults(f"mark the pull of {image}"):
            mark_pull(self._connection, image, self._ownership)
        return pull(self._connection, image, self._limits.image_bytes, deadline)
