"""Declaring the tables of views: versions by position, and rows that are only added.

A **versioned** table keeps every version of a row: it holds from position ``since`` up to, not
including, ``until`` (None: still). ``begins`` marks the first version of a key, so that the keys
there were at a position are found without looking at what came later. "At block B" is then one
look-up per key at the position of that block. An **appended** table only grows: one row per
position and line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    Select,
    Table,
    and_,
    or_,
    select,
    text,
)

from ledger.store.schema import METADATA

_KIND: Final = "kind"
_KEYS: Final = "keys"

PLACE_COLUMNS: Final = frozenset({"log_id", "since", "until", "begins", "position", "line"})
"""The columns that say where a row is kept; the others are what it says."""


def versioned(
    name: str,
    keys: Iterable[Column[Any]],
    values: Iterable[Column[Any]],
    *,
    indexed: tuple[tuple[str, ...], ...] = (),
) -> Table:
    """Declare a table that keeps every version of its rows.

    Each of ``indexed`` is looked up within an arena, besides the key.
    """
    key_columns = list(keys)
    begins = Column("begins", Boolean, nullable=False)
    table = Table(
        name,
        METADATA,
        Column("log_id", Integer, primary_key=True, autoincrement=False),
        *key_columns,
        Column("since", BigInteger, primary_key=True, autoincrement=False),
        Column("until", BigInteger),
        begins,
        *values,
        *(Index(None, "log_id", *own) for own in indexed),
        info={_KIND: "versioned", _KEYS: tuple(column.name for column in key_columns)},
    )
    # SQLite uses it only where a query says the same as its condition, which is `begins = 1` there.
    of_keys = text("begins = 1")
    Index(None, table.c.log_id, table.c.since, sqlite_where=of_keys, postgresql_where=begins)
    return table


def appended(name: str, *columns: Column[Any], indexed: tuple[tuple[str, ...], ...] = ()) -> Table:
    """Declare a table that only grows. Each of ``indexed`` is looked up within an arena."""
    return Table(
        name,
        METADATA,
        Column("log_id", Integer, primary_key=True, autoincrement=False),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("line", Integer, primary_key=True, autoincrement=False),
        *columns,
        *(Index(None, "log_id", *own) for own in indexed),
        info={_KIND: "appended", _KEYS: ()},
        # Rows come in the order of their key: SQLite keeps them in the key's own tree, once.
        sqlite_with_rowid=False,
    )


def kind_of(table: Table) -> Literal["versioned", "appended"]:
    """How a view's table keeps its rows."""
    kind: Literal["versioned", "appended"] = table.info[_KIND]
    return kind


def keys_of(table: Table) -> tuple[str, ...]:
    """The names of a versioned table's key columns, besides the log's."""
    keys: tuple[str, ...] = table.info[_KEYS]
    return keys


def rows_at(table: Table, log_id: int, position: int) -> Select[Any]:
    """The versions that held at a position; of an appended table, all rows up to it."""
    if kind_of(table) == "appended":
        query = select(table).where(table.c.log_id == log_id, table.c.position <= position)
        return query.order_by(table.c.position, table.c.line)
    begun, version = table.alias("begun"), table.alias("version")
    keys = ("log_id", *keys_of(table))
    newest = (
        select(version.c.since)
        .where(*(version.c[name] == begun.c[name] for name in keys), version.c.since <= position)
        .order_by(version.c.since.desc())
        .limit(1)
        .correlate(begun)
        .scalar_subquery()
    )
    # Plus nothing: else SQLite concludes that the table's log is known, too, and begins with its
    # versions, which are many, instead of the keys.
    own_log = table.c.log_id == begun.c.log_id + 0
    own_key = (table.c[name] == begun.c[name] for name in keys_of(table))
    same = and_(own_log, *own_key, table.c.since == newest)
    return (
        select(table)
        .select_from(begun.join(table, same))
        .where(begun.c.log_id == log_id, begun.c.begins, begun.c.since <= position)
        .where(or_(table.c.until.is_(None), table.c.until > position))
        .order_by(*(table.c[name] for name in keys_of(table)))
    )
