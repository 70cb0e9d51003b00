"""The content fingerprint of an image, by which copies are found (DOMAIN 1); why so: decision 0020.

One SHA-256 over a line per file, sorted by path, and a line for how the image is started. The same
content in other layers, with other timestamps, labels, owners or a new build's leftovers has the
same fingerprint.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import msgspec

from evaluation.runners.docker.connection import Connection, Deadline
from evaluation.runners.docker.contract import MODEL_MOUNT, SCRATCH_MOUNT, scratch_paths
from evaluation.runners.port import ImageRefusedError
from ledger.codes import DisqualificationCode

DIGEST_PREFIX: Final = "sha256:"
_PIECE_BYTES: Final = 1_048_576
MAX_MEMBERS: Final = 1_000_000
"""Files and folders of an image; ten times those of an engine with its libraries. Their names and
digests are held in memory, some 250 bytes each."""

MADE_BY_THE_ENGINE: Final = frozenset(
    {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "dev/console"}
)
"""Not the image's: the engine writes them into each container."""
HIDDEN: Final = tuple(
    path.lstrip("/") + "/" for path in ("/dev", "/proc", "/sys", SCRATCH_MOUNT, MODEL_MOUNT)
)
"""Mounted over, so that the server cannot see what the image has there."""
LEFT_BY_BUILDING: Final = ("var/log/", "var/cache/", "var/lib/apt/", "var/lib/dpkg/")
"""Differ between two builds of the same recipe, and no server is made of them."""
_COMPILED: Final = re.compile(r"(?P<folder>(?:.*/)?)__pycache__/(?P<name>[^/.]+)\.[^/]*\.pyc")

START_KEYS: Final = ("Entrypoint", "Cmd", "Env", "WorkingDir", "User")
"""Of the image's configuration: the same files under other flags are another server."""

ENGINES_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What the engine gives to a container whose image has none; builders write it out."""


class Readable(Protocol):
    """Bytes as they come."""

    def read(self, amt: int | None = None, /) -> bytes:
        """Up to ``amt`` bytes."""
        ...


def image_fingerprint(
    connection: Connection, image: Any, labels: dict[str, str], deadline: Deadline
) -> str:
    """``sha256:<hex>`` of the SDK's ``image``. Raises what the SDK raises, or ``TimeoutError``.

    Nothing of the image runs: the engine exports a container that is never started.
    """
    own = image.attrs.get("Config") or {}
    config = {
        "Image": image.id,
        "Labels": labels,
        "Entrypoint": ["/never-started"],
        "HostConfig": {
            "NetworkMode": "none",
            # Else the engine copies what the image has at its volumes onto the host's disk.
            "Tmpfs": dict.fromkeys(scratch_paths(own.get("Volumes") or ()), ""),
        },
    }
    api = connection.client.api
    made = api.create_container_from_config(config)["Id"]
    try:
        with connection.stream("GET", f"/containers/{made}/export", deadline=deadline) as response:
            return fingerprint_of(response.raw, own)
    finally:
        api.remove_container(made, v=True, force=True)


def fingerprint_of(archive: Readable, config: dict[str, Any]) -> str:
    """Of a root file system as a tar stream and the image's configuration.

    Raises :class:`ImageRefusedError` (`image_too_large`) for more than :data:`MAX_MEMBERS`.
    """
    files = _files(archive)
    counted = hashlib.sha256()
    for path in sorted(what_matters(files)):
        counted.update(path.encode(errors="surrogateescape") + b":" + files[path] + b"\n")
    start = {key: config.get(key) or None for key in START_KEYS}
    environment = start["Env"] or []
    if not any(one.startswith("PATH=") for one in environment):
        environment = [*environment, ENGINES_PATH]
    start["Env"] = sorted(environment)
    counted.update(b"start:" + msgspec.json.encode(start, order="sorted") + b"\n")
    return DIGEST_PREFIX + counted.hexdigest()


def what_matters(paths: Iterable[str]) -> Iterator[str]:
    """Without what the engine makes, the server cannot see, or every build leaves differently."""
    there = set(paths)
    for path in there:
        if path in MADE_BY_THE_ENGINE or path.startswith((*HIDDEN, *LEFT_BY_BUILDING)):
            continue
        # Compiled Python carries the time of its source; without a source it is the program.
        compiled = _COMPILED.fullmatch(path)
        if compiled and f"{compiled['folder']}{compiled['name']}.py" in there:
            continue
        yield path


def _files(archive: Readable) -> dict[str, bytes]:
    """Path (relative, no leading slash) to what identifies the content, of all but folders."""
    seen: dict[str, bytes] = {}
    with tarfile.open(fileobj=archive, mode="r|") as members:  # type: ignore[call-overload]  # a reader is enough in this mode
        for number, member in enumerate(members):
            members.members = []  # else it keeps all of them, many times the size of their names
            if number == MAX_MEMBERS:
                raise ImageRefusedError(
                    DisqualificationCode.IMAGE_TOO_LARGE,
                    f"the image has more than {MAX_MEMBERS} files and folders",
                )
            path = member.name.removeprefix("./").lstrip("/")
            if member.isreg():
                seen[path] = _digest(members.extractfile(member))
            elif member.issym():
                seen[path] = b"-> " + member.linkname.encode(errors="surrogateescape")
            elif member.islnk():
                # Which of two names of a file comes first is chance: each counts as the file.
                target = member.linkname.removeprefix("./").lstrip("/")
                if target not in seen:
                    msg = f"{path} is a link to {target}, which did not come before it"
                    raise tarfile.ReadError(msg)
                seen[path] = seen[target]
            elif not member.isdir():
                seen[path] = b"device %d:%d" % (member.devmajor, member.devminor)
    return seen


def _digest(content: Any) -> bytes:
    counted = hashlib.sha256()
    while piece := content.read(_PIECE_BYTES):
        counted.update(piece)
    return counted.hexdigest().encode()
