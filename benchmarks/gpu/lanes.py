"""``python -m benchmarks.gpu.lanes FILE --out DIR``: campaigns side by side, on GPUs of their own.

A machine with several GPUs is lent by the minute, so its contests run at once. ``FILE`` is TOML::

    common = ["--model", "models/1.5b", "--warmup-prompts", "16"]
    [[lanes]]
    name = "aa"
    gpus = [0]
    steps = [["aa", "--restart"], ["price"]]
    [[lanes]]
    name = "tp"
    gpus = [1, 2]
    after = ["aa"]
    steps = [["tp", "--gpus", "2"]]

A lane's steps run one after another, each as ``python -m benchmarks.gpu STEP … --out DIR/NAME``; it
begins when the lanes of ``after`` are over. It sees its own GPUs alone, in ``nvidia-smi`` too: what
others do on theirs is no stranger's work. What runs longer than ``--seconds`` is ended. Before any
begins all words are read, and two lanes of one GPU must wait for each other: a machine is dear.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from benchmarks.gpu.campaign import campaign_of, parser
from benchmarks.gpu.program import StepError
from benchmarks.measuring import ROOT, tell

MAX_LANES: Final = 64
_POLL_S: Final = 0.2
_GRACE_S: Final = 5.0
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"


class Lane(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lane: the GPUs it sees, and the steps with their options."""

    name: Annotated[str, Meta(pattern=_NAME)]
    gpus: tuple[Annotated[int, Meta(ge=0, le=63)], ...]
    steps: Annotated[tuple[Annotated[tuple[str, ...], Meta(min_length=1)], ...], Meta(min_length=1)]
    after: tuple[str, ...] = ()


class Lanes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All lanes; ``common`` are options of every step."""

    lanes: Annotated[tuple[Lane, ...], Meta(min_length=1, max_length=MAX_LANES)]
    common: tuple[str, ...] = ()


class LanesError(ValueError):
    """A file that describes no lanes; one sentence."""


def read_lanes(text: str) -> Lanes:
    """Read the file; raises :class:`LanesError` for one that does not fit."""
    try:
        found = msgspec.convert(tomllib.loads(text), Lanes)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        msg = f"the file describes no lanes: {error}"
        raise LanesError(msg) from error
    seen: dict[str, Lane] = {}
    for lane in found.lanes:
        unknown = sorted(set(lane.after) - seen.keys())
        if unknown:
            msg = f"the lane {lane.name!r} waits for {unknown[0]!r}, which is no lane before it"
            raise LanesError(msg)
        if lane.name in seen:
            msg = f"there are two lanes {lane.name!r}; give each a name of its own"
            raise LanesError(msg)
        seen[lane.name] = lane
        _must_be_alone(lane, seen)
    return found


def _must_be_alone(lane: Lane, before: Mapping[str, Lane]) -> None:
    """Raise where an earlier lane that this one waits for in no way has a GPU of it."""
    waited, left = {lane.name}, list(lane.after)
    while left:
        name = left.pop()
        waited.add(name)
        left += before[name].after
    for other in before.values():
        shared = sorted(set(lane.gpus) & set(other.gpus))
        if shared and other.name not in waited:
            msg = (
                f"the lanes {other.name!r} and {lane.name!r} would run at once on GPU {shared[0]}; "
                f"let one wait by 'after', or give it another"
            )
            raise LanesError(msg)


class _Running:
    """A lane at work: the process of one step after another."""

    def __init__(self, lane: Lane, common: Sequence[str], out: Path) -> None:
        self.lane = lane
        self.folder = out / lane.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._common = tuple(common)
        self._left = list(lane.steps)
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = _environment(lane.gpus, self.folder)
        self.failed = False

    @property
    def over(self) -> bool:
        """Whether nothing of it runs and nothing is left to begin."""
        return self._process is None and not self._left

    def go_on(self) -> None:
        """Begin the next step where the last one is over."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self.failed = self.failed or code != 0
            self._process = None
        if self._left:
            words = _words(self._left.pop(0), self._common, self.folder)
            tell(f"{self.lane.name}: {words[0]}")
            with (self.folder / "lane.txt").open("ab") as told:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", "benchmarks.gpu", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env=self._environment,
                    start_new_session=True,
                )

    def end(self) -> None:
        """Leave out what is left; what runs is asked to end, and killed where it does not."""
        self.failed = self.failed or not self.over
        self._left = []
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(_GRACE_S)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def _words(step: Sequence[str], common: Sequence[str], folder: Path) -> list[str]:
    """Of one step; its own come last, so that they count where ``common`` says otherwise."""
    name, *own = step
    return [name, *common, *own, "--out", str(folder)]


def must_be_read(found: Lanes) -> None:
    """Read the words of every step: ``SystemExit`` of 2, with its reason on stderr, for any that
    the campaign does not know, :class:`LanesError` for what it would not begin."""
    for lane in found.lanes:
        for step in lane.steps:
            asked = parser().parse_args(_words(step, found.common, Path(lane.name)))
            try:
                campaign_of(asked, asked.out)
            except StepError as error:
                msg = f"the step {step[0]!r} of the lane {lane.name!r} cannot begin: {error}"
                raise LanesError(msg) from error


def _environment(gpus: Sequence[int], folder: Path) -> dict[str, str]:
    """Ours, with these GPUs alone: for CUDA by its variable, for ``nvidia-smi`` by a wrapper."""
    numbers = ",".join(map(str, gpus))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": numbers}
    real = shutil.which("nvidia-smi")
    if real is not None:
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        wrapper = programs / "nvidia-smi"
        wrapper.write_text(f'#!/bin/sh\nexec {real} -i {numbers} "$@"\n', "utf-8")
        wrapper.chmod(0o755)
        environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


def run_lanes(found: Lanes, out: Path, seconds: float) -> list[str]:
    """Run them all; the names of the lanes of which something failed or was ended."""
    until_s = time.monotonic() + seconds
    running = {lane.name: _Running(lane, found.common, out) for lane in found.lanes}
    try:
        while not all(one.over for one in running.values()) and time.monotonic() < until_s:
            for one in running.values():
                if all(running[name].over for name in one.lane.after):
                    one.go_on()
            time.sleep(_POLL_S)
    finally:
        for one in running.values():
            one.end()
    return [name for name, one in running.items() if one.failed]


def main(words: Sequence[str] | None = None) -> int:
    """0 where all went through, 1 where something did not, 2 where nothing was begun."""
    own = argparse.ArgumentParser(prog="python -m benchmarks.gpu.lanes", description=__doc__)
    own.add_argument("file", type=Path)
    own.add_argument("--out", type=Path, required=True)
    own.add_argument("--seconds", type=float, required=True)
    asked = own.parse_args(words)
    try:
        found = read_lanes(asked.file.read_text("utf-8"))
        must_be_read(found)
    except (LanesError, OSError, UnicodeDecodeError) as error:
        tell(str(error))
        return 2
    failed = run_lanes(found, asked.out.resolve(), asked.seconds)
    for lane in found.lanes:
        told = asked.out / lane.name / "lane.txt"
        text = told.read_text("utf-8", errors="replace") if told.exists() else "was not begun"
        sys.stdout.write(f"=== {lane.name}{' (FAILED)' if lane.name in failed else ''}\n{text}\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
