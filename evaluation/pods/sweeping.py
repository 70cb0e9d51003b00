"""Run as a program on a rented machine: removes what contests that were killed left there."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Containers, networks, pulled images and firewall rules of processes that are dead."""
    from evaluation.runners.docker.runner import DockerRunner

    with tempfile.TemporaryDirectory() as no_model:
        for line in DockerRunner(model_dir=Path(no_model), worker="sweep").sweep():
            sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
