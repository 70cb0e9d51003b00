"""`transformers serve` in a virtual environment of its own, outside the project's lock.

    python -m tests.engines.installing

Kept in the user's cache folder, so that it is fetched once. Nothing here is part of the program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

LIMIT_S: Final = 300
"""What an engine may take to install and start in CI."""
TORCH: Final = "torch==2.13.0+cpu"
"""Without CUDA. The ordinary wheel and what it needs are 2.8 GiB and would not fit the limit."""
REQUIREMENTS: Final = (TORCH, "transformers[serving]==5.24.0")
_WHOLE: Final = "whole"


def folder() -> Path:
    """Where the environment lies."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "cacheon-ledger" / "transformers-serve"


def python() -> Path | None:
    """The environment's interpreter, None where it is not whole or of other requirements."""
    marker = folder() / _WHOLE
    if marker.is_file() and marker.read_text("utf-8").split("\n") == list(REQUIREMENTS):
        return folder() / "bin" / "python"
    return None


def install(limit_s: float = LIMIT_S) -> str:
    """Install it if it is not there; one sentence about how that went."""
    if python() is not None:
        return f"transformers serve is here: {folder()}"
    began_s = time.monotonic()
    shutil.rmtree(folder(), ignore_errors=True)
    own = folder() / "bin" / "python"
    steps = (
        [sys.executable, "-m", "venv", str(folder())],
        [str(own), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *REQUIREMENTS],
    )
    for step in steps:
        left_s = limit_s - (time.monotonic() - began_s)
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                step, check=False, capture_output=True, text=True, timeout=max(1.0, left_s)
            )
        except subprocess.TimeoutExpired:
            return f"transformers serve could not be installed within {limit_s:.0f} s"
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"transformers serve could not be installed: {last[:300]}"
    (folder() / _WHOLE).write_text("\n".join(REQUIREMENTS), "utf-8")
    size = sum(path.stat().st_size for path in folder().rglob("*") if path.is_file())
    return (
        f"transformers serve was installed in {time.monotonic() - began_s:.0f} s, "
        f"{size / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    sys.stdout.write(install() + "\n")
