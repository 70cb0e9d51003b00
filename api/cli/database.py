"""`db`: the database's schema, its views, and who may do what with it."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from api.cli.options import Database
from api.cli.session import opened, settings_of

_REMEDY: Final = {
    "current": "it is this program's",
    "empty": "it has no tables yet; make them with 'cacheon-ledger db upgrade'",
    "older": "an older program made it; bring it up with 'cacheon-ledger db upgrade'",
}


def register(app: typer.Typer) -> None:
    """Add `db upgrade`, `db rebuild`, `db follow`, `db check` and `db grant` to ``app``."""
    commands = typer.Typer(no_args_is_help=True, help="The database: its schema and its views.")
    commands.command("upgrade")(upgrade)
    commands.command("rebuild")(rebuild)
    commands.command("follow")(follow)
    commands.command("check")(check)
    commands.command("grant")(grant)
    app.add_typer(commands, name="db")


def upgrade(database: Database = None) -> None:
    """Make the tables, or bring an older schema up to this program's."""
    from ledger.store.database import open_engine
    from ledger.store.migrate import schema_state, upgrade

    engine = open_engine(settings_of(database).database_url)
    try:
        before = schema_state(engine)
        upgrade(engine)
    finally:
        engine.dispose()
    done = "was current already" if before == "current" else f"was {before} and is current now"
    sys.stdout.write(f"the schema {done}\n")


def rebuild(database: Database = None) -> None:
    """Replay the log into new views, and put them in the place of the old ones.

    Reads go on meanwhile; the log itself is not touched.
    """
    from ledger.projections.all import PROJECTIONS
    from ledger.projections.rebuilding import rebuild

    # This is the remedy where a view's table is missing, so it must not ask for it.
    with opened(settings_of(database), views_may_lack=True) as services:
        facts = sum(head.position for head in services.arenas())
        rebuild(services.engine, PROJECTIONS, on_page=_say_page)
    sys.stdout.write(f"{len(PROJECTIONS)} views rebuilt from {facts} facts\n")


def follow(database: Database = None) -> None:
    """Keep every view at the head of the log until interrupted, so that no reader has to.

    Any number of these may run at once, and be stopped at any moment.
    """
    import threading

    from ledger.projections.all import PROJECTIONS
    from ledger.projections.runner import follow

    with opened(settings_of(database)) as services:
        follow(services.engine, PROJECTIONS, threading.Event(), on_page=_say_page)


def check(database: Database = None) -> None:
    """Say how the database's schema stands to this program's (exit code 9 unless current).

    Of a current schema every table and column is looked for.
    """
    import ledger.projections.all  # noqa: F401  registers the views' tables
    from api.app import require_file
    from api.errors import ExitCode
    from ledger.store.database import open_engine
    from ledger.store.migrate import missing_parts, remedy_of, schema_state

    engine = open_engine(settings_of(database).database_url)
    try:
        require_file(engine)
        state = schema_state(engine)
        missing = missing_parts(engine) if state == "current" else []
    finally:
        engine.dispose()
    if missing:
        sys.stdout.write(f"incomplete: {', '.join(missing)} missing; {remedy_of(missing)}\n")
    else:
        sys.stdout.write(f"{state}: {_REMEDY[state]}\n")
    if missing or state != "current":
        raise typer.Exit(ExitCode.DATABASE_UNUSABLE)


def grant(
    role: Annotated[str, typer.Argument(help="A PostgreSQL role that owns nothing here.")],
    database: Database = None,
) -> None:
    """Let a PostgreSQL role run the program, and neither change nor delete an event.

    Connect as the role that owns the tables. `db upgrade`, `db rebuild` and `db grant` need that
    one ever after; for all else connect as ROLE.
    """
    from ledger.store.database import open_engine
    from ledger.store.grants import grant_application
    from ledger.store.migrate import require_schema

    engine = open_engine(settings_of(database).database_url)
    try:
        if engine.dialect.name == "postgresql":
            require_schema(engine, views_may_lack=True)
        grant_application(engine, role)
    finally:
        engine.dispose()
    sys.stdout.write(f"role '{role}' can run the program; it cannot rewrite or delete events\n")


def _say_page(view: str, position: int, head: int) -> None:
    sys.stderr.write(f"{view}: {position} of {head} facts\n")
    sys.stderr.flush()
