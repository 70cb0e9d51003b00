"""The rights of a role that only runs the program, on PostgreSQL.

Two roles share a ledger. The **owner** made the tables: it migrates them and rebuilds views, which
drops and makes tables. The **application** does everything else and can neither rewrite events nor
drop the trigger that guards them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Engine, text

from ledger.store.database import DatabaseError
from ledger.store.schema import events, logs

_READ: Final = "SELECT"
_APPEND: Final = "SELECT, INSERT"
_KEEP: Final = "SELECT, INSERT, UPDATE"
_ALL_ROWS: Final = "SELECT, INSERT, UPDATE, DELETE"

_BY_TABLE: Final = {"alembic_version": _READ, events.name: _APPEND, logs.name: _KEEP}
"""Every other table holds views or their positions, which the log can give again: all rows."""

_OWNER: Final = text(
    "SELECT tableowner, current_schema(), tableowner = current_user FROM pg_tables "
    "WHERE schemaname = current_schema() AND tablename = 'events'"
)
_TABLES: Final = text(
    "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
    "AND tableowner = current_user ORDER BY tablename"
)
_SEQUENCES: Final = text(
    "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() "
    "AND sequenceowner = current_user ORDER BY sequencename"
)
_ROLE: Final = text(
    "SELECT rolsuper, pg_has_role(rolname, CAST(:owner AS name), 'MEMBER') FROM pg_roles "
    "WHERE rolname = :role"
)


def grant_application(engine: Engine, role: str) -> None:
    """Give ``role`` what the program needs to run, and take from it whatever else it had.

    Tables that the owner makes later (rebuilt views) are granted to it in advance, with all rows;
    run it again after a migration. Raises :class:`DatabaseError` on SQLite, for an unknown role,
    for one that could do more anyway, and unless run as the owner.
    """
    if engine.dialect.name != "postgresql":
        msg = "a SQLite file has no roles; let the file's permissions say who may write to it"
        raise DatabaseError(msg)
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        schema = _require_owner(connection, role)
        to = quote(role)
        connection.execute(text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {to}"))
        for table in connection.execute(_TABLES).scalars().all():
            rights = _BY_TABLE.get(table, _ALL_ROWS)
            connection.execute(text(f"REVOKE ALL ON {quote(table)} FROM {to}"))
            connection.execute(text(f"GRANT {rights} ON {quote(table)} TO {to}"))
        for sequence in connection.execute(_SEQUENCES).scalars().all():
            connection.execute(text(f"GRANT USAGE ON SEQUENCE {quote(sequence)} TO {to}"))
        later = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quote(schema)} GRANT"
        connection.execute(text(f"{later} {_ALL_ROWS} ON TABLES TO {to}"))
        connection.execute(text(f"{later} USAGE ON SEQUENCES TO {to}"))


def _require_owner(connection: Connection, role: str) -> str:
    """The schema of the tables, if this is their owner and ``role`` is somebody else."""
    found = connection.execute(_OWNER).first()
    if found is None:
        msg = "the database has no ledger yet; make it with 'cacheon-ledger db upgrade'"
        raise DatabaseError(msg)
    owner, schema, is_owner = found
    if not is_owner:
        msg = f"only the role that owns the tables can grant them; connect as '{owner}'"
        raise DatabaseError(msg)
    known = connection.execute(_ROLE, {"role": role, "owner": owner}).first()
    if known is None:
        msg = f"there is no role '{role}'; make it with CREATE ROLE ... LOGIN, then grant again"
        raise DatabaseError(msg)
    is_superuser, is_member = known
    if is_superuser or is_member:
        why = "is a superuser" if is_superuser else f"is '{owner}' or a member of it"
        msg = f"role '{role}' {why}, so no grant would bind it; name a role of its own"
        raise DatabaseError(msg)
    return str(schema)
