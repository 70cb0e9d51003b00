"""Databases for tests: an empty or a migrated one, in memory, on a SQLite file or on PostgreSQL.

PostgreSQL is one server a test session, started when first asked for. Every test gets its own
database, copied from a migrated template. Where no server can start, the tests that need it are
skipped with its reason.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import uuid
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, event, text

from ledger.store.database import memory_url, open_engine
from ledger.store.migrate import upgrade
from tests.contract.postgres import PostgresServer, PostgresUnavailableError, start_server

STORES = ("memory", "sqlite", "postgresql")
"""Where everything the store promises holds."""

SHARED_STORES = ("sqlite", "postgresql")
"""Those that several processes can open, and that survive the one that wrote."""


@cache
def _sqlite_template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="ledger-template-")) / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@cache
def _postgres_server() -> PostgresServer | str:
    """The server of this session, or the reason why there is none.

    It does not wait for the disk, which only a power cut could tell: what kills a server has its
    own (:func:`own_server`).
    """
    try:
        return start_server("fsync=off")
    except PostgresUnavailableError as error:
        return f"PostgreSQL cannot start here: {error}"


def _postgres() -> URL:
    server = _postgres_server()
    if isinstance(server, str):
        pytest.skip(server)
    return server.url


def own_server(*settings: str) -> PostgresServer:
    """A server for one test alone, which may break it; remove it afterwards."""
    try:
        return start_server(*settings)
    except PostgresUnavailableError as error:
        pytest.skip(f"PostgreSQL cannot start here: {error}")


def _create_postgres(template: str) -> URL:
    name = f"ledger_{uuid.uuid4().hex}"
    as_superuser(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return _postgres().set(database=name)


def as_superuser(*statements: str) -> None:
    """Run statements on this session's PostgreSQL, each committed by itself."""
    admin = create_engine(_postgres(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    admin.dispose()


@cache
def _postgres_template() -> str:
    url = _create_postgres("template1")
    engine = open_engine(url.render_as_string(hide_password=False))
    upgrade(engine)
    engine.dispose()
    assert url.database is not None
    return url.database


def empty_url(store: str, folder: Path) -> str:
    """The URL of a database without any table."""
    if store == "postgresql":
        return _create_postgres("template1").render_as_string(hide_password=False)
    if store == "memory":
        return memory_url(uuid.uuid4().hex).render_as_string()
    return f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}"


def migrated_url(store: str, folder: Path) -> str:
    """The URL of a database of its own with this program's schema."""
    if store == "postgresql":
        _postgres()
        return _create_postgres(_postgres_template()).render_as_string(hide_password=False)
    if store == "memory":
        return _migrated_in_memory()
    return f"sqlite:///{sqlite_copy(folder)}"


def sqlite_copy(folder: Path, name: str | None = None) -> Path:
    """A new file with this program's schema, in no time: no migration is run for it."""
    path = folder / (name or f"{uuid.uuid4().hex}.db")
    shutil.copyfile(_sqlite_template(), path)
    return path


@cache
def _memory_template() -> Engine:
    # Not a copy of the template's file: that one is in WAL mode, which memory has not.
    engine = open_engine("sqlite://")
    upgrade(engine)
    return engine


_IN_MEMORY: list[sqlite3.Connection] = []
"""One connection a database in memory, which lasts as long as somebody has it open."""


def _migrated_in_memory() -> str:
    name = uuid.uuid4().hex
    kept = sqlite3.connect(f"file:/{name}?vfs=memdb", uri=True, check_same_thread=False)
    with closing(_memory_template().raw_connection()) as template:
        template.driver_connection.backup(kept)  # type: ignore[union-attr]
    _IN_MEMORY.append(kept)
    return memory_url(name).render_as_string()


def quick_engine(folder: Path) -> Engine:
    """A migrated SQLite database that does not wait for the disk: for tests of what is computed."""
    return careless(open_engine(migrated_url("sqlite", folder)))


def careless(engine: Engine) -> Engine:
    """The same engine, which does not wait for the disk."""

    def no_waiting(dbapi_connection: object, _record: object) -> None:
        dbapi_connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

    event.listen(engine, "connect", no_waiting)
    return engine
