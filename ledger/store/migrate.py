"""Whether a database has this program's schema, and bringing it there (Alembic)."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, inspect, select
from sqlalchemy.exc import DatabaseError as SqlDatabaseError

import migrations
from ledger.store.database import DatabaseError, writing

SchemaState = Literal["empty", "current", "older"]

_UPGRADE_LOCK: Final = 0x6361_6368_656F_6E
"""PostgreSQL's advisory lock held while migrating: processes that start together take turns."""

_DIRECTORY: Final = Path(migrations.__file__).parent


def schema_state(engine: Engine) -> SchemaState:
    """How the database's schema stands to this program's.

    Raises :class:`DatabaseError` for a schema this program does not know: one of a newer program,
    or no ledger at all.
    """
    with _reachable(engine) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
        tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    script = ScriptDirectory(str(_DIRECTORY))
    if revision is None:
        if tables:
            msg = (
                f"the database at {_place(engine)} holds tables and is no ledger; "
                "name another one in LEDGER_DATABASE_URL"
            )
            raise DatabaseError(msg)
        return "empty"
    if revision == script.get_current_head():
        return "current"
    if revision in {step.revision for step in script.walk_revisions()}:
        return "older"
    msg = (
        f"the database at {_place(engine)} has schema '{revision}', which a newer program made; "
        "use that program, or another database"
    )
    raise DatabaseError(msg)


def require_schema(engine: Engine) -> None:
    """Make the tables of an empty database; raise :class:`DatabaseError` for an older schema."""
    state = schema_state(engine)
    if state == "older":
        msg = (
            f"the database at {_place(engine)} has an older schema; "
            "bring it up with 'cacheon-ledger db upgrade'"
        )
        raise DatabaseError(msg)
    if state == "empty":
        upgrade(engine)


def upgrade(engine: Engine) -> None:
    """Apply every missing migration in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _reachable(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except SqlDatabaseError as error:
        msg = f"the database at {_place(engine)} cannot be opened: {error.orig}"
        raise DatabaseError(msg) from error


def _place(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
