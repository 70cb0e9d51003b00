"""How a season goes, on stderr: bars where somebody watches, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from api.demo.play import Watcher

LINE_EVERY_BLOCKS: Final = 1_000
"""Where nobody watches, a long back-fill says so often how far it is."""


@contextmanager
def season_progress(first_block: int, last_block: int) -> Iterator[Watcher]:
    """A watcher that shows the season's blocks and, while one runs, the contest's prompts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from api.demo.play import Watcher

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield Watcher(say=_line)
        return
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        season = progress.add_task("season (blocks)", total=last_block - first_block)
        contest = progress.add_task("contest", total=1, visible=False)

        def on_block(number: int, _last: int) -> None:
            progress.update(season, completed=number - first_block)

        def on_contest(phase: str, entrant: str | None, done: int, of: int) -> None:
            who = f"{phase} of {entrant[:8]}" if entrant else f"{phase} of the baseline"
            progress.update(contest, description=who, completed=done, total=of, visible=True)

        def say(line: str) -> None:
            progress.update(contest, visible=False)
            progress.console.print(line, markup=False, highlight=False)

        yield Watcher(say=say, block=on_block, contest=on_contest)


@contextmanager
def blocks_progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Who is told of each block, (number, last one there is), and of each happening, one line."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        counted = 0

        def count(number: int, last: int) -> None:
            nonlocal counted
            counted += 1
            if counted % LINE_EVERY_BLOCKS == 0:
                _line(f"at block {number} of {last}")

        yield count, _line
        return
    columns = (
        TextColumn("block {task.completed:,.0f} of {task.total:,.0f}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        blocks = progress.add_task("blocks", total=1, visible=False)
        first: int | None = None

        def on_block(number: int, last: int) -> None:
            nonlocal first
            if first is None or number < first:
                first = number
            progress.update(blocks, completed=number, total=last, visible=last - first > 1)

        def say(line: str) -> None:
            progress.update(blocks, visible=False)
            progress.console.print(line, markup=False, highlight=False)

        yield on_block, say


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
