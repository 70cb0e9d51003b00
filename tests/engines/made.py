"""What the tests of foreign engines need made: an interpreter that is here, and a model."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

MAKER: Final = Path(__file__).with_name("qwen_model.py")


def needed(python: Path | None, what: str) -> Path:
    """``python``; skips where it is None."""
    if python is None:
        pytest.skip(
            f"{what} is not installed: run 'python -m tests.engines.installing', which needs a "
            "torch without CUDA and takes minutes"
        )
    return python


def write_model(python: Path, out: Path, size: str = "tiny", seed: int = 14) -> None:
    """Have an engine's own interpreter write one; see ``qwen_model.py``."""
    words = [python, MAKER, out, size, str(seed)]
    subprocess.run(words, check=True, capture_output=True, timeout=240)  # noqa: S603
