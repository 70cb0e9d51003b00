"""The Docker Engine of a rented machine, driven from here through a socket that SSH forwards.

For what is not timed: what it is, images ahead of a contest, what a contest left. A contest itself
runs on the machine, beside its engine: through a tunnel the tunnel would be measured, and the
firewall that holds containers is the machine's own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from evaluation.pods.faults import ConnectionLostError, HostError, said
from evaluation.pods.ssh import CONNECT_TIMEOUT_S
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

if TYPE_CHECKING:
    import subprocess

    from evaluation.images import ImageRef
    from evaluation.pods.host import PodHost
    from evaluation.runners.docker.connection import Check, Connection

SOCKET: Final = "/var/run/docker.sock"
UP_S: Final = 2.0 * CONNECT_TIMEOUT_S
LOOK_AT_DISK_S: Final = 10.0
_POLL_S: Final = 0.05
_MAX_TEXT_CHARS: Final = 120


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The engine by its own word."""

    version: str
    api: str
    storage_driver: str
    runtimes: tuple[str, ...]
    data: str
    """Where it keeps images, a path of its machine."""


class PodEngine:
    """The engine behind the forwarded socket; use :func:`engine_of`."""

    def __init__(self, host: PodHost, connection: Connection) -> None:
        self._host = host
        self.connection = connection

    def facts(self) -> EngineFacts:
        """Ask it what it is. Raises :class:`InfrastructureFaultError` where it does not say."""
        from evaluation.runners.docker.connection import engine_faults

        with engine_faults("say what it is"):
            version = self.connection.client.version()
            info = self.connection.client.info()
        return EngineFacts(
            version=_text(version.get("Version")),
            api=_text(version.get("ApiVersion")),
            storage_driver=_text(info.get("Driver")),
            runtimes=tuple(sorted(map(_text, info.get("Runtimes") or ())))[:32],
            data=_text(info.get("DockerRootDir")),
        )

    def pull(self, image: ImageRef, *, max_bytes: int, timeout_s: float) -> bool:
        """Have the image there before a contest begins; whether it had to be pulled.

        Nobody is blamed for it: the contest itself judges what its images are. Raises
        :class:`~evaluation.runners.port.ImageRefusedError` where it is too large, and then it is
        not kept, and :class:`InfrastructureFaultError` where it cannot be had.
        """
        from evaluation.runners.docker.connection import Deadline, engine_faults
        from evaluation.runners.docker.pulling import find_image, pull, too_large

        with engine_faults(f"look for the image {image}"):
            found = find_image(self.connection, image)
        pulled = found is None
        if found is None:
            room = self._room(image)
            found = pull(self.connection, image, max_bytes, Deadline(timeout_s), room)
        size = int(found.attrs["Size"])
        if size > max_bytes:
            if pulled:
                with engine_faults(f"remove the image {image}"):
                    self.connection.client.images.remove(str(image))
            raise too_large(image, size, max_bytes, "unpacked")
        return pulled

    def _room(self, image: ImageRef) -> Check:
        """Watches the disk there; a full one ends more than a pull."""
        from evaluation.runners.docker.pulling import FREE_SPACE_FLOOR

        data = self.facts().data
        next_s = 0.0

        def check() -> Exception | None:
            nonlocal next_s
            if time.monotonic() < next_s:
                return None
            next_s = time.monotonic() + LOOK_AT_DISK_S
            try:
                free = self._host.free_bytes(data)
            except HostError as error:
                return InfrastructureFaultError(InfrastructureCause.PULL_FAILED, str(error))
            if free >= FREE_SPACE_FLOOR:
                return None
            return InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"the disk of the Docker Engine at {self._host.ssh.address} has {free} bytes left "
                f"while {image} is pulled; {FREE_SPACE_FLOOR} are kept free",
            )

        return check

    def leftovers(self) -> tuple[str, ...]:
        """One sentence for each container, pulled image and network of ours that is there."""
        from evaluation.runners.docker.leftovers import found_of

        return tuple(f"there is {what}" for what in found_of(self.connection))

    def remove_leftovers(self) -> tuple[str, ...]:
        """Remove all of them, whosever they are; for a machine on which no contest runs.

        Firewall rules stay until the machine's own next contest, which removes them. Raises
        :class:`InfrastructureFaultError` where something would not go.
        """
        from evaluation.runners.docker.leftovers import clear

        cleared = clear(self.connection, lambda *_: True, host_firewall=False)
        if cleared.failed:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"what contests left at {self._host.ssh.address} could not all be removed: "
                + "; ".join(cleared.failed),
            )
        return tuple(cleared.removed)


@contextmanager
def engine_of(host: PodHost, socket: str = SOCKET) -> Iterator[PodEngine]:
    """The engine of a machine, for as long as this lasts.

    Its socket here lies in a folder that only this user can enter. Raises :class:`HostError` where
    the machine forwards nothing.
    """
    from evaluation.runners.docker.connection import Connection

    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # mode 0700
        local = Path(folder) / "docker.sock"
        with (Path(folder) / "log").open("w+b") as log:
            process = host.ssh.forward(local, socket, log)
            connection = None
            try:
                _wait(host, process, local, Path(folder) / "log")
                connection = Connection(f"unix://{local}")
                yield PodEngine(host, connection)
            finally:
                if connection is not None:
                    connection.close()
                process.kill()
                process.wait()


def _wait(host: PodHost, process: subprocess.Popen[bytes], local: Path, log: Path) -> None:
    deadline_s = time.monotonic() + UP_S
    while not local.exists():
        if process.poll() is not None or time.monotonic() > deadline_s:
            msg = (
                f"{host.ssh.address} does not forward its Docker Engine's socket: "
                f"{said(log.read_bytes()) or 'no word'}"
            )
            raise ConnectionLostError(msg)
        time.sleep(_POLL_S)


def _text(value: object) -> str:
    from evaluation.client import printable

    return printable(str(value))[:_MAX_TEXT_CHARS]
