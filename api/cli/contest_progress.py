"""How a contest goes, on stderr: bars and a running ratio, or plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

BASELINE: Final = "baseline"
LINE_EVERY_S: Final = 15.0
"""Where nobody watches, a phase that lasts says so often how far it is."""


@dataclass(slots=True)
class Ratios:
    """The running ratio of each entrant to the baseline: a display, never a score.

    It is the geometric mean over the prompts that both have answered so far.
    """

    _logs: dict[str, list[float]] = field(default_factory=dict)

    def note(self, entrant: str, _prompt: int, baseline_us: int, own_us: int) -> None:
        """A prompt that both sides have answered, by their times to the last token."""
        if baseline_us > 0 and own_us > 0:
            self._logs.setdefault(entrant, []).append(math.log(baseline_us / own_us))

    def of(self, entrant: str) -> float | None:
        """How many times as fast as the baseline; None before the first prompt of both."""
        logs = self._logs.get(entrant)
        return math.exp(sum(logs) / len(logs)) if logs else None

    def text(self, entrant: str) -> str:
        """The ratio as it is shown, or nothing."""
        ratio = self.of(entrant)
        return "" if ratio is None else f"{ratio:.2f}x"


@dataclass(frozen=True, slots=True)
class ContestWatcher:
    """The callbacks of a contest: ``phase(phase, entrant, done, of)``, ``measured(entrant, prompt,
    baseline_us, own_us)``, ``say(line)``."""

    phase: Callable[[str, str | None, int, int], None]
    measured: Callable[[str, int, int, int], None]
    say: Callable[[str], None]


@contextmanager
def contest_progress() -> Iterator[ContestWatcher]:
    """Watch one contest."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        lines = _Lines()
        yield ContestWatcher(lines.phase, lines.ratios.note, _line)
        return
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[ratio]:>8}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars = _Bars(progress)
        yield ContestWatcher(bars.phase, bars.measured, bars.say)


class _Bars:
    """A bar for each arm; the phase it is in stands before it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ratios = Ratios()
        self._tasks: dict[str, TaskID] = {}

    def phase(self, phase: str, entrant: str | None, done: int, of: int) -> None:
        arm = entrant or ("reference" if phase == "reference" else BASELINE)
        task = self._tasks.get(arm)
        if task is None:
            task = self._progress.add_task(arm, total=max(of, 1), ratio="")
            self._tasks[arm] = task
        described = f"{arm[:20]}: {phase}"
        self._progress.update(task, description=described, completed=done, total=max(of, 1))

    def measured(self, entrant: str, prompt: int, baseline_us: int, own_us: int) -> None:
        self._ratios.note(entrant, prompt, baseline_us, own_us)
        task = self._tasks.get(entrant)
        if task is not None:
            self._progress.update(task, ratio=self._ratios.text(entrant))

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)


class _Lines:
    """One line when a phase begins and ends, and now and then between."""

    def __init__(self) -> None:
        self.ratios = Ratios()
        self._said: tuple[str, str | None, int] | None = None
        self._said_at_s = 0.0

    def phase(self, phase: str, entrant: str | None, done: int, of: int) -> None:
        news = self._said is None or self._said[:2] != (phase, entrant)
        waited = time.monotonic() - self._said_at_s >= LINE_EVERY_S
        if not news and not waited and done < of:
            return
        if self._said == (phase, entrant, done):
            return
        self._said, self._said_at_s = (phase, entrant, done), time.monotonic()
        ratio = self.ratios.text(entrant) if entrant else ""
        whose = entrant or ("the reference" if phase == "reference" else "the baseline")
        _line(f"{phase} of {whose}: {done} of {of}" + (f", {ratio} the baseline" if ratio else ""))


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
