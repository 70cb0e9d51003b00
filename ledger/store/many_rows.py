"""Many rows at once into any table, in each database's own way, past per-row processing.

SQLite: :data:`ROWS_PER_STEP` rows a statement, which is half as long as a statement a row.
PostgreSQL: binary COPY from :data:`COPY_FROM_ROWS` rows on, below that a pipelined ``executemany``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
)

from ledger.store.driver import driver_errors

COPY_FROM_ROWS: Final = 4
ROWS_PER_STEP: Final = 32

_COPY_TYPES: Final[tuple[tuple[type[Any], str], ...]] = (
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Text, "text"),
    (Boolean, "bool"),
    (Uuid, "uuid"),
    (LargeBinary, "bytea"),
)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Insertion:
    """How rows enter one table: values in the order of its columns."""

    statement: str
    many: str
    copy: str
    copy_types: tuple[str, ...]

    @classmethod
    def into(cls, table: Table, dialect: str, suffix: str = "") -> Self:
        """The insertion into a table, whose name gets ``suffix``."""
        name = quoted(table.name + suffix)
        columns = ", ".join(quoted(column.name) for column in table.columns)
        one = f"({', '.join([parameter(dialect)] * len(table.columns))})"
        into = f"INSERT INTO {name} ({columns}) VALUES "  # noqa: S608
        return cls(
            statement=into + one,
            many=into + ", ".join([one] * ROWS_PER_STEP),
            copy=f"COPY {name} ({columns}) FROM STDIN (FORMAT BINARY)",
            copy_types=tuple(_copy_type(column.type) for column in table.columns),
        )


def insert_rows(connection: Connection, insertion: Insertion, values: list[Any]) -> None:
    """Insert rows, given as their values one after the other, all in one list.

    Raises SQLAlchemy's ``IntegrityError`` where a key is taken.
    """
    width = len(insertion.copy_types)
    if len(values) % width:
        msg = f"{len(values)} values are no rows of {width}: {insertion.statement}"
        raise ValueError(msg)
    if connection.dialect.name == "sqlite":
        step = width * ROWS_PER_STEP
        whole = len(values) - len(values) % step
        with driver_errors(connection, insertion.many) as driver:
            cursor = driver.cursor()
            for start in range(0, whole, step):
                cursor.execute(insertion.many, values[start : start + step])
            cursor.close()
        values = values[whole:]
    rows = list(zip(*[iter(values)] * width, strict=True))
    if connection.dialect.name == "postgresql" and len(rows) >= COPY_FROM_ROWS:
        copy_rows(connection, insertion.copy, insertion.copy_types, rows)
    else:
        execute_each(connection, insertion.statement, rows)


def execute_each(connection: Connection, statement: str, rows: Sequence[Row]) -> int:
    """Run one statement for each of the parameters; how many rows they reached together."""
    return connection.exec_driver_sql(statement, list(rows)).rowcount if rows else 0


def copy_rows(
    connection: Connection, statement: str, types: Sequence[str], rows: Sequence[Row]
) -> None:
    """PostgreSQL's binary COPY; errors are told as SQLAlchemy tells those of any statement."""
    with (
        driver_errors(connection, statement) as driver,
        driver.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def parameter(dialect: str) -> str:
    """One positional parameter in the style of the dialect's driver."""
    return "?" if dialect == "sqlite" else "%s"


def quoted(name: str) -> str:
    """A name of our own schema, quoted as both databases read it."""
    return f'"{name}"'


def _copy_type(kind: Any) -> str:
    for known, name in _COPY_TYPES:
        if isinstance(kind, known):
            return name
    msg = f"no COPY type is known for a column of type {kind!r}; add it to _COPY_TYPES"
    raise TypeError(msg)
