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
_TIMED: Final = ("prompts", "repeats")
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
    """The callbacks of a contest: ``phase(phase, entrant, done, of)``, ``block(block, of,
    entrant)``, ``measured(entrant, prompt, baseline_us, own_us)``, ``say(line)``."""

    phase: Callable[[str, str | None, int, int], None]
    block: Callable[[int, int, str | None], None]
    measured: Callable[[str, int, int, int], None]
    say: Callable[[str], None]


@contextmanager
def contest_progress() -> Iterator[ContestWatcher]:
    """Watch one contest."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        lines = _Lines()
        yield ContestWatcher(lines.phase, lines.block, lines.ratios.note, _line)
        return
    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[block]:<12}"),
        TextColumn("{task.fields[ratio]:>8}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars = _Bars(progress)
        yield ContestWatcher(bars.phase, bars.block, bars.measured, bars.say)


class _Bars:
    """A bar for each arm; the phase it is in stands before it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._ratios = Ratios()
        self._tasks: dict[str, TaskID] = {}

    def phase(self, phase: str, entrant: str | None, done: int, of: int) -> None:
        arm = entrant or ("reference" if phase == "reference" else BASELINE)
        described = f"{arm[:20]}: {phase}"
        task = self._task(arm)
        self._progress.update(task, description=described, completed=done, total=max(of, 1))

    def block(self, block: int, of: int, entrant: str | None) -> None:
        shown = f"block {block + 1}/{of}"
        self._progress.update(self._task(entrant or BASELINE), block=shown)

    def _task(self, arm: str) -> TaskID:
        task = self._tasks.get(arm)
        if task is None:
            task = self._progress.add_task(arm, total=1, ratio="", block="")
            self._tasks[arm] = task
        return task

    def measured(self, entrant: str, prompt: int, baseline_us: int, own_us: int) -> None:
        self._ratios.note(entrant, prompt, baseline_us, own_us)
        self._progress.update(self._task(entrant), ratio=self._ratios.text(entrant))

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)


class _Lines:
    """A line for each server's start and each whole block, and where a stretch lasts, between."""

    def __init__(self) -> None:
        self.ratios = Ratios()
        self._said: tuple[str, str | None] | None = None
        self._said_at_s = 0.0
        self._block = ""

    def phase(self, phase: str, entrant: str | None, done: int, of: int) -> None:
        """Said when a phase is begun or over, and every :data:`LINE_EVERY_S` of it."""
        waited = time.monotonic() - self._said_at_s >= LINE_EVERY_S
        if self._said == (phase, entrant) and not waited and done < of:
            return
        self._said, self._said_at_s = (phase, entrant), time.monotonic()
        ratio = self.ratios.text(entrant) if entrant and phase in _TIMED else ""
        whose = entrant or ("the reference" if phase == "reference" else "the baseline")
        block = self._block if phase == "prompts" else ""
        _line(
            f"{phase} of {whose}{block}: {done} of {of}"
            + (f", {ratio} as fast as the baseline" if ratio else "")
        )

    def block(self, block: int, of: int, _entrant: str | None) -> None:
        """Kept for the line that comes next."""
        self._block = f", block {block + 1} of {of}"


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
