"""Many rows at once, in each database's own way, past SQLAlchemy's per-row processing.

SQLite: statements of up to :data:`ROWS_PER_STATEMENT` rows, for each is one step of the driver, and
during a step other threads run. PostgreSQL: binary COPY from
:data:`~ledger.store.many_rows.COPY_FROM_ROWS` rows on, below that a pipelined ``executemany``.
Lists of keys travel as one parameter, so that the statement is the same whatever their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from ledger.store.many_rows import COPY_FROM_ROWS, copy_rows

ROWS_PER_STATEMENT: Final = 64
"""Rows in one INSERT on SQLite: the driver keeps a prepared statement for every number up to it
(:data:`ledger.store.database.PREPARED_STATEMENTS`)."""

_COLUMNS: Final = (
    "log_id, position, originator_id, originator_version, topic, fact_key, effective_block, state"
)
_COPY_TYPES: Final = ("int4", "int8", "uuid", "int4", "text", "text", "int8", "bytea")
_KEYS_PER_QUERY: Final = 5_000

_INSERT_ON_POSTGRES: Final = (
    f"INSERT INTO events ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
)
_COPY: Final = f"COPY events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_KNOWN_ON_SQLITE: Final = (
    "SELECT fact_key, position, topic, state FROM events "
    "WHERE fact_key IN (SELECT value FROM json_each(?))"
)
_KNOWN_ON_POSTGRES: Final = (
    "SELECT fact_key, position, topic, state FROM events WHERE fact_key = ANY(%s::text[])"
)
# One look at the end of each aggregate's index entries; grouping would walk through all of them.
_NEWEST_OF: Final = (
    "(SELECT max(originator_version) FROM events WHERE originator_id = asked.identity)"
)
_VERSIONS_ON_SQLITE: Final = (
    f"SELECT identity, {_NEWEST_OF} FROM (SELECT value AS identity FROM json_each(?)) AS asked"  # noqa: S608
)
_VERSIONS_ON_POSTGRES: Final = (
    f"SELECT identity, {_NEWEST_OF} FROM unnest(%s::uuid[]) AS asked(identity)"  # noqa: S608
)

_LOCK_ON_SQLITE: Final = "SELECT log_id, position, effective_block FROM logs WHERE arena = ?"
_LOCK_ON_POSTGRES: Final = (
    "SELECT log_id, position, effective_block FROM logs WHERE arena = %s FOR NO KEY UPDATE"
)
"""Not the key: a view's first position, which refers to the log, need not wait for its writers."""

_MOVE_ON_SQLITE: Final = "UPDATE logs SET position = ?, effective_block = ? WHERE log_id = ?"
_MOVE_ON_POSTGRES: Final = "UPDATE logs SET position = %s, effective_block = %s WHERE log_id = %s"

Row = tuple[int, int, UUID, int, str, str, int, bytes]
"""One fact in the order of the table's columns."""


def lock_head(connection: Connection, arena: str) -> tuple[int, int, int] | None:
    """Lock an arena's log head until the transaction ends: log id, position, block; None if new.

    SQLite's write transaction holds the whole database already.
    """
    lock = _LOCK_ON_SQLITE if _is_sqlite(connection) else _LOCK_ON_POSTGRES
    row = connection.exec_driver_sql(lock, (arena,)).first()
    return None if row is None else (row[0], row[1], row[2])


def move_head(connection: Connection, log_id: int, position: int, block: int) -> None:
    """Move a locked log head to the last fact that was inserted behind it."""
    move = _MOVE_ON_SQLITE if _is_sqlite(connection) else _MOVE_ON_POSTGRES
    connection.exec_driver_sql(move, (position, block, log_id))


def insert_facts(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert facts; raises SQLAlchemy's ``IntegrityError`` where a key is taken."""
    if not rows:
        return
    if _is_sqlite(connection):
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            values = [
                value
                for log, position, identity, version, topic, key, block, state in part
                for value in (log, position, identity.hex, version, topic, key, block, state)
            ]
            connection.exec_driver_sql(_insert_on_sqlite(len(part)), tuple(values))
    elif len(rows) < COPY_FROM_ROWS:
        connection.exec_driver_sql(_INSERT_ON_POSTGRES, list(rows))
    else:
        copy_rows(connection, _COPY, _COPY_TYPES, rows)


@cache
def _insert_on_sqlite(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO events ({_COLUMNS}) VALUES {values}"  # noqa: S608 - constants only


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def known_rows(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[int, str, bytes]]:
    """What is recorded under these keys: position, topic and bytes by key."""
    found: dict[str, tuple[int, str, bytes]] = {}
    for chunk in _chunks(keys):
        rows = _asked(connection, _KNOWN_ON_SQLITE, _KNOWN_ON_POSTGRES, chunk)
        found |= {key: (position, topic, bytes(state)) for key, position, topic, state in rows}
    return found


def newest_versions(connection: Connection, identities: Collection[UUID]) -> dict[UUID, int]:
    """The newest version of each of these aggregates that has any fact."""
    found: dict[UUID, int] = {}
    for chunk in _chunks([identity.hex for identity in identities]):
        rows = _asked(connection, _VERSIONS_ON_SQLITE, _VERSIONS_ON_POSTGRES, chunk)
        found |= {UUID(str(identity)): version for identity, version in rows if version}
    return found


def _asked(
    connection: Connection, on_sqlite: str, on_postgres: str, values: Sequence[str]
) -> Sequence[Any]:
    if _is_sqlite(connection):
        listed = msgspec.json.encode(values).decode()
        return connection.exec_driver_sql(on_sqlite, (listed,)).all()
    return connection.exec_driver_sql(on_postgres, (list(values),)).all()


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _KEYS_PER_QUERY):
        yield values[start : start + _KEYS_PER_QUERY]
