"""Process images: what stands for a container image where contests run without containers.

An image is a directory ``<root>/<64 hex>/`` with ``server.json`` (the engine's configuration), any
other files, and ``LABEL``, a file that makes no difference to what the image does. A rebuilt copy
therefore has another digest and the same fingerprint (DOMAIN 1, copies).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from evaluation.reference.config import KINDS, ServerConfig

CONFIG_FILE: Final = "server.json"
LABEL_FILE: Final = "LABEL"
DIGEST_PREFIX: Final = "sha256:"


class ImageError(ValueError):
    """An image directory that cannot be written or read as one."""


@dataclass(frozen=True, slots=True)
class ImageKind:
    """A kind of reference image and the configurations it can have."""

    name: str
    promise: str
    """One line: what a server of this kind does."""
    factory: type[ServerConfig]

    def config(self, **parameters: Any) -> ServerConfig:
        """The kind's configuration with ``parameters`` in place of their defaults."""
        return self.factory(**parameters)


def reference_image_kinds() -> dict[str, ImageKind]:
    """All kinds by name, honest ones first; see :mod:`evaluation.reference.config`."""
    return {
        name: ImageKind(name, (factory.__doc__ or "").splitlines()[0], factory)
        for name, factory in KINDS.items()
    }


def write_image(
    root: Path,
    label: str,
    config: ServerConfig | Mapping[str, object],
    extra_files: Mapping[str, bytes] | None = None,
) -> str:
    """Write an image below ``root`` and return its digest, ``sha256:<64 hex>`` over all its files.

    ``config`` is not checked: an image may well hold one that its server refuses. ``extra_files``
    maps relative POSIX paths to content; :class:`ImageError` for a path that leaves the image or
    names one of its own files. The same content again is the same image.
    """
    files = {PurePosixPath(path): content for path, content in (extra_files or {}).items()}
    for path in files:
        if path.is_absolute() or not path.parts or ".." in path.parts:
            msg = f"the extra file '{path}' must lie inside the image"
            raise ImageError(msg)
        if str(path) in (CONFIG_FILE, LABEL_FILE):
            msg = f"'{path}' is the image's own file; name the extra file otherwise"
            raise ImageError(msg)
    encoded = msgspec.json.encode(config, order="deterministic")
    files[PurePosixPath(CONFIG_FILE)] = msgspec.json.format(encoded, indent=2) + b"\n"
    files[PurePosixPath(LABEL_FILE)] = label.encode() + b"\n"

    digest = _digest((str(path), content) for path, content in files.items())
    target = image_path(root, digest)
    if not target.exists():
        _write_whole(target, files)
    return digest


def image_path(root: Path, digest: str) -> Path:
    """Where the image of that digest lies; :class:`ImageError` for no digest of the form."""
    name = digest.removeprefix(DIGEST_PREFIX)
    if (
        not digest.startswith(DIGEST_PREFIX)
        or len(name) != 64
        or set(name) - set("0123456789abcdef")
    ):
        msg = f"'{digest}' is no image digest; it must be sha256: and 64 lower-case hex digits"
        raise ImageError(msg)
    return root / name


def image_digest(directory: Path) -> str:
    """The digest over all files of an image, for comparing with the one it was named by."""
    return _digest(_contents(directory))


def content_fingerprint(directory: Path) -> str:
    """``sha256:<hex>`` over the files that matter: all but ``LABEL`` (DOMAIN 1, copies)."""
    return _digest((path, content) for path, content in _contents(directory) if path != LABEL_FILE)


def _contents(directory: Path) -> Iterable[tuple[str, bytes]]:
    if not (directory / CONFIG_FILE).is_file():
        msg = f"{directory} is no image: it has no {CONFIG_FILE}"
        raise ImageError(msg)
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory).as_posix()
        if path.is_symlink():
            msg = f"the image {directory} holds the link '{relative}'; only plain files count"
            raise ImageError(msg)
        if path.is_file():
            yield relative, path.read_bytes()


def _digest(contents: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over one ``<path>:<sha256 hex>`` line a file, sorted by path."""
    lines = sorted(f"{path}:{hashlib.sha256(content).hexdigest()}\n" for path, content in contents)
    return DIGEST_PREFIX + hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_whole(target: Path, files: Mapping[PurePosixPath, bytes]) -> None:
    """Write beside the target and rename, so that a half-written image is never found."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".image-", dir=target.parent))
    try:
        for path, content in files.items():
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).write_bytes(content)
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process wrote the same image first
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
