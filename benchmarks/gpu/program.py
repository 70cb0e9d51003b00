"""The program's own commands as subprocesses, each with its output in files of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.policies import policy_toml
from benchmarks.measuring import ROOT, tell
from evaluation.engines.profile import profile_names
from ledger.policy import Policy

VOID_EXIT: Final = 24
_MAIN: Final = "from api.cli.main import main; main()"
_TAIL_CHARS: Final = 600


class StepError(Exception):
    """A step that cannot go on; one sentence."""


class Clock:
    """The time a campaign has; nothing new is begun when it is over."""

    def __init__(self, until_s: float | None) -> None:
        self._began_s = time.monotonic()
        self._until_s = until_s

    @property
    def passed_s(self) -> float:
        """Seconds since the campaign began."""
        return time.monotonic() - self._began_s

    def must_not_be_over(self, what: str) -> None:
        """Raise :class:`StepError` where the deadline has passed."""
        if self._until_s is not None and self.passed_s >= self._until_s:
            msg = f"{what} was not begun: {self.passed_s:.0f} s have passed of {self._until_s:.0f}"
            raise StepError(msg)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended by itself; ``document`` is the JSON it printed, if it did."""

    name: str
    exit_code: int
    seconds: float
    document: Any
    said: str
    """The end of its stderr."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program on this machine: where its logs go, and where model, engines and profiles are."""

    folder: Path
    model: Path
    clock: Clock
    engines: tuple[str, ...] = ()
    profiles: Path | None = None

    def command(self, name: str, words: Sequence[str]) -> Ran:
        """Run ``cacheon-ledger WORDS``; its output lies in NAME.out and NAME.log."""
        out, log = self.folder / f"{name}.out", self.folder / f"{name}.log"
        began_s = time.monotonic()
        tell(f"{self.clock.passed_s:5.0f} s  {name}")
        with out.open("wb") as stdout, log.open("wb") as stderr:
            done = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-c", _MAIN, *words],
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": _python_path()},
                check=False,
            )
        said = log.read_text("utf-8", errors="replace")[-_TAIL_CHARS:].strip()
        took_s = time.monotonic() - began_s
        return Ran(name, done.returncode, took_s, _document(out), said)

    def needed(self, name: str, words: Sequence[str]) -> Any:
        """As :meth:`command`, for its document; raises :class:`StepError` unless it ended well."""
        ran = self.command(name, words)
        if ran.exit_code != 0:
            msg = f"{name} ended with code {ran.exit_code}: {ran.said}"
            raise StepError(msg)
        return ran.document

    def machine_words(self) -> list[str]:
        """The options that say where things are on this machine: engines of those profiles that
        the contest knows, since an engine of no profile is refused."""
        words = ["--runner", "process", "--model", str(self.model)]
        known = profile_names(self.profiles)
        for engine in self.engines:
            if engine.partition("=")[0] in known:
                words += ["--engine", engine]
        if self.profiles is not None:
            words += ["--profiles", str(self.profiles)]
        return words

    def contest(
        self, name: str, policy: Policy, baseline: str, entrants: Sequence[str], seed_hash: str
    ) -> Ran:
        """``contest run`` by hand: its bundle is NAME.zip, its policy NAME.policy.toml.

        A void contest is no error here, for its evidence is worth having. Raises
        :class:`StepError` where none was run.
        """
        self.clock.must_not_be_over(name)
        policy_file = self.folder / f"{name}.policy.toml"
        policy_file.write_text(policy_toml(policy), "utf-8")
        words = ["contest", "run", *self.machine_words(), "--policy", str(policy_file)]
        words += ["--baseline", baseline, "--seed-hash", seed_hash]
        for entrant in entrants:
            words += ["--entrant", entrant]
        words += ["--out", str(self.bundle(name)), "--format", "json"]
        return ran_contest(self.command(name, words))

    def planned(self, name: str, plan: Path, launches: Sequence[str]) -> Ran:
        """``contest run --plan``: its bundle is NAME.zip; ``launches`` are what the plan's digests
        stand for. Raises :class:`StepError` where no contest was run."""
        self.clock.must_not_be_over(name)
        words = ["contest", "run", *self.machine_words(), "--plan", str(plan)]
        for launch in launches:
            words += ["--launch", launch]
        words += ["--out", str(self.bundle(name)), "--format", "json"]
        return ran_contest(self.command(name, words))

    def bundle(self, name: str) -> Path:
        """Where the bundle of a contest lies."""
        return self.folder / f"{name}.zip"


def ran_contest(ran: Ran) -> Ran:
    """The same, or :class:`StepError` where the command ran no contest."""
    if ran.exit_code not in (0, VOID_EXIT) or ran.document is None:
        msg = f"{ran.name} ended with code {ran.exit_code}: {ran.said}"
        raise StepError(msg)
    return ran


def _python_path() -> str:
    known = os.environ.get("PYTHONPATH")
    return str(ROOT) if not known else os.pathsep.join((str(ROOT), known))


def _document(out: Path) -> Any:
    try:
        return json.loads(out.read_text("utf-8"))
    except ValueError:
        return None  # a command that failed, or one that prints no JSON
