"""Comma-separated values that a spreadsheet opens: a header whose names end in their units.

Amounts are whole numbers of the smallest unit; an empty cell is unknown. A text of others that a
spreadsheet would take for a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The header and a line for each row, in the order of ``names``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    cells: list[list[str | int]] = [list(names)]
    cells += [[_cell(row[name]) for name in names] for row in rows]
    for line in cells:
        writer.writerow(line)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(value: Any) -> str | int:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
