"""A small disk, and what fills it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of that size of its own, in memory; skips where none can be mounted."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no 'mount' here, so no small disk to fill")
    done = subprocess.run(  # noqa: S603  the system's own program
        [mount, "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


def fill(path: Path, leave: int) -> None:
    """Take the room of a disk with one file, but for so many bytes."""
    path.write_bytes(b"\0" * (shutil.disk_usage(path.parent).free - leave))
