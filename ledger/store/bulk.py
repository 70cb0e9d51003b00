"""Many rows at once, in each database's own way, past SQLAlchemy's per-row processing.

SQLite: ``executemany`` on the driver. PostgreSQL: binary COPY from :data:`COPY_FROM_ROWS` rows on,
below that a pipelined ``executemany``. Lists of keys travel as one parameter, so that the statement
is the same whatever their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection

COPY_FROM_ROWS: Final = 16

_COLUMNS: Final = (
    "log_id, position, originator_id, originator_version, topic, fact_key, effective_block, state"
)
_COPY_TYPES: Final = ("int4", "int8", "uuid", "int4", "text", "text", "int8", "bytea")
_KEYS_PER_QUERY: Final = 5_000

_INSERT_ON_SQLITE: Final = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
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
_VERSIONS_ON_SQLITE: Final = (
    "SELECT originator_id, max(originator_version) FROM events "
    "WHERE originator_id IN (SELECT value FROM json_each(?)) GROUP BY originator_id"
)
_VERSIONS_ON_POSTGRES: Final = (
    "SELECT originator_id, max(originator_version) FROM events "
    "WHERE originator_id = ANY(%s::uuid[]) GROUP BY originator_id"
)

Row = tuple[Any, ...]
"""One fact in the order of the table's columns."""


def insert_facts(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert facts; raises SQLAlchemy's ``IntegrityError`` where a key is taken."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            _INSERT_ON_SQLITE, [(*row[:2], row[2].hex, *row[3:]) for row in rows]
        )
    elif len(rows) < COPY_FROM_ROWS:
        connection.exec_driver_sql(_INSERT_ON_POSTGRES, list(rows))
    else:
        _copy(connection, rows)


def _copy(connection: Connection, rows: Sequence[Row]) -> None:
    import psycopg
    from sqlalchemy.exc import DBAPIError

    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_COPY_TYPES)
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # As SQLAlchemy would have told it, had the rows gone through it.
        raise DBAPIError.instance(
            _COPY, None, error, psycopg.Error, dialect=connection.dialect
        ) from error


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
        found |= {UUID(str(identity)): version for identity, version in rows}
    return found


def _asked(
    connection: Connection, on_sqlite: str, on_postgres: str, values: Sequence[str]
) -> Sequence[Any]:
    if connection.dialect.name == "sqlite":
        listed = msgspec.json.encode(values).decode()
        return connection.exec_driver_sql(on_sqlite, (listed,)).all()
    return connection.exec_driver_sql(on_postgres, (list(values),)).all()


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _KEYS_PER_QUERY):
        yield values[start : start + _KEYS_PER_QUERY]
