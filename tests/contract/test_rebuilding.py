"""Views are made anew beside the live ones: reads go on, and nothing half-made is ever read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from ledger.application import Ledger
from ledger.projections import rebuilding, runner
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import NEXT, rebuild
from ledger.projections.rows import Rows
from ledger.projections.runner import catch_up
from ledger.queries.payouts import all_payouts
from ledger.queries.scope import scope_at
from ledger.queries.submissions import submissions
from ledger.queries.weights import vector_view
from ledger.store.database import DatabaseError, open_engine
from ledger.store.logs import all_heads
from ledger.store.schema import METADATA, tracking
from tests.contract.at_once import failures_of
from tests.contract.stores import SHARED_STORES, STORES, migrated_url
from tests.property.season import Season
from tests.property.test_views_of_a_season import FULL, answers, rows
from tests.unit.ledger.scenes import ARENA, Scene


def opened(store: str, folder: Path) -> Engine:
    engine = open_engine(migrated_url(store, folder))
    season = Season(Scene(engine))
    for action in FULL:
        season.play(action)
    catch_up(engine, PROJECTIONS)
    return engine


@pytest.fixture(params=STORES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = opened(request.param, tmp_path)
    yield made
    made.dispose()


@pytest.fixture(params=SHARED_STORES)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = opened(request.param, tmp_path)
    yield made
    made.dispose()


def leftovers(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        kept = list(connection.execute(select(tracking.c.projection)).scalars())
    names = [*inspect(engine).get_table_names(), *kept]
    return [name for name in names if name.endswith(NEXT)]


def test_a_rebuilt_view_has_the_rows_indexes_and_names_of_a_migrated_one(engine: Engine) -> None:
    before = rows(engine)
    for _ in range(2):
        rebuild(engine, PROJECTIONS)
        assert rows(engine) == before
        assert leftovers(engine) == []
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, METADATA) == []
            if engine.dialect.name == "postgresql":
                keys = {
                    inspect(connection).get_pk_constraint(table.name)["name"]
                    for projection in PROJECTIONS
                    for table in projection.tables
                }
                assert not any(str(name).endswith(NEXT) for name in keys)


def test_reads_go_on_while_views_are_made_anew(
    shared: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader asks between any two pages and, at the end, from a read begun before the change."""
    monkeypatch.setattr(runner, "PAGE", 25)
    with shared.connect() as connection:
        scope = scope_at(connection, all_heads(connection)[0], None)
        expected = (vector_view(scope), submissions(scope), all_payouts(scope))
    asked: list[int] = []

    def read(_view: str, position: int, _head: int) -> None:
        with shared.connect() as connection:
            scope = scope_at(connection, all_heads(connection)[0], None)
            scope.needs(PROJECTIONS)
            assert (vector_view(scope), submissions(scope), all_payouts(scope)) == expected
        asked.append(position)

    rebuild(shared, PROJECTIONS, on_page=read)
    assert len(asked) > 3 * len(PROJECTIONS)
    read("", 0, 0)


def test_facts_recorded_meanwhile_are_in_the_new_view(shared: Engine) -> None:
    season = Season(Scene(shared))
    before = Ledger(shared, ARENA).head().position
    recorded: list[int] = []

    def record(_view: str, _position: int, _head: int) -> None:
        if not recorded:
            season.scene.block()
            season.play(("submit", 3, 3))
            recorded.append(Ledger(shared, ARENA).head().position)

    rebuild(shared, PROJECTIONS, on_page=record)
    assert recorded[0] > before
    with shared.connect() as connection:
        scope_at(connection, all_heads(connection)[0], None).needs(PROJECTIONS)
    incremental = answers(shared)
    rebuild(shared, PROJECTIONS)
    assert answers(shared) == incremental


def test_a_rebuild_that_died_leaves_the_live_views_and_the_next_one_begins_anew(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(engine)
    monkeypatch.setattr(runner, "PAGE", 25)
    write, calls = Rows.write, []

    def dying(self: Rows) -> None:
        write(self)
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Rows, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            rebuild(engine, PROJECTIONS)
    assert leftovers(engine) != []
    assert rows(engine) == before
    with engine.begin() as connection:  # what an older program may have left in them
        connection.execute(text(f"DELETE FROM submissions{NEXT}"))  # noqa: S608
    rebuild(engine, PROJECTIONS)
    assert rows(engine) == before
    assert leftovers(engine) == []


def test_rebuilds_at_once_put_one_whole_view_in_place(
    shared: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(shared)
    monkeypatch.setattr(runner, "PAGE", 10)
    assert failures_of(lambda: rebuild(shared, PROJECTIONS)) == []
    assert rows(shared) == before
    rebuild(shared, PROJECTIONS)
    assert rows(shared) == before
    assert leftovers(shared) == []


def test_a_reader_without_end_is_never_sent_away_and_the_rebuild_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the old tables cannot go while somebody reads them; SQLite keeps both."""
    engine = opened("postgresql", tmp_path)
    before = rows(engine)
    monkeypatch.setattr(rebuilding, "PLACING_TRIES", 2)
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM submissions"))
        with pytest.raises(DatabaseError, match="'submissions' could not be put in place"):
            rebuild(engine, PROJECTIONS)
        reader.execute(text("SELECT count(*) FROM payouts"))
    assert rows(engine) == before
    rebuild(engine, PROJECTIONS)
    assert rows(engine) == before
    assert leftovers(engine) == []
    engine.dispose()


def test_a_running_runner_forgets_what_it_kept_of_a_view_that_was_made_anew(shared: Engine) -> None:
    season = Season(Scene(shared))
    spoil = "UPDATE weights_switches SET reason = 'spoiled' WHERE until IS NULL"
    with shared.begin() as connection:
        assert connection.execute(text(spoil)).rowcount > 0
    running = runner.Runner(shared, PROJECTIONS)
    season.scene.block()
    season.play(("pause", 0, 0))
    running.catch_up()  # it has read and kept what was spoiled
    rebuild(shared, PROJECTIONS)
    season.scene.block()
    season.play(("resume", 0, 0))
    season.play(("pause", 1, 0))
    running.catch_up()
    incremental = rows(shared)
    rebuild(shared, PROJECTIONS)
    assert rows(shared) == incremental


def test_a_rebuild_that_begins_while_another_one_puts_views_in_place_ends_well(
    shared: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(shared)
    swap, begun = rebuilding._swap, []

    def interfered(*args: Any) -> bool:
        if len(begun) < 3:
            begun.append(1)
            if len(begun) == 2:  # some views are in place, others are not
                return False
        return swap(*args)

    def place(engine: Engine, projection: Any) -> None:
        if not begun:
            rebuilding._begin(engine, PROJECTIONS)  # what the other one does first
        real(engine, projection)

    real = rebuilding._place
    monkeypatch.setattr(rebuilding, "_swap", interfered)
    monkeypatch.setattr(rebuilding, "_place", place)
    monkeypatch.setattr(rebuilding, "PAGE", 0)
    rebuild(shared, PROJECTIONS)
    assert len(begun) == 3
    assert rows(shared) == before
    assert leftovers(shared) == []
