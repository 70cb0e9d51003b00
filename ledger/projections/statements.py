"""The driver's own statements for a view's tables, built once per table and database.

SQLAlchemy's expressions cost more than the rows they move when a page has thousands of them, so
the runner's few statements are kept as text in the driver's parameter style.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import BigInteger, Integer, Table

from ledger.projections.tables import PLACE_COLUMNS, keys_of, kind_of
from ledger.store.many_rows import Insertion, parameter, quoted

SMALLEST_BOUND: Final = 2**31
BIGGEST_BOUND: Final = 2**63
"""Integers and big integers are signed: from minus this up to, not including, this."""


class Version(Protocol):
    """What :meth:`Statements.row` writes of a version."""

    since: int
    values: dict[str, Any]
    begins: bool
    until: int | None


class Statements:
    """What the runner says about one table: ``newest``, ``all_current``, ``end``, ``insertion``.

    ``bounds`` has the bound of each column of whole numbers.
    """

    def __init__(self, table: Table, dialect: str, suffix: str) -> None:
        self.table = table
        self._dialect, self._suffix = dialect, suffix
        self.columns = tuple(str(column.name) for column in table.columns)
        self.insertion = Insertion.into(table, dialect, suffix)
        self.bounds = {
            str(column.name): BIGGEST_BOUND
            if isinstance(column.type, BigInteger)
            else SMALLEST_BOUND
            for column in table.columns
            if isinstance(column.type, Integer)
        }
        keys = keys_of(table)
        self.values = tuple(
            name for name in self.columns if name not in PLACE_COLUMNS and name not in keys
        )
        if kind_of(table) == "appended":
            self.newest = self.all_current = self.end = ""
            self.blank = {}
            return
        self.blank = dict.fromkeys(self.values)
        one, name = parameter(dialect), quoted(table.name + suffix)
        chosen = ", ".join(map(quoted, self.columns))
        same = " AND ".join(f"{quoted(key)} = {one}" for key in ("log_id", *keys))
        # Constants only: names of our own tables and columns, quoted.
        self.newest = f"SELECT {chosen} FROM {name} WHERE {same} ORDER BY since DESC LIMIT 1"  # noqa: S608
        self.all_current = f"SELECT {chosen} FROM {name} WHERE log_id = {one} AND until IS NULL"  # noqa: S608
        self.end = f"UPDATE {name} SET until = {one} WHERE {same} AND since = {one}"  # noqa: S608

    def newest_first(self, *columns: str) -> str:
        """Rows of an appended table before a place, with one value of ``columns``, newest first.

        Asked with the log, the values, the place's position, that again and its line, and a limit.
        """
        table = self.table
        one, name = parameter(self._dialect), quoted(table.name + self._suffix)
        chosen = ", ".join(map(quoted, self.columns))
        same = " AND ".join(f"{quoted(column)} = {one}" for column in ("log_id", *columns))
        # Constants only: names of our own tables and columns, quoted.
        return (
            f"SELECT {chosen} FROM {name} WHERE {same} "  # noqa: S608
            f"AND position <= {one} AND (position < {one} OR line < {one}) "
            f"ORDER BY position DESC, line DESC LIMIT {one}"
        )

    def values_since(self, column: str) -> str:
        """What a column of an appended table has, asked with the log and the first position."""
        one, name = parameter(self._dialect), quoted(self.table.name + self._suffix)
        # Constants only: names of our own tables and columns, quoted.
        return (
            f"SELECT DISTINCT {quoted(column)} FROM {name} "  # noqa: S608
            f"WHERE log_id = {one} AND position >= {one}"
        )

    def whole(self, kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """``changes`` over what is kept, in the order of the table's columns.

        Raises ``TypeError`` for a name that is no column of the table.
        """
        values = {**(kept or self.blank), **changes}
        if len(values) != len(self.values):
            odd = ", ".join(sorted(values.keys() - set(self.values)))
            msg = f"the view's table {self.table.name} has no column {odd}"
            raise TypeError(msg)
        return values

    def row(self, log_id: int, key: tuple[Any, ...], version: Version) -> tuple[Any, ...]:
        """A version as a row in the order of the table's columns."""
        place = (log_id, *key, version.since, version.until, version.begins)
        return (*place, *version.values.values())


@cache
def statements_of(table: Table, dialect: str, suffix: str = "") -> Statements:
    """The statements of a table in a database's style; ``suffix`` is appended to its name."""
    return Statements(table, dialect, suffix)
