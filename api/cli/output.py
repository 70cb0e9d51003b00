"""A result to stdout: as JSON, or as tables that fit where they are shown."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from api.cli.cells import NUMERIC, Kind, cell
from api.cli.options import OutputFormat

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PROSE_WIDTH: Final = 60
"""Prose wraps at this many characters."""

_FILE_WIDTH: Final = 1_000
"""A file or pipe has no width: nothing is shortened for it."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, the key in a row, and what it holds."""

    heading: str
    key: str
    kind: Kind = Kind.WORD


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a layout: which rows of the result it shows, and how.

    ``only_if_any`` leaves it out where there are no rows; otherwise it says "none".
    """

    title: str
    columns: tuple[Column, ...]
    rows: Callable[[Any], Rows] = lambda data: data["items"]
    only_if_any: bool = False


Layout = tuple[Section, ...]


def show(result: Any, layout: Layout, output_format: OutputFormat) -> None:
    """Write ``result`` to stdout, and nothing else."""
    import msgspec

    if output_format is OutputFormat.JSON:
        # Bytes, and in the order HTTP has: neither depends on the terminal's encoding.
        sys.stdout.flush()
        sys.stdout.buffer.write(msgspec.json.encode(result, order="deterministic") + b"\n")
        sys.stdout.buffer.flush()
        return
    from rich.text import Text

    data, console = msgspec.to_builtins(result), _console()
    for section in layout:
        rows = section.rows(data)
        if rows:
            # Above the table and not its own title, which would be wrapped to a narrow one's width.
            console.print(Text(section.title, style="bold"))
            console.print(_fitting(console, section, rows))
        elif not section.only_if_any:
            console.print(f"{section.title}: none", markup=False, highlight=False)


def _console() -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to :mod:`api.cli.failures`; the library's own way ends with code 1."""
            raise BrokenPipeError(errno.EPIPE, "the reader of the output went away")

    if sys.stdout.isatty():
        return Plain(file=sys.stdout)
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else _FILE_WIDTH
    return Plain(file=sys.stdout, width=width, force_terminal=False, color_system=None)


def _fitting(console: Console, section: Section, rows: Rows) -> Table:
    """The rows as a table with full identifiers, else with short ones, else one below the other."""
    for short in (False, True):
        table = _table(section, rows, short=short)
        if _least_width(console, table) <= console.width:
            return table
    return _records(section, rows)


def _least_width(console: Console, table: Table) -> int:
    from rich.measure import Measurement

    unbounded = console.options.update(width=100 * _FILE_WIDTH)
    return Measurement.get(console, unbounded, table).minimum


def _table(section: Section, rows: Rows, *, short: bool) -> Table:
    from rich.cells import cell_len
    from rich.text import Text

    table = _frame()
    texts = [
        [cell(row[column.key], column.kind, row, short=short) for column in section.columns]
        for row in rows
    ]
    for column, below in zip(section.columns, zip(*texts, strict=True), strict=True):
        numeric, prose = column.kind in NUMERIC, column.kind is Kind.PROSE
        lines = [line for text in (column.heading, *below) for line in text.splitlines()]
        table.add_column(
            column.heading,
            justify="right" if numeric else "left",
            no_wrap=not prose,
            overflow="fold",
            # The library takes the longest word for the least width, and cuts what is longer.
            min_width=None if prose else max(cell_len(line) for line in lines),
            max_width=PROSE_WIDTH if prose else None,
        )
    for row_texts in texts:
        table.add_row(*map(Text, row_texts))
    return table


def _records(section: Section, rows: Rows) -> Table:
    from rich.text import Text

    table = _frame()
    table.show_header = False
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for row in rows:
        for column in section.columns:
            text = cell(row[column.key], column.kind, row, short=False)
            table.add_row(Text(column.heading), Text(text))
        table.add_section()
    return table


def _frame() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False)
