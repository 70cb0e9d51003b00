"""The folder that is carried to a machine: wheels, the list of them, and how to install it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.utils import parse_wheel_filename

from evaluation.pods.program import this_program
from wheels.pins import Pin, contest_pins
from wheels.target import Target

LIST: Final = "contest.txt"
INSTALL: Final = "INSTALL.txt"
_TOLD: Final = """\
The contest's commands of cacheon-ledger, for {target}.
They need no network, no database, no chain and no container engine.

In an environment of its own, from this folder:

    python3 -m venv /opt/contest
    /opt/contest/bin/python -m pip install --no-index --no-deps --find-links . -r {list}
    /opt/contest/bin/cacheon-ledger contest run --help

Where the system's Python has no ensurepip, but a pip of 22.3 or newer:

    python3 -m venv --without-pip /opt/contest
    python3 -m pip --python /opt/contest/bin/python install \\
        --no-index --no-deps --find-links . -r {list}

Or into a plain folder. An engine that is handed PYTHONPATH then finds these libraries first; give
it its own with --engine 'vllm=env PYTHONPATH=/opt/vllm python3 -m vllm.entrypoints.cli.main':

    python3 -m pip install --no-index --no-deps --find-links . --target /opt/contest -r {list}
    PYTHONPATH=/opt/contest /opt/contest/bin/cacheon-ledger contest run --help

{list} says the digest of every wheel: pip refuses one that was changed on the way.
"""


class WheelsError(RuntimeError):
    """The wheels could not be had; one sentence."""


def fill(folder: Path, target: Target) -> Sequence[Path]:
    """Make ``folder`` anew, with nothing else in it; gives its wheels.

    Libraries come from the package index of this machine's pip, and are held against the digests
    of the lock file. Raises :class:`WheelsError`, :class:`~wheels.pins.PinsError`, and leaves what
    was there before then; a folder that holds anything else than earlier wheels is left alone.
    """
    try:
        return _filled(folder, target)
    except OSError as error:
        where = error.filename or folder
        msg = f"'{where}' cannot be used: {error.strerror}; name another --out, or make room"
        raise WheelsError(msg) from error


def _filled(folder: Path, target: Target) -> Sequence[Path]:
    if folder.exists() and not _is_ours(folder):
        msg = f"'{folder}' holds something else than wheels of a contest; name another folder"
        raise WheelsError(msg)
    pins = contest_pins(target.environment())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        _download(pins, target, Path(scratch), made)
        program = this_program()
        (made / program.name).write_bytes(program.wheel)
        wheels = sorted(made.glob("*.whl"))
        (made / LIST).write_text("".join(map(_line, wheels)), encoding="utf-8")
        (made / INSTALL).write_text(_TOLD.format(target=target, list=LIST), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    return sorted(folder.glob("*.whl"))


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    # Wheels alone may be anybody's, as an engine's that were carried beside ours.
    return LIST in names and all(name in {LIST, INSTALL} or name.endswith(".whl") for name in names)


def _download(pins: Sequence[Pin], target: Target, scratch: Path, made: Path) -> None:
    asked = scratch / "asked.txt"
    lines = [
        f"{pin.name}=={pin.version} {' '.join('--hash=' + one for one in pin.hashes)}\n"
        for pin in pins
    ]
    asked.write_text("".join(lines), encoding="utf-8")
    words = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--requirement", str(asked), "--dest", str(made), *target.choosing()),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = " ".join(said) or done.stderr.strip()[-1_000:]
        msg = f"pip could not bring the wheels for {target}: {why}"
        raise WheelsError(msg)
    missing = {pin.name for pin in pins} - {_name(path) for path in made.glob("*.whl")}
    if missing:
        msg = f"pip brought no wheel of {', '.join(sorted(missing))} for {target}"
        raise WheelsError(msg)


def digest_of(wheel: Path) -> str:
    """In hex, as a list of requirements says it."""
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _line(wheel: Path) -> str:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    return f"{name}=={version} --hash=sha256:{digest_of(wheel)}\n"


def _name(wheel: Path) -> str:
    return str(parse_wheel_filename(wheel.name)[0])
