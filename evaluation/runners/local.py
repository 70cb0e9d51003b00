"""What the process runner can start on this machine: image directories and launch profiles."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import evaluation
from evaluation.engines import profile as profile_module
from evaluation.engines.profile import (
    PREFIX,
    Launch,
    ProfileError,
    parse_launch,
    profile_names,
)
from evaluation.images import ImageRef
from evaluation.reference.image import ImageError, image_digest, image_path
from evaluation.runners.free_port import LOOPBACK, free_port
from evaluation.runners.port import EngineMissingError, InfrastructureFaultError
from evaluation.runners.process import ServerCommand
from evaluation.runners.reference import ReferenceImages
from ledger.codes import InfrastructureCause

REMEMBERED_PORTS: Final = 256
"""So many of the last launches' ports are given to no other launch."""
_PACKAGE_ROOT: Final = Path(evaluation.__file__).resolve().parents[1]
_ENGINES: Final = Path(profile_module.__file__).parent


class NotLocalError(ValueError):
    """Text that names nothing which the process runner can start; one sentence."""


class LocalImages:
    """The :class:`~evaluation.runners.process.Images` of whoever runs a contest from a shell.

    ``engines`` maps a profile's name to the command that starts its engine here, in place of the
    profile's own program: where an engine lies is the machine's matter and in no digest. In
    ``profiles`` lie launch profiles of one's own, in ``images`` image directories that are known by
    their digests alone. Raises :class:`~evaluation.engines.profile.ProfileError` for a folder of
    profiles that will not do.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        model_name: str,
        gpus: int = 0,
        engines: Mapping[str, str] | None = None,
        profiles: Path | None = None,
        images: Path | None = None,
    ) -> None:
        self._profiles = None if profiles is None else profiles.resolve()
        profile_names(self._profiles)
        self._images = images
        self._model_dir = model_dir.resolve()
        self._model_name = model_name
        self._gpus = gpus
        self._engines = dict(engines or {})
        self._ports: deque[int] = deque(maxlen=REMEMBERED_PORTS)
        self._launches: dict[str, Launch] = {}
        self._directories: dict[str, Path] = {}

    def named(self, text: str) -> ImageRef:
        """The image that ``text`` names: ``profile:NAME?…`` or the path of an image directory.

        Raises :class:`NotLocalError`.
        """
        if text.startswith(PREFIX):
            try:
                launch = parse_launch(text, self._profiles)
            except ProfileError as error:
                raise NotLocalError(str(error)) from error
            self._launches[launch.digest()] = launch
            return ImageRef("", launch.digest())
        path = Path(text)
        try:
            digest = image_digest(path)
            if image_path(path.resolve().parent, digest) != path.resolve():
                msg = f"the image directory {path} is not named by its digest; that is {digest}"
                raise NotLocalError(msg)
        except (ImageError, OSError) as error:
            msg = (
                f"{text[:256]!r} is nothing that runs as a process; name an image directory or a "
                f"launch profile ({PREFIX}NAME), or use --runner docker"
            )
            raise NotLocalError(msg) from error
        self._directories[digest] = path.resolve().parent
        return ImageRef("", digest)

    def launch_of(self, digest: str) -> Launch | None:
        """The launch profile behind a digest, None for an image directory."""
        return self._launches.get(digest)

    def knows(self, digest: str) -> bool:
        """Whether something of this digest was named, or lies among the image directories."""
        if digest in self._launches or digest in self._directories:
            return True
        if self._images is None:
            return False
        try:
            return image_path(self._images, digest).is_dir()
        except ImageError:
            return False  # a digest of no form that an image directory could have

    def command(self, image_digest: str) -> ServerCommand:
        """How to start it; see :class:`~evaluation.runners.process.Images`."""
        launch = self._launches.get(image_digest)
        if launch is None:
            return self._directory(image_digest).command(image_digest)
        profile, port = launch.profile, self._own_port()
        filled = {
            "model_dir": str(self._model_dir),
            "model_name": self._model_name,
            "host": LOOPBACK,
            "port": str(port),
            "gpus": str(self._gpus),
            "engines": str(_ENGINES),
            "profiles": str(self._profiles or ""),
        }
        program = self._program(launch)
        handed = {name: os.environ[name] for name in profile.hands_on if name in os.environ}
        own = {"PYTHONPATH": str(_PACKAGE_ROOT)} if profile.name == "reference" else {}
        return ServerCommand(
            argv=(*program, *launch.arguments(filled)),
            environment={**handed, **own, **launch.environment(filled)},
            port=port,
            health_path=profile.health_path,
        )

    def fingerprint(self, image_digest: str) -> str:
        """Of a profile its digest: what is launched is what the profile says."""
        launch = self._launches.get(image_digest)
        if launch is None:
            return self._directory(image_digest).fingerprint(image_digest)
        self._program(launch)
        return image_digest

    def _directory(self, digest: str) -> ReferenceImages:
        root = self._directories.get(digest, self._images)
        if root is None:
            raise InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"nothing here has the digest {digest}; name the image by its directory",
            )
        return ReferenceImages(root, self._model_dir)

    def _own_port(self) -> int:
        """A port that was free a moment ago and is no other recent launch's.

        An engine binds it when it has loaded, up to a minute later. Two that start together at one
        port would be taken for each other: the first to listen answers for both.
        """
        with contextlib.suppress(OSError):  # there is none: said below
            for _ in range(REMEMBERED_PORTS + 1):
                port = free_port()
                if port not in self._ports:
                    self._ports.append(port)
                    return port
        msg = f"no port of {LOOPBACK} is free for another server; end what listens there"
        raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, msg)

    def _program(self, launch: Launch) -> list[str]:
        """The engine's command on this machine, its program as an absolute path."""
        profile = launch.profile
        said = self._engines.get(profile.name)
        words = list(profile.program) if said is None else shlex.split(said)
        if said is None and profile.name == "reference":
            words[0] = sys.executable  # our own package, so our own interpreter
        found = shutil.which(words[0]) if words else None
        if found is None:
            msg = (
                f"the engine of {PREFIX}{profile.name} is not on this machine: there is no program "
                f"{(words or [''])[0]!r}; install it, or say where it is with "
                f"--engine '{profile.name}=COMMAND'"
            )
            raise EngineMissingError(msg)
        return [str(Path(found).absolute()), *words[1:]]
