"""Rows of a projection, buffered while a page is folded and written in one go at its end.

:class:`Rows` is what a fold sees. It reads each current row once, keeps changes in memory, and
writes them with the drivers' bulk statements; nothing of it touches the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table

from ledger.projections.statements import (
    BIGGEST_BOUND,
    SMALLEST_BOUND,
    Statements,
    statements_of,
)
from ledger.projections.tables import keys_of
from ledger.store.many_rows import execute_each, insert_rows

MAX_KEPT_ROWS: Final = 2_000
"""So many rows kept from page to page, and those that were not asked for since then are let go."""

MAX_KEPT_THINGS: Final = 50_000

_PLACED_BY: Final = 3
"""So many columns of an appended table, the first ones, say where a row belongs."""

NEWEST_AT_ONCE: Final = 64
"""How many rows :meth:`Rows.newest_first` reads in one go."""

Key = tuple[Any, ...]
Values = tuple[Any, ...]


@dataclass(slots=True)
class _Version:
    """The newest version of a key. ``until`` is None while it holds."""

    since: int
    values: dict[str, Any]
    begins: bool
    stored: bool
    until: int | None = None


class Rows:
    """The current rows of one arena's projection, and the changes of one page.

    ``suffix`` is appended to every table's name: a rebuild writes beside the live tables.
    """

    def __init__(self, connection: Connection, log_id: int, suffix: str = "") -> None:
        self._connection = connection
        self.log_id = log_id
        self._suffix = suffix
        self._newest: dict[Table, dict[Key, _Version | None]] = {}
        self._older: dict[Table, dict[Key, _Version | None]] = {}
        self._whole: set[Table] = set()
        self._inserts: dict[Table, list[_Inserted]] = {}
        self._ends: dict[Table, list[Values]] = {}
        self._appended: dict[Table, _Appended] = {}
        self.memo: dict[str, Any] = {}
        """What a fold remembers of its own rows in a form quicker to ask; let go with the rows."""
        self.kept: dict[Any, Any] = {}
        """The same, let go only beyond :data:`MAX_KEPT_THINGS`: for what takes long to read."""

    # -- what a fold asks and says ----------------------------------------------------------

    def get(self, table: Table, *key: Any) -> Mapping[str, Any] | None:
        """The current values of a row, or None."""
        version = self._version(table, key)
        return version.values if version is not None and version.until is None else None

    def all(self, table: Table) -> dict[Key, Mapping[str, Any]]:
        """All current rows of a table by key, in the order of their keys. For small tables."""
        if table not in self._whole:
            known = self._newest.setdefault(table, {})
            known |= self._older.pop(table, {}) | known
            statements = self._statements(table)
            found = self._connection.exec_driver_sql(statements.all_current, (self.log_id,))
            for row in found.all():
                key, version = _from_row(statements, tuple(row))
                known.setdefault(key, version)
            self._whole.add(table)
        current = {
            key: version.values
            for key, version in self._newest[table].items()
            if version is not None and version.until is None
        }
        return dict(sorted(current.items(), key=lambda item: tuple(map(str, item[0]))))

    def put(self, table: Table, position: int, *key: Any, **changes: Any) -> None:
        """From ``position`` on the row has these values, besides those it keeps."""
        old = self._version(table, key)
        if old is None:
            self.put_new(table, position, *key, **changes)
            return
        statements = self._statements(table)
        changes = _storable(statements, changes)
        if old.until is not None:  # there was such a row once: nothing of it is kept
            values = statements.whole({}, changes)
        elif old.since == position:
            if old.stored:
                msg = f"position {position} was folded into {table.name} before"
                raise AssertionError(msg)
            old.values = statements.whole(old.values, changes)
            return
        else:
            values = statements.whole(old.values, changes)
            self._close(table, key, old, position)
        self._open(table, key, _Version(position, values, begins=False, stored=False))

    def put_new(self, table: Table, position: int, *key: Any, **values: Any) -> None:
        """From ``position`` on there is this row, whose key no fact before it named."""
        statements = self._statements(table)
        whole = statements.whole({}, _storable(statements, values))
        self._open(table, key, _Version(position, whole, begins=True, stored=False))

    def end(self, table: Table, position: int, *key: Any) -> None:
        """From ``position`` on there is no such row."""
        old = self._version(table, key)
        if old is not None and old.until is None:
            self._close(table, key, old, position)

    def append(self, table: Table, position: int, **values: Any) -> None:
        """Add a row to an appended table; every column is named."""
        statements = self._statements(table)
        values = _storable(statements, values)
        columns = statements.columns[_PLACED_BY:]
        if len(values) != len(columns):
            msg = f"a row of {table.name} names {sorted(values)}, not {sorted(columns)}"
            raise TypeError(msg)
        self.extend(table, position, [tuple(values[name] for name in columns)])

    def extend(self, table: Table, position: int, rows: Iterable[Values]) -> None:
        """Add many rows to an appended table: values in the order of its own columns.

        They are written as they are: whoever calls makes sure that no text holds a NUL character
        (see :func:`storable_text`) and that every number fits, as money and alpha that moved do.
        """
        log_id, own = self.log_id, len(table.columns) - _PLACED_BY
        values, line = self.appending(table, position)
        for row in rows:
            if len(row) != own:
                msg = (
                    f"a row of {table.name} at position {position} has {len(row)} values, not {own}"
                )
                raise TypeError(msg)
            values += (log_id, position, line, *row)
            line += 1

    def appending(self, table: Table, position: int) -> tuple[list[Any], int]:
        """For a fold that adds millions of rows: the list to add them to, and the line of the next.

        Each row is all of its values one after the other, in the order of the table's columns, log,
        position and line among them: one list is made much faster than a tuple a row. For what is
        in them holds what :meth:`extend` says.
        """
        appended = self._appended.get(table)
        if appended is None:
            appended = self._appended[table] = _Appended([], len(table.columns))
        values = appended.values
        # A fact's rows follow each other: the last one tells whether it has some already.
        if values and values[1 - appended.width] == position:
            return values, values[2 - appended.width] + 1
        return values, 0

    def newest_first(self, table: Table, column: str, value: Any) -> Iterator[Mapping[str, Any]]:
        """The rows of an appended table with that value that earlier pages wrote, newest first.

        Stop as soon as you have what you look for: it reads :data:`NEWEST_AT_ONCE` at a time.
        """
        return self._newest_first(table, self._statements(table).newest_first(column), (value,))

    def all_newest_first(self, table: Table) -> Iterator[Mapping[str, Any]]:
        """The rows of an appended table, newest first, with those of this page. Stop, as above."""
        statements = self._statements(table)
        appended = self._appended.get(table)
        if appended is not None:
            for row in appended.newest_first():
                yield dict(zip(statements.columns, row, strict=True))
        yield from self._newest_first(table, statements.newest_first(), ())

    def values_since(self, table: Table, column: str, position: int) -> set[Any]:
        """What an appended table's column has in rows from a position on that earlier pages wrote.

        It looks at every row since then.
        """
        values_since = self._statements(table).values_since(column)
        asked = (self.log_id, position)
        return set(self._connection.exec_driver_sql(values_since, asked).scalars())

    def _newest_first(
        self, table: Table, newest_first: str, values: Values
    ) -> Iterator[Mapping[str, Any]]:
        statements = self._statements(table)
        place = (BIGGEST_BOUND - 1, 0)
        while True:
            asked = (self.log_id, *values, place[0], *place, NEWEST_AT_ONCE)
            found = self._connection.exec_driver_sql(newest_first, asked).all()
            for row in found:
                by_name = dict(zip(statements.columns, row, strict=True))
                place = (by_name["position"], by_name["line"])
                yield by_name
            if len(found) < NEWEST_AT_ONCE:
                return

    # -- what the runner does ---------------------------------------------------------------

    def use(self, connection: Connection) -> None:
        """Read and write through this connection from now on."""
        self._connection = connection

    def write(self) -> None:
        """Write everything that changed."""
        for table, ends in self._ends.items():
            ended = execute_each(self._connection, self._statements(table).end, ends)
            if ended != len(ends):
                msg = (
                    f"{table.name} lacks {len(ends) - ended} rows that it had before; "
                    "make the views anew with 'cacheon-ledger db rebuild'"
                )
                raise LookupError(msg)
        for table, inserted in self._inserts.items():
            statements = self._statements(table)
            values: list[Any] = []
            for one in inserted:
                version = one.version
                if version.until != version.since:  # held for no position: is no version
                    values += statements.row(self.log_id, one.key, version)
                version.stored = True
            insert_rows(self._connection, statements.insertion, values)
        for table, appended in self._appended.items():
            if not appended.is_of_whole_rows(self.log_id):
                msg = f"a row of {table.name} was appended that has not {appended.width} values"
                raise TypeError(msg)
            insert_rows(self._connection, self._statements(table).insertion, appended.values)
        self._ends.clear()
        self._inserts.clear()
        self._appended.clear()
        if sum(map(len, self._newest.values())) > MAX_KEPT_ROWS:
            self._older, self._newest = self._newest, {}
            self._whole.clear()
            self.memo.clear()
        if len(self.kept) > MAX_KEPT_THINGS:
            self.kept.clear()

    # -- inside -----------------------------------------------------------------------------

    def _open(self, table: Table, key: Key, version: _Version) -> None:
        self._newest.setdefault(table, {})[key] = version
        self._inserts.setdefault(table, []).append(_Inserted(key, version))

    def _close(self, table: Table, key: Key, version: _Version, position: int) -> None:
        version.until = position
        if version.stored:
            end = (position, self.log_id, *key, version.since)
            self._ends.setdefault(table, []).append(end)
        elif version.since == position and version.begins:
            self._newest[table][key] = None  # as if there had never been such a row

    def _version(self, table: Table, key: Key) -> _Version | None:
        known = self._newest.setdefault(table, {})
        if key not in known:
            older = self._older.get(table)
            if older is not None and key in older:
                known[key] = older.pop(key)
                return known[key]
            statements = self._statements(table)
            asked = (self.log_id, *key)
            row = self._connection.exec_driver_sql(statements.newest, asked).first()
            known[key] = _from_row(statements, tuple(row))[1] if row else None
        return known[key]

    def _statements(self, table: Table) -> Statements:
        return statements_of(table, self._connection.dialect.name, self._suffix)


@dataclass(frozen=True, slots=True)
class _Appended:
    """The values of a table's new rows, row after row, and how many a row has."""

    values: list[Any]
    width: int

    def is_of_whole_rows(self, log_id: int) -> bool:
        """Whether each row begins with its log where the rows before it say.

        The number of values alone does not tell: eight rows that lack one make seven whole ones.
        """
        begins = self.values[:: self.width]
        return len(begins) * self.width == len(self.values) and begins.count(log_id) == len(begins)

    def newest_first(self) -> Iterator[Values]:
        """Row by row, the last one first."""
        for end in range(len(self.values), 0, -self.width):
            yield tuple(self.values[end - self.width : end])


@dataclass(frozen=True, slots=True)
class _Inserted:
    key: Key
    version: _Version


def storable_text(text: str) -> str:
    """The text with NUL shown as U+2400: a server's log may hold it, PostgreSQL's text cannot."""
    return text.replace("\0", "\u2400") if "\0" in text else text


def _storable(statements: Statements, values: dict[str, Any]) -> dict[str, Any]:
    """The values as a database can keep them.

    A number beyond its column becomes the last one that fits: chains have unsigned numbers of 64
    bits that anybody may choose, databases signed ones, and a fact that cannot be folded would stop
    its view for ever. The log has the number itself.
    """
    for name, value in values.items():
        kind = type(value)
        if kind is str:
            if "\0" in value:
                values[name] = storable_text(value)
        elif kind is int and not -SMALLEST_BOUND <= value < SMALLEST_BOUND:
            bound = statements.bounds.get(name)
            if bound is not None:
                values[name] = max(-bound, min(value, bound - 1))
    return values


def _from_row(statements: Statements, row: Values) -> tuple[Key, _Version]:
    table = statements.table
    by_name = dict(zip(statements.columns, row, strict=True))
    key = tuple(by_name[name] for name in keys_of(table))
    values = {name: by_name[name] for name in statements.values}
    version = _Version(
        by_name["since"],
        values,
        begins=bool(by_name["begins"]),
        stored=True,
        until=by_name["until"],
    )
    return key, version
