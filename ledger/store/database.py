"""Opening the database: the engine, its transactions, and whether its schema is this program's.

SQLite runs in WAL mode with ``synchronous=FULL``: what was acknowledged survives a power cut. A
write transaction takes SQLite's write lock at its start (``BEGIN IMMEDIATE``), so that it never
fails half-way for having read first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

BUSY_TIMEOUT_S: Final = 30

PREPARED_STATEMENTS: Final = 256
"""Statements that a SQLite connection keeps prepared."""

WRITER_CACHE_KIB: Final = 32_768
"""Pages of the database that SQLite keeps for the writer's connection."""

_WRITE: Final = "ledger_write"
_UNREADABLE_URL: Final = (
    "LEDGER_DATABASE_URL cannot be read: its port must be a number, and each @ of a password must "
    "be percent-encoded as %40"
)


class DatabaseError(Exception):
    """The database cannot be used as it is; the message says what to do."""


def open_engine(url: str) -> Engine:
    """An engine for a SQLAlchemy URL, set up so that acknowledged facts are durable.

    Raises :class:`DatabaseError` for one that names no database this program can open. No part of
    such a URL is quoted: a password whose ``@`` is not escaped ends up in any of them.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() == "postgresql":
            if "@" in (parsed.host or "") or "@" in (parsed.database or ""):
                raise DatabaseError(_UNREADABLE_URL)
            return create_engine(parsed, pool_pre_ping=True)
    except ValueError:  # a port that is no number; the error quotes it, so it is not kept as cause
        raise DatabaseError(_UNREADABLE_URL) from None
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        msg = f"LEDGER_DATABASE_URL is no database this program can open: {error}"
        raise DatabaseError(msg) from error
    msg = f"LEDGER_DATABASE_URL names a {parsed.get_backend_name()}; use sqlite or postgresql"
    raise DatabaseError(msg)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed at the end, rolled back on any exception."""
    with engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
        yield connection


def connect_for_writing(engine: Engine) -> Connection:
    """A connection that stays open and whose transactions, one after the other, are write ones."""
    connection = engine.connect().execution_options(**{_WRITE: True})
    if engine.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        # An INSERT of many rows keeps a journal of its own, to undo it where one row is refused:
        # in memory it costs little, in a file more than the rows.
        driver.execute("PRAGMA temp_store=MEMORY")
        # Keys are spread over their whole index: what does not fit is read again for every batch.
        driver.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
    return connection


def _sqlite(url: URL) -> Engine:
    settings = {"timeout": BUSY_TIMEOUT_S, "cached_statements": PREPARED_STATEMENTS}
    engine = create_engine(url, connect_args=settings)

    def on_connect(dbapi_connection: Any, _record: object) -> None:
        # The driver must not begin transactions on its own: `on_begin` says which kind.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
