"""Whether a database has this program's schema, and bringing it there (Alembic)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import Connection, Engine, column, func, inspect, select, table, text
from sqlalchemy.exc import DatabaseError as SqlDatabaseError

import migrations
from ledger.store.database import DatabaseError, place_of, writing
from ledger.store.schema import METADATA, events, logs

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationInfo

# Alembic itself is imported where something is to be migrated: every command looks at the schema.

SchemaState = Literal["empty", "current", "older"]

_UPGRADE_LOCK: Final = 0x6361_6368_656F_6E
"""PostgreSQL's advisory lock held while migrating: processes that start together take turns."""

UPGRADE_WAIT_S: Final = 600
"""How long a process waits while another one migrates."""

_OF_THE_LOG: Final = frozenset({logs.name, events.name})

_DIRECTORY: Final = Path(migrations.__file__).parent
_VERSION: Final = table("alembic_version", column("version_num"))


def schema_state(engine: Engine) -> SchemaState:
    """How the database's schema stands to this program's.

    Raises :class:`DatabaseError` for a schema this program does not know: one of a newer program,
    or no ledger at all.
    """
    with _reachable(engine) as connection:
        tables = set(inspect(connection).get_table_names())
        versioned = _VERSION.name in tables
        revision = connection.scalar(select(_VERSION.c.version_num)) if versioned else None
    tables.discard(_VERSION.name)
    if revision is None:
        if tables:
            msg = (
                f"the database at {place_of(engine)} holds tables and is no ledger; "
                "name another one in LEDGER_DATABASE_URL"
            )
            raise DatabaseError(msg)
        return "empty"
    if revision == migrations.NEWEST:
        return "current"
    if revision in _known():
        return "older"
    msg = (
        f"the database at {place_of(engine)} has schema '{revision}', which a newer program made; "
        "use that program, or another database"
    )
    raise DatabaseError(msg)


def require_schema(engine: Engine, *, views_may_lack: bool = False) -> None:
    """Make the tables of an empty database; raise :class:`DatabaseError` for an unusable schema.

    That is an older one, and one of which somebody dropped a table: of the log, or of a view unless
    ``views_may_lack``.
    """
    state = schema_state(engine)
    if state == "older":
        msg = (
            f"the database at {place_of(engine)} has an older schema; "
            "bring it up with 'cacheon-ledger db upgrade'"
        )
        raise DatabaseError(msg)
    if state == "empty":
        upgrade(engine)
        return
    with _reachable(engine) as connection:
        wanted = _OF_THE_LOG if views_may_lack else set(METADATA.tables)
        lacking = sorted(wanted - set(inspect(connection).get_table_names()))
    if lacking:
        msg = f"the database at {place_of(engine)} lacks {', '.join(lacking)}; {remedy_of(lacking)}"
        raise DatabaseError(msg)


def missing_parts(engine: Engine) -> list[str]:
    """The tables, and the columns as ``table.column``, that this program has and a database lacks.

    Views count as far as they are imported, which registers their tables.
    """
    found: list[str] = []
    with _reachable(engine) as connection:
        present = inspect(connection)
        tables = set(present.get_table_names())
        for name, table in sorted(METADATA.tables.items()):
            if name not in tables:
                found.append(name)
                continue
            columns = {column["name"] for column in present.get_columns(name)}
            found += [f"{name}.{column.name}" for column in table.c if column.name not in columns]
    return found


def remedy_of(missing: Sequence[str]) -> str:
    """What to do about :func:`missing_parts`: views are made of the log, the log of nothing."""
    if {part.partition(".")[0] for part in missing} & _OF_THE_LOG:
        return "that is the log itself, so restore a backup"
    return "make the views anew with 'cacheon-ledger db rebuild'"


def upgrade(engine: Engine, *, to: str = "head") -> list[str]:
    """Apply every missing migration up to a revision, in one transaction; those it applied.

    Of processes that start together one applies them; the others wait for it, on PostgreSQL up to
    :data:`UPGRADE_WAIT_S`, and find nothing left to do.
    """
    from alembic import command
    from alembic.config import Config

    applied: list[str] = []

    def on_applied(*, step: MigrationInfo, **_: Any) -> None:
        applied.append(str(step.up_revision_id))

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    config.attributes["on_applied"] = on_applied
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{UPGRADE_WAIT_S}s'"))
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            # A migration itself must not hold up everybody behind a lock it cannot get.
            connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
        config.attributes["connection"] = connection
        command.upgrade(config, to)
    return applied


def _known() -> set[str]:
    """Every revision that this program can bring up to the newest."""
    from alembic.script import ScriptDirectory

    return {step.revision for step in ScriptDirectory(str(_DIRECTORY)).walk_revisions()}


def _reachable(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except SqlDatabaseError as error:
        msg = f"the database at {place_of(engine)} cannot be opened: {error.orig}"
        raise DatabaseError(msg) from error
