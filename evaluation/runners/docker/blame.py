"""Whether what the engine says of a container that it could not start is the image's own doing.

Only words about what the image itself names (its program, user, working directory, volumes) are.
Everything else, and everything that also speaks of the machine, is taken for ours: an honest miner
must not lose to a broken host, and whoever is asked again for nothing loses no fee.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from evaluation.runners.docker.contract import SCRATCH_MOUNT, scratch_paths

_MACHINES: Final = re.compile(
    r"nvidia|\bhook\b|cgroup|bind source path|device driver|no space left|input/output error"
    r"|cannot allocate memory|too many open files|resource temporarily unavailable|seccomp|apparmor"
    r"|selinux|overlay2?/[^ ]*-init",
    re.IGNORECASE,
)
"""What speaks of the machine, once the image's own names are taken out of it."""

_IMAGES: Final = re.compile(
    r"exec format error|no command specified|unable to find (user|group)"
    r"|no matching entries in (passwd|group)|linux spec user|uids and gids must be in range"
    r"|invalid volume spec|invalid mount config for type \"tmpfs\"|invalid mount path"
    r"|duplicate mount point",
    re.IGNORECASE,
)
"""What can only be said of an image's configuration."""


def is_images_own_fault(said: str, image: Mapping[str, Any]) -> bool:
    """``said`` is the engine's, ``image`` the image's ``Config`` as the engine shows it."""
    named = _named(image)
    rest = said
    for name in sorted((one for one in named if len(one) > 1), key=len, reverse=True):
        rest = rest.replace(name, "")
    if _MACHINES.search(rest):
        return False
    return bool(_IMAGES.search(said)) or any(text in said for text in _about_what_it_names(image))


def _about_what_it_names(image: Mapping[str, Any]) -> Iterator[str]:
    """Beginnings of the engine's sentences (runc's, in its quotes) about the image's own names."""
    for program in _command(image)[:1]:
        yield f'exec: "{program}":'
    for path in _volumes(image):
        yield f'to rootfs at "{path}"'
    if folder := image.get("WorkingDir"):
        yield f'chdir to cwd ("{folder}")'
        yield f"{folder} is not a directory"
        yield f"{folder}: not a directory"


def _named(image: Mapping[str, Any]) -> list[str]:
    return [
        *_command(image)[:1],
        *_volumes(image),
        *(str(image[key]) for key in ("WorkingDir", "User") if image.get(key)),
    ]


def _command(image: Mapping[str, Any]) -> list[str]:
    return [*(image.get("Entrypoint") or ()), *(image.get("Cmd") or ())]


def _volumes(image: Mapping[str, Any]) -> list[str]:
    return [path for path in scratch_paths(image.get("Volumes") or ()) if path != SCRATCH_MOUNT]
