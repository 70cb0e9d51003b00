"""The reference server's process images, for :class:`~evaluation.runners.process.ProcessRunner`."""

from __future__ import annotations

import sys
from pathlib import Path

import evaluation
from evaluation.reference.image import (
    CONFIG_FILE,
    ImageError,
    content_fingerprint,
    image_digest,
    image_path,
)
from evaluation.runners.port import InfrastructureFaultError
from evaluation.runners.process import ServerCommand
from ledger.codes import InfrastructureCause


class ReferenceImages:
    """Images below ``root`` as :mod:`evaluation.reference.image` writes them, over one model."""

    def __init__(self, root: Path, model_dir: Path) -> None:
        self._root = root
        self._model_dir = model_dir

    def command(self, image_digest: str) -> ServerCommand:
        """The reference server under this image's configuration, at a port of its choice."""
        config = self._verified(image_digest) / CONFIG_FILE
        arguments = {"--model": self._model_dir, "--config": config, "--port": 0}
        flags = [str(part) for pair in arguments.items() for part in pair]
        package_root = Path(evaluation.__file__).resolve().parents[1]
        return ServerCommand(
            argv=(sys.executable, "-m", "evaluation.reference.server", *flags),
            environment={"PYTHONPATH": str(package_root)},
        )

    def fingerprint(self, image_digest: str) -> str:
        """Over the image's files that matter (DOMAIN 1, copies)."""
        return content_fingerprint(self._verified(image_digest))

    def _verified(self, digest: str) -> Path:
        """The image's directory, its content checked against its digest: it is data of others."""
        try:
            path = image_path(self._root, digest)
            found = image_digest(path)
        except (ImageError, OSError) as error:
            raise InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED, f"the image {digest} could not be had: {error}"
            ) from error
        if found != digest:
            raise InfrastructureFaultError(
                InfrastructureCause.PULL_FAILED,
                f"what lies under {digest} has the digest {found}; fetch the image again",
            )
        return path
