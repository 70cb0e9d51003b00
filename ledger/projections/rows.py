"""Rows of a projection: versions by position, buffered while a page is folded.

A **versioned** table keeps every version of a row: it holds from position ``since`` up to, not
including, ``until`` (None: still). "At block B" is one look-up at the position of that block. An
**appended** table only grows: one row per position and line.

:class:`Rows` is what a fold sees. It reads each current row once, keeps changes in memory, and
writes them in one go at the end of the page; nothing of it touches the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from ledger.store.schema import METADATA

_KIND: Final = "kind"
_KEYS: Final = "keys"

Key = tuple[Any, ...]


def versioned(name: str, keys: Iterable[Column[Any]], values: Iterable[Column[Any]]) -> Table:
    """Declare a table that keeps every version of its rows."""
    key_columns = list(keys)
    return Table(
        name,
        METADATA,
        Column("log_id", Integer, primary_key=True, autoincrement=False),
        *key_columns,
        Column("since", BigInteger, primary_key=True, autoincrement=False),
        Column("until", BigInteger),
        *values,
        Index(None, "log_id", "until"),
        info={_KIND: "versioned", _KEYS: tuple(column.name for column in key_columns)},
    )


def appended(name: str, *columns: Column[Any], indexed: tuple[str, ...] = ()) -> Table:
    """Declare a table that only grows."""
    return Table(
        name,
        METADATA,
        Column("log_id", Integer, primary_key=True, autoincrement=False),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("line", Integer, primary_key=True, autoincrement=False),
        *columns,
        *(Index(None, "log_id", column) for column in indexed),
        info={_KIND: "appended", _KEYS: ()},
    )


def rows_at(table: Table, log_id: int, position: int) -> Select[Any]:
    """The versions that held at a position; of an appended table, all rows up to it."""
    query = select(table).where(table.c.log_id == log_id)
    if table.info[_KIND] == "appended":
        query = query.where(table.c.position <= position)
        return query.order_by(table.c.position, table.c.line)
    query = query.where(
        and_(table.c.since <= position, or_(table.c.until.is_(None), table.c.until > position))
    )
    return query.order_by(*(table.c[name] for name in table.info[_KEYS]))


@dataclass(slots=True)
class _Version:
    since: int
    values: dict[str, Any]
    stored: bool
    changed: bool


class Rows:
    """The current rows of one arena's projections, and the changes of one page."""

    def __init__(self, connection: Connection, log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id
        self._open: dict[Table, dict[Key, _Version | None]] = {}
        self._whole: set[Table] = set()
        self._ended: list[tuple[Table, Key, _Version, int]] = []
        self._appended: dict[Table, list[dict[str, Any]]] = {}
        self._lines: dict[tuple[Table, int], int] = {}

    # -- what a fold asks and says ----------------------------------------------------------

    def get(self, table: Table, *key: Any) -> Mapping[str, Any] | None:
        """The current values of a row, or None."""
        version = self._version(table, key)
        return version.values if version else None

    def all(self, table: Table) -> dict[Key, Mapping[str, Any]]:
        """All current rows of a table by key, in the order of their keys."""
        if table not in self._whole:
            query = select(table).where(table.c.log_id == self._log_id, table.c.until.is_(None))
            known = self._open.setdefault(table, {})
            for row in self._connection.execute(query).mappings():
                key = tuple(row[name] for name in table.info[_KEYS])
                known.setdefault(key, _from_row(table, row))
            self._whole.add(table)
        found = {key: version.values for key, version in self._open[table].items() if version}
        return dict(sorted(found.items(), key=lambda item: tuple(map(str, item[0]))))

    def put(self, table: Table, position: int, *key: Any, **changes: Any) -> None:
        """From ``position`` on the row has these values, besides those it keeps."""
        changes = _storable(changes)
        old = self._version(table, key)
        if old is not None and old.since == position:
            old.values.update(changes)
            old.changed = True
            return
        values = {**(old.values if old else {}), **changes}
        if old is not None:
            self._ended.append((table, key, old, position))
        self._open[table][key] = _Version(position, values, stored=False, changed=True)

    def end(self, table: Table, position: int, *key: Any) -> None:
        """From ``position`` on there is no such row."""
        old = self._version(table, key)
        if old is not None:
            self._ended.append((table, key, old, position))
            self._open[table][key] = None

    def append(self, table: Table, position: int, **values: Any) -> None:
        """Add a row to an appended table."""
        line = self._lines.get((table, position), 0)
        self._lines[table, position] = line + 1
        self._appended.setdefault(table, []).append(
            {"log_id": self._log_id, "position": position, "line": line, **_storable(values)}
        )

    # -- what the runner does ---------------------------------------------------------------

    def write(self) -> None:
        """Write everything that changed."""
        for table, key, version, until in self._ended:
            self._write_version(table, key, version, until)
        for table, versions in self._open.items():
            for key, open_version in versions.items():
                if open_version is not None and open_version.changed:
                    self._write_version(table, key, open_version, None)
                    open_version.stored, open_version.changed = True, False
        for table, rows in self._appended.items():
            self._connection.execute(insert(table), rows)
        self._ended.clear()
        self._appended.clear()

    def _write_version(self, table: Table, key: Key, version: _Version, until: int | None) -> None:
        identity = {"log_id": self._log_id, "since": version.since}
        identity |= dict(zip(table.info[_KEYS], key, strict=True))
        if not version.stored:
            if until != version.since:  # a version that held for no position is not one
                self._connection.execute(
                    insert(table).values(**identity, until=until, **version.values)
                )
            return
        query = update(table).where(
            *(table.c[name] == bindparam(f"key_{name}") for name in identity)
        )
        changes = {**version.values, "until": until} if version.changed else {"until": until}
        self._connection.execute(
            query.values(**changes), {f"key_{name}": value for name, value in identity.items()}
        )

    def _version(self, table: Table, key: Key) -> _Version | None:
        known = self._open.setdefault(table, {})
        if key not in known:
            if table in self._whole:
                return None
            query = select(table).where(table.c.log_id == self._log_id, table.c.until.is_(None))
            for name, value in zip(table.info[_KEYS], key, strict=True):
                query = query.where(table.c[name] == value)
            row = self._connection.execute(query).mappings().first()
            known[key] = _from_row(table, row) if row else None
        return known[key]


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    """The values with NUL shown as U+2400: a server's log may hold it, PostgreSQL's text cannot."""
    return {
        name: value.replace("\0", "\u2400") if isinstance(value, str) else value
        for name, value in values.items()
    }


def _from_row(table: Table, row: RowMapping) -> _Version:
    values = {
        column.name: row[column.name]
        for column in table.columns
        if column.name not in {"log_id", "since", "until", *table.info[_KEYS]}
    }
    return _Version(row["since"], values, stored=True, changed=False)
