"""Images of one's own: root file systems as tar files, imported, pushed, known by their digest."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import docker

from evaluation.images import ImageRef, parse_image
from tests.engine.engine import Engine

BUSYBOX = Path("/bin/busybox")
NO_TIME = 0


class Rootfs:
    """A root file system in the making; the same content gives the same bytes."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def file(
        self, path: str, content: bytes | str, *, mode: int = 0o644, mtime: int = NO_TIME
    ) -> None:
        """A regular file; ``path`` is absolute."""
        data = content.encode() if isinstance(content, str) else content
        info = self._info(path, tarfile.REGTYPE, mode, mtime)
        info.size = len(data)
        self._members[info.name] = (info, data)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        info = self._info(path, tarfile.SYMTYPE, 0o777, NO_TIME)
        info.linkname = target
        self._members[info.name] = (info, b"")

    def folder(self, path: str, *, mode: int = 0o755) -> None:
        """An empty folder."""
        info = self._info(path, tarfile.DIRTYPE, mode, NO_TIME)
        self._members[info.name] = (info, b"")

    def copy(self, source: Path, path: str) -> None:
        """A file of this machine, followed through its links."""
        real = source.resolve()
        self.file(path, real.read_bytes(), mode=0o755 if real.stat().st_mode & 0o111 else 0o644)

    def tar(self) -> bytes:
        """The archive, folders first."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in sorted(self._parents()):
                archive.addfile(self._info("/" + name, tarfile.DIRTYPE, 0o755, NO_TIME))
            for name in sorted(self._members):
                info, data = self._members[name]
                archive.addfile(info, io.BytesIO(data))
        return made.getvalue()

    def _parents(self) -> set[str]:
        found = {str(parent) for name in self._members for parent in Path(name).parents}
        return found - {"."} - self._members.keys()

    @staticmethod
    def _info(path: str, kind: bytes, mode: int, mtime: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode, info.mtime = kind, mode, mtime
        return info


def busybox_rootfs(script: str = "") -> Rootfs:
    """A static busybox with all its applets on the PATH, and ``script`` at ``/server``."""
    root = Rootfs()
    root.copy(BUSYBOX, "/bin/busybox")
    for applet in APPLETS:
        root.link(f"/bin/{applet}", "busybox")
    root.file("/etc/passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    root.folder("/tmp", mode=0o1777)  # noqa: S108
    if script:
        root.file("/server", f"#!/bin/sh\n{script}\n", mode=0o755)
    return root


APPLETS = (
    *("sh", "cat", "cp", "dd", "echo", "env", "head", "httpd", "id", "ip", "kill", "ls", "mkdir"),
    *("mount", "nc", "nslookup", "sleep", "tail", "test", "touch", "tr", "true", "trap", "wget"),
    *("yes", "ping", "rm", "ps", "df", "stat", "tee", "sync", "printf", "timeout", "grep"),
)


def import_image(
    engine: Engine,
    name: str,
    tar: bytes,
    *,
    entrypoint: Sequence[str] = ("/server",),
    environment: Mapping[str, str] | None = None,
    volumes: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    folder: str = "",
) -> str:
    """Make an image of one layer, named for the local registry, and return its id."""
    changes = [f"ENTRYPOINT {json.dumps(list(entrypoint))}"]
    changes += [f"ENV {key}={value}" for key, value in (environment or {}).items()]
    changes += [f"VOLUME {path}" for path in volumes]
    changes += [f"LABEL {key}={value}" for key, value in (labels or {}).items()]
    changes += [f"WORKDIR {folder}"] if folder else []
    client = engine.client
    said = client.api.import_image_from_data(
        tar, repository=f"{engine.registry}/{name}", tag="latest", changes=changes
    )
    return str(json.loads(said.splitlines()[-1])["status"])


def build_image(engine: Engine, name: str, files: Mapping[str, bytes], dockerfile: str) -> None:
    """Build an image of a Dockerfile that runs nothing, named for the local registry."""
    context = Rootfs()
    context.file("/Dockerfile", textwrap.dedent(dockerfile))
    for path, content in files.items():
        context.file("/" + path, content)
    engine.client.images.build(
        fileobj=io.BytesIO(context.tar()),
        custom_context=True,
        rm=True,
        tag=f"{engine.registry}/{name}:latest",
    )


def push_image(engine: Engine, name: str, *, keep: bool = False) -> ImageRef:
    """Push what was imported under this name, and forget it here unless it is to be kept."""
    client = engine.client
    repository = f"{engine.registry}/{name}"
    digest = ""
    for event in client.api.push(repository, tag="latest", stream=True, decode=True):
        if "error" in event:
            raise docker.errors.DockerException(event["error"])
        digest = event.get("aux", {}).get("Digest", digest)
    if not keep:
        client.images.remove(f"{repository}:latest", force=True)
    return parse_image(f"{repository}@{digest}")


def busybox_image(
    engine: Engine, name: str, script: str, *, volumes: Sequence[str] = ()
) -> ImageRef:
    """An image whose server is a shell script, pushed and not here."""
    import_image(engine, name, busybox_rootfs(script).tar(), volumes=volumes)
    return push_image(engine, name)


def have_busybox() -> bool:
    """Whether there is a busybox to make images of."""
    return shutil.which("busybox") is not None
