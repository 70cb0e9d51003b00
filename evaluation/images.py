"""Images by digest: a tag can be moved to other content, a digest cannot."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
MAX_REFERENCE_CHARS: Final = 512
DEFAULT_REGISTRY: Final = "docker.io"
_TOP_LEVEL: Final = re.compile(r"[a-z][a-z0-9-]*")
_NOT_PUBLIC: Final = frozenset(
    ("arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost")
)
"""Last parts of names that only mean something inside one network."""


class ImageReferenceError(ValueError):
    """Text that names no image by digest; the message is one sentence for whoever wrote it."""


class ImageRef(msgspec.Struct, frozen=True):
    """One image: ``repository`` says where it may be pulled from, ``digest`` what it is.

    ``repository`` is empty for an image that is already on the machine that runs it (an image
    directory of the reference server, a launch profile).
    """

    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.repository else self.digest


def parse_image(text: str) -> ImageRef:
    """``REPOSITORY[:TAG]@sha256:<64 hex>`` or the digest alone; a tag is dropped, it decides
    nothing. Raises :class:`ImageReferenceError` for anything else."""
    repository, at, digest = text.rpartition("@")
    if not _DIGEST.fullmatch(digest) or len(text) > MAX_REFERENCE_CHARS:
        msg = (
            f"{text[:MAX_REFERENCE_CHARS]!r} names no image by digest; "
            "write IMAGE@sha256: and 64 lower-case hex digits"
        )
        raise ImageReferenceError(msg)
    if not at:
        return ImageRef("", digest)
    return image_of(repository, digest)


def image_of(image: str, digest: str) -> ImageRef:
    """The image of a commit: its ``image`` (with or without a tag) and its ``digest``."""
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:  # no tag: the colon, if any, stands before a registry's port
        repository, tag = image, "latest"
    if (
        not _REPOSITORY.fullmatch(repository)
        or not _TAG.fullmatch(tag)
        or not _DIGEST.fullmatch(digest)
    ):
        msg = f"{image[:MAX_REFERENCE_CHARS]!r} is no name of an image"
        raise ImageReferenceError(msg)
    return ImageRef(repository, digest)


def registry_of(image: ImageRef) -> str:
    """``host`` or ``host:port``, as the Docker Engine reads it off the repository's name."""
    first, slash, _ = image.repository.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return DEFAULT_REGISTRY


def is_public_registry(registry: str) -> bool:
    """Whether it is a name that the public DNS could hold.

    An address in any spelling, ``localhost`` and names inside one network are none: whoever pulls
    from what a stranger named must not be sent to a neighbour.
    """
    _, dot, last = registry.partition(":")[0].rpartition(".")
    return bool(dot) and bool(_TOP_LEVEL.fullmatch(last)) and last not in _NOT_PUBLIC


def image_as_committed(image: str, digest: str) -> ImageRef:
    """The image of a commit, also where its name is none: a contest then faults its committer.

    Raises :class:`ImageReferenceError` for a ``digest`` that is none.
    """
    try:
        return image_of(image, digest)
    except ImageReferenceError:
        if not _DIGEST.fullmatch(digest):
            raise
        return ImageRef(image, digest)
