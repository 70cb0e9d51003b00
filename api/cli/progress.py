"""How a season goes, on stderr: bars where somebody watches, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.demo.play import Watcher


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


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
