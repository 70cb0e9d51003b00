"""Opening the database: the engine, its transactions, and whether its schema is this program's.

SQLite runs in WAL mode with ``synchronous=FULL``: what was acknowledged survives a power cut. A
write transaction takes SQLite's write lock at its start (``BEGIN IMMEDIATE``), so that it never
fails half-way for having read first. ``sqlite://`` is a database in memory that all threads of the
process share; it lasts until its engine is disposed of.

Nobody waits for another's lock for ever: after :data:`BUSY_TIMEOUT_S` or :data:`LOCK_TIMEOUT_S` the
statement fails, and so does the transaction with all that was in it.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

BUSY_TIMEOUT_S: Final = 30
"""How long a transaction waits for SQLite's lock, which another process holds."""

LOCK_TIMEOUT_S: Final = 30
"""How long a statement waits for a lock of PostgreSQL. ``options`` in the URL can say otherwise."""

WAL_PAGES: Final = 4_000
"""Pages that SQLite's journal takes before they move to the file: 16 MiB. A page that many batches
touch then moves once."""

CONNECT_TIMEOUT_S: Final = 10
"""How long connecting to PostgreSQL may take. The URL can say otherwise."""

_WAL_PAUSE_S: Final = 0.01

_SHARES_MEMORY: Final = (3, 36, 0)
"""The first SQLite whose ``memdb`` is one database for all connections that name it."""

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
            return _postgresql(parsed)
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


@contextmanager
def writing_if_free(engine: Engine) -> Iterator[Connection]:
    """One write transaction that fails at once, with the driver's error, where it had to wait."""
    waits = f"busy_timeout={BUSY_TIMEOUT_S * 1_000}"
    with _set_otherwise(engine, "busy_timeout=0", waits, "lock_timeout = 1") as connection:
        yield connection


@contextmanager
def folding(engine: Engine) -> Iterator[Connection]:
    """One write transaction on views that does not wait for the disk.

    Views are made of the log: what a power cut takes of them, their position included, is folded
    again. What is acknowledged to callers never goes through here.
    """
    hurried, durable = "synchronous=NORMAL", "synchronous=FULL"
    with _set_otherwise(engine, hurried, durable, "synchronous_commit = off") as connection:
        yield connection


@contextmanager
def _set_otherwise(
    engine: Engine, on_sqlite: str, afterwards: str, on_postgres: str
) -> Iterator[Connection]:
    """One write transaction under a setting of its own, which no other use of a connection sees.

    SQLite's settings are the connection's: it goes back to the pool with what ``afterwards`` says,
    or not at all.
    """
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(**{_WRITE: True}) as connection:
        driver: Any = connection.connection.driver_connection
        try:
            if sqlite:
                driver.execute(f"PRAGMA {on_sqlite}")
            with connection.begin():
                if not sqlite:
                    connection.exec_driver_sql(f"SET LOCAL {on_postgres}")
                yield connection
        finally:
            if sqlite and not connection.invalidated:
                if in_transaction(connection):  # it could be neither committed nor rolled back
                    connection.invalidate()
                else:
                    driver.execute(f"PRAGMA {afterwards}")


def in_transaction(connection: Connection) -> bool:
    """Whether SQLite's driver is still inside a transaction, e.g. after a failed rollback."""
    if connection.closed or connection.invalidated:
        return False
    return bool(getattr(connection.connection.driver_connection, "in_transaction", False))


def place_of(engine: Engine) -> str:
    """Where a database is, for people: without password, and without settings that may hold one."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def connect_for_writing(engine: Engine) -> Connection:
    """A connection that stays open and whose transactions, one after the other, are write ones."""
    connection = engine.connect().execution_options(**{_WRITE: True})
    if engine.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA synchronous=FULL")
        # An INSERT of many rows keeps a journal of its own, to undo it where one row is refused:
        # in memory it costs little, in a file more than the rows.
        driver.execute("PRAGMA temp_store=MEMORY")
        # Keys are spread over their whole index: what does not fit is read again for every batch.
        driver.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
    return connection


def _postgresql(url: URL) -> Engine:
    said = url.query.get("options", ())
    # Times in milliseconds. Durable whatever the server, database or role has set.
    own = f"-c lock_timeout={LOCK_TIMEOUT_S * 1_000} -c synchronous_commit=on"
    # What the URL says comes last, and so it holds.
    options = " ".join((own, said) if isinstance(said, str) else (own, *said))
    patience = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": LOCK_TIMEOUT_S * 1_000,
    }
    settings = {name: value for name, value in patience.items() if name not in url.query}
    return create_engine(
        url,
        pool_pre_ping=True,
        # The locked heads keep order: a stricter level would only refuse what they let through.
        isolation_level="READ COMMITTED",
        connect_args={"options": options, **settings},
    )


def _sqlite(url: URL) -> Engine:
    if url.database in {None, "", ":memory:"}:
        if sqlite3.sqlite_version_info < _SHARES_MEMORY:
            msg = (
                f"SQLite {sqlite3.sqlite_version} has no database in memory that threads share; "
                "name a file in LEDGER_DATABASE_URL, or use a newer SQLite"
            )
            raise DatabaseError(msg)
        url = memory_url(f"ledger-{uuid.uuid4().hex}")
    # Python 3.11 looks in three places for who adapts a None, which takes longer than all else that
    # a value of a row needs; so somebody does.
    sqlite3.register_adapter(type(None), _as_it_is)
    in_memory = url.query.get("vfs") == "memdb"
    settings = {"timeout": BUSY_TIMEOUT_S, "cached_statements": PREPARED_STATEMENTS}
    engine = create_engine(url, connect_args=settings)

    def on_connect(dbapi_connection: Any, _record: object) -> None:
        # The driver must not begin transactions on its own: `on_begin` says which kind.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        if not in_memory:  # where readers and writers take turns, and nothing is durable
            _use_wal(cursor)
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # What is deleted is made of the log, which keeps everything. Where SQLite is built to write
        # zeros over it, a view's old tables are written once more as a whole to be dropped.
        cursor.execute("PRAGMA secure_delete=OFF")
        cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        # Without it, INSERT OR REPLACE deletes a recorded event past the trigger that refuses it.
        cursor.execute("PRAGMA recursive_triggers=ON")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    if in_memory:
        _keep_in_memory(engine)
    return engine


def _as_it_is(value: None) -> None:
    """What SQLite's driver binds for None."""
    return value


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Turn the write-ahead log on, which a file keeps.

    Of processes that do so at once on a new file, SQLite refuses all but one without waiting.
    """
    for left in reversed(range(int(BUSY_TIMEOUT_S / _WAL_PAUSE_S) + 1)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not left or not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            time.sleep(_WAL_PAUSE_S)
        else:
            return


def memory_url(name: str) -> URL:
    """The URL of the database in memory of that name, which engines of one process share."""
    return make_url(f"sqlite:///file:/{name}?vfs=memdb&uri=true")


def _keep_in_memory(engine: Engine) -> None:
    """Hold the database in memory, which lasts as long as anybody has it open."""
    place = f"{engine.url.database}?vfs=memdb"
    kept = sqlite3.connect(place, uri=True, check_same_thread=False)
    event.listen(engine, "engine_disposed", lambda _engine: kept.close())
