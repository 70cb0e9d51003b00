"""The libraries that the contest's commands need, by the versions and digests of the lock file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parents[1]
LEFT_OUT: Final = ("huggingface-hub",)
"""Asked for by ``tokenizers``, which needs it only to fetch what a contest has at hand."""
_HASH: Final = "--hash="


class PinsError(RuntimeError):
    """The lock file cannot be read, or is not of this project; one sentence."""


class Pin(NamedTuple):
    """One library: its version, and the digests of its files, each as 'sha256:…'."""

    name: str
    version: str
    hashes: tuple[str, ...]


def contest_pins(environment: Mapping[str, str]) -> Sequence[Pin]:
    """All of them, with what they need themselves, for a machine with these values of markers.

    Raises :class:`PinsError`.
    """
    words = [
        *(str(Path(sys.executable).parent / "uv"), "export", "--quiet", "--locked"),
        *("--no-default-groups", "--no-emit-project", "--no-header", "--no-annotate"),
        *(word for name in LEFT_OUT for word in ("--prune", name)),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        msg = f"uv could not read the lock file: {done.stderr.strip()}; run 'make setup'"
        raise PinsError(msg)
    return list(_read(done.stdout, environment))


def _read(text: str, environment: Mapping[str, str]) -> Iterator[Pin]:
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split(_HASH)
        if not words[0].strip():
            continue
        asked = Requirement(words[0].strip())
        if asked.marker is not None and not asked.marker.evaluate(dict(environment)):
            continue
        [version] = asked.specifier
        yield Pin(asked.name, version.version, tuple(word.strip() for word in words[1:]))
