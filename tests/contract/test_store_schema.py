"""The schema comes from the migrations alone, and the program says how a database stands to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

import migrations
from ledger.projections.all import PROJECTIONS  # registers the views' tables, too
from ledger.projections.rebuilding import rebuild
from ledger.store.database import DatabaseError, open_engine, place_of
from ledger.store.migrate import missing_parts, require_schema, schema_state, upgrade
from ledger.store.schema import METADATA
from tests.contract.stores import STORES, empty_url


@pytest.fixture(params=STORES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(empty_url(request.param, tmp_path))
    yield engine
    engine.dispose()


def at_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_the_migrations_make_exactly_the_program_s_tables(empty: Engine) -> None:
    upgrade(empty)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == set(METADATA.tables) | {"alembic_version"}


def test_the_program_names_the_newest_migration() -> None:
    found = ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads()
    assert found == [migrations.NEWEST]


def test_an_empty_database_gets_its_tables_and_a_current_one_is_left_alone(empty: Engine) -> None:
    assert schema_state(empty) == "empty"
    require_schema(empty)
    assert schema_state(empty) == "current"
    require_schema(empty)
    upgrade(empty)
    assert schema_state(empty) == "current"


def test_the_schema_of_a_newer_program_is_refused(empty: Engine) -> None:
    upgrade(empty)
    at_revision(empty, "9999")
    with pytest.raises(DatabaseError, match=r"schema '9999', which a newer program made"):
        schema_state(empty)


def test_an_older_schema_asks_for_the_upgrade(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(empty)
    monkeypatch.setattr("migrations.NEWEST", "later")
    assert schema_state(empty) == "older"
    with pytest.raises(DatabaseError, match="db upgrade"):
        require_schema(empty)


def test_somebody_else_s_tables_are_left_alone(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (id INTEGER)"))
    with pytest.raises(DatabaseError, match="is no ledger"):
        require_schema(empty)
    assert inspect(empty).get_table_names() == ["recipes"]


def test_a_failed_migration_leaves_an_empty_database(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        msg = "out of space"
        raise OSError(msg)

    with monkeypatch.context() as patched:
        patched.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
        with pytest.raises(OSError, match="out of space"):
            upgrade(empty)
    upgrade(empty)
    assert schema_state(empty) == "current"


def test_a_dropped_view_is_named_and_rebuilt_and_a_dropped_log_is_not(empty: Engine) -> None:
    upgrade(empty)
    assert missing_parts(empty) == []
    for statement in ("DROP TABLE tracking", "ALTER TABLE weights_thrones DROP COLUMN king_hotkey"):
        with empty.begin() as connection:
            connection.execute(text(statement))
    assert missing_parts(empty) == ["tracking", "weights_thrones.king_hotkey"]
    with pytest.raises(DatabaseError, match=r"lacks tracking; .* 'cacheon-ledger db rebuild'"):
        require_schema(empty)
    require_schema(empty, views_may_lack=True)
    rebuild(empty, PROJECTIONS)
    assert missing_parts(empty) == []
    require_schema(empty)
    with empty.begin() as connection:
        connection.execute(text("DROP TABLE events"))
    with pytest.raises(DatabaseError, match=r"lacks events; .* restore a backup"):
        require_schema(empty, views_may_lack=True)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/x", "oracle://localhost/x"])
def test_an_address_of_no_usable_database_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(DatabaseError, match="LEDGER_DATABASE_URL"):
        open_engine(url)


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be opened"):
        schema_state(open_engine(f"sqlite:///{tmp_path}/nowhere/x.db"))
    url = f"postgresql://me:secret@/x?host={tmp_path}"
    with pytest.raises(DatabaseError, match="cannot be opened") as refused:
        schema_state(open_engine(url))
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1_000, encoding="utf-8")
    with pytest.raises(DatabaseError, match="cannot be opened"):
        schema_state(open_engine(f"sqlite:///{path}"))
    assert path.read_text(encoding="utf-8").startswith("dear diary")


def test_no_setting_of_a_database_s_address_is_shown() -> None:
    engine = open_engine("postgresql://me@/x?host=/tmp&password=hunter2&sslpassword=hunter3")
    assert place_of(engine) == "postgresql+psycopg://me@/x"


def test_the_server_s_own_settings_weaken_neither_durability_nor_isolation(tmp_path: Path) -> None:
    url = empty_url("postgresql", tmp_path)
    engine = open_engine(url)
    name = engine.url.database
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for setting in (
            "default_transaction_isolation = 'serializable'",
            "synchronous_commit = off",
        ):
            connection.execute(text(f'ALTER DATABASE "{name}" SET {setting}'))
    engine.dispose()
    engine = open_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    engine.dispose()
