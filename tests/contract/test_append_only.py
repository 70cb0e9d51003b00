"""Nobody rewrites a recorded event: by grants on PostgreSQL, and by triggers on every store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from typer.testing import CliRunner

from api.cli.main import app
from api.errors import ExitCode, problem_of
from ledger.application import Ledger, Unit
from ledger.decisions.arena import KingCrowned
from ledger.observations import AlertRaised
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import catch_up
from ledger.queries.reigns import reigns
from ledger.store.conflicts import FactConflictError
from ledger.store.database import DatabaseError, open_engine
from ledger.store.grants import grant_application
from ledger.store.logs import head_of
from ledger.store.migrate import require_schema, upgrade
from ledger.store.schema import events
from tests.contract.stores import STORES, as_superuser, empty_url, migrated_url
from tests.unit.ledger.scenes import ARENA, OPENED_AT, OTHER_ARENA, Scene, policy

REWRITES = (
    "UPDATE events SET topic = 'x'",
    "UPDATE events SET position = position WHERE false",
    "DELETE FROM events",
    "TRUNCATE events",
)


@dataclass(frozen=True)
class Roles:
    """One database on PostgreSQL, opened as the role that owns it and as one that does not."""

    owner: Engine
    application: Engine
    superuser: Engine

    @property
    def application_role(self) -> str:
        """Its name."""
        return str(self.application.url.username)


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    url = make_url(empty_url("postgresql", tmp_path))
    name = uuid.uuid4().hex[:8]
    owner, application = f"owner_{name}", f"application_{name}"
    as_superuser(
        f"CREATE ROLE {owner} LOGIN",
        f"CREATE ROLE {application} LOGIN",
        f'ALTER DATABASE "{url.database}" OWNER TO {owner}',
    )
    made = Roles(
        *(
            open_engine(url.set(username=username).render_as_string(hide_password=False))
            for username in (owner, application, url.username)
        )
    )
    upgrade(made.owner)
    grant_application(made.owner, application)
    yield made
    for engine in (made.owner, made.application, made.superuser):
        engine.dispose()


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("who", ["owner", "application"])
@pytest.mark.parametrize("rewrite", REWRITES)
def test_grants_refuse_it_before_any_trigger_is_asked(roles: Roles, who: str, rewrite: str) -> None:
    Scene(roles.application)
    engine = getattr(roles, who)
    # Without the trigger it is the grants alone that refuse.
    for trigger in ("ENABLE", "DISABLE"):
        run(roles.owner, f"ALTER TABLE events {trigger} TRIGGER events_are_append_only")
        with pytest.raises(ProgrammingError, match="permission denied for table events"):
            run(engine, rewrite)


@pytest.mark.parametrize("rewrite", REWRITES)
def test_the_trigger_refuses_whom_no_grant_binds(roles: Roles, rewrite: str) -> None:
    Scene(roles.application)
    run(roles.owner, "GRANT UPDATE, DELETE, TRUNCATE ON events TO CURRENT_USER")
    for engine in (roles.superuser, roles.owner):
        with pytest.raises(DBAPIError, match="append-only"):
            run(engine, rewrite)


def test_the_application_runs_a_season(roles: Roles) -> None:
    require_schema(roles.application)
    scene = Scene(roles.application)
    first, second = scene.submit("A"), scene.submit("B")
    scene.register((5, "A", None), (6, "B", None))
    scene.contest({first: 500, second: 700})
    assert [fact.hotkey for fact in scene.facts(KingCrowned)] == ["A"]
    assert [reign["hotkey"] for reign in scene.read(reigns)] == ["A"]
    rebuild(roles.owner, PROJECTIONS)
    # The owner made the views anew; they are the application's to keep all the same.
    third = scene.submit("C")
    scene.contest({first: 500, second: 700, third: 100}, third)
    catch_up(roles.application, PROJECTIONS)
    assert [reign["hotkey"] for reign in scene.read(reigns)] == ["A", "C"]


def test_a_refused_opening_leaves_no_log_to_either_role(roles: Roles) -> None:
    scene = Scene(roles.application)
    scene.ledger.decide(lambda unit: _alert(unit, "first"))

    def contradict(unit: Unit) -> None:
        unit.arena.open(unit.context, "elsewhere", policy(), "test", at_block=OPENED_AT)
        _alert(unit, "second")

    for engine in (roles.application, roles.owner):
        with pytest.raises(FactConflictError):
            Ledger(engine, OTHER_ARENA).decide(contradict, opening_at=OPENED_AT)
        with engine.connect() as connection:
            assert head_of(connection, OTHER_ARENA) is None
            assert head_of(connection, ARENA) is not None


def _alert(unit: Unit, detail: str) -> None:
    unit.observe(AlertRaised, "alert:shared", kind="x", detail=detail, block=OPENED_AT)


@pytest.mark.parametrize(
    "beyond",
    [
        "ALTER TABLE events DISABLE TRIGGER events_are_append_only",
        "DROP TRIGGER events_are_append_only ON events",
        "DROP TABLE events",
        "DROP FUNCTION refuse_to_rewrite_events() CASCADE",
        "DELETE FROM logs",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TABLE mine (id INTEGER)",
    ],
)
def test_the_application_cannot_take_the_guard_away(roles: Roles, beyond: str) -> None:
    Scene(roles.application)
    with pytest.raises(ProgrammingError) as refused:
        run(roles.application, beyond)
    problem = problem_of(refused.value)
    assert problem.exit_code is ExitCode.DATABASE_FAILED
    assert "db grant" in problem.message


def test_rebuilding_needs_the_owner_and_says_so(roles: Roles) -> None:
    scene = Scene(roles.application)
    with pytest.raises(ProgrammingError) as refused:
        rebuild(roles.application, PROJECTIONS)
    assert "as the role that owns the tables" in problem_of(refused.value).message
    assert scene.read(reigns) == []


def test_a_role_that_no_grant_would_bind_is_refused(roles: Roles) -> None:
    superuser = str(roles.superuser.url.username)
    member = f"member_{uuid.uuid4().hex[:8]}"
    owner = str(roles.owner.url.username)
    as_superuser(f"CREATE ROLE {member} IN ROLE {owner}")
    for role, why in (
        ("nobody_there", "there is no role 'nobody_there'"),
        (superuser, "is a superuser"),
        (owner, "no grant would bind it"),
        (member, f"is '{owner}' or a member of it"),
    ):
        with pytest.raises(DatabaseError, match=why):
            grant_application(roles.owner, role)
    with pytest.raises(DatabaseError, match=f"connect as '{owner}'"):
        grant_application(roles.application, roles.application_role)
    with pytest.raises(DatabaseError, match=f"connect as '{owner}'"):
        grant_application(roles.superuser, roles.application_role)


def test_granting_again_takes_back_what_was_too_much(roles: Roles) -> None:
    role = roles.application_role
    run(roles.owner, f"GRANT ALL ON logs, alembic_version, events TO {role}")
    grant_application(roles.owner, role)
    Scene(roles.application)
    for statement in ("DELETE FROM logs", "DELETE FROM alembic_version", "DELETE FROM events"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            run(roles.application, statement)


def test_a_role_s_name_is_quoted(roles: Roles) -> None:
    name = f'A "role"; DROP TABLE events; -- {uuid.uuid4().hex[:8]}'
    quoted = name.replace('"', '""')
    as_superuser(f'CREATE ROLE "{quoted}"')
    grant_application(roles.owner, name)
    Scene(roles.application)


def test_the_command_grants_and_says_what_it_did(
    roles: Roles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # no settings of whoever runs the tests
    role = f"granted_{uuid.uuid4().hex[:8]}"
    as_superuser(f"CREATE ROLE {role} LOGIN")
    owner = roles.owner.url.render_as_string(hide_password=False)
    granted = CliRunner().invoke(app, ["db", "grant", role, "--database", owner])
    assert (granted.exit_code, granted.stderr) == (0, ""), granted.output
    assert granted.stdout.startswith(f"role '{role}' can run the program")
    url = roles.owner.url.set(username=role).render_as_string(hide_password=False)
    Scene(open_engine(url))
    for words in (("db", "rebuild"), ("db", "grant", role)):
        refused = CliRunner().invoke(app, [*words, "--database", url])
        assert refused.exit_code in {ExitCode.DATABASE_FAILED, ExitCode.DATABASE_UNUSABLE}
        assert "owns the tables" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert CliRunner().invoke(app, ["db", "check", "--database", url]).exit_code == 0
    structlog.reset_defaults()  # the command sent logs to its own stderr, which ended with it


def test_a_file_and_memory_have_no_roles(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="has no roles"):
        grant_application(open_engine(migrated_url("sqlite", tmp_path)), "anybody")


# -- SQLite's REPLACE, which deletes without asking the triggers of a careless connection --------


@pytest.mark.parametrize("store", [store for store in STORES if store != "postgresql"])
@pytest.mark.parametrize(
    ("named", "taken"),
    [
        ("position", "1, 1, 'new', 1, 'x', 'new'"),
        ("version", "1, 9, originator_id, originator_version, 'x', 'new'"),
        ("key", "1, 9, 'new', 1, 'x', fact_key"),
    ],
)
def test_replacing_an_event_is_refused_whatever_key_it_takes(
    store: str, named: str, taken: str, tmp_path: Path
) -> None:
    engine = open_engine(migrated_url(store, tmp_path))
    scene = Scene(engine)
    before = scene.log()
    columns = ", ".join(column.name for column in events.c)
    replacing = f"INSERT OR REPLACE INTO events ({columns}) SELECT {taken}, 0, 'x' FROM events"  # noqa: S608
    for rewrite in (replacing, "UPDATE OR REPLACE events SET position = 1"):
        with pytest.raises(DBAPIError, match="append-only"):
            run(engine, rewrite)
    assert scene.log() == before
    engine.dispose()
