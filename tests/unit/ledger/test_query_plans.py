"""No read at a block looks through history: every step of its plan is a search in an index.

A plan and not a clock decides: what SQLite calls ``SCAN``, and a search for nothing but the log's
number, cost more with every year.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ledger.keys import arena_id
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.queries.payout_sums import by_period, totals
from ledger.queries.payouts import payouts_page
from ledger.queries.scope import Scope, scope_at
from ledger.queries.weights import vector_view
from ledger.store.logs import all_heads, facts_of, read_page
from tests.contract.stores import quick_engine
from tests.property.season import Season
from tests.property.test_views_of_a_season import FULL
from tests.unit.ledger.scenes import ARENA, Scene


@pytest.fixture
def season(tmp_path: Path) -> Iterator[Season]:
    engine = quick_engine(tmp_path)
    made = Season(Scene(engine))
    for action in FULL:
        made.play(action)
    catch_up(engine, PROJECTIONS)
    yield made
    engine.dispose()


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if sql.lstrip().startswith("SELECT"):
            said.append((sql, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield said
    event.remove(engine, "before_cursor_execute", note)


def steps(engine: Engine, said: list[tuple[str, Any]]) -> list[str]:
    """Every step of every plan; a list that was sent along as JSON is no table."""
    found = []
    with engine.connect() as connection:
        for sql, parameters in said:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            found += [row.detail for row in plan if "json_each" not in row.detail]
    return found


def costly(found: list[str]) -> list[str]:
    # What is listed by the question itself is scanned, and is short.
    listed = ("SCAN starts", "SCAN placed", "SCAN own", "SCAN b ", "SCAN a ")
    found = [step for step in found if not step.startswith(listed)]
    return [
        step
        for step in found
        if step.startswith("SCAN") or "AUTOMATIC" in step or step.endswith("(log_id=?)")
    ]


def middle(season: Season, engine: Engine) -> Scope:
    connection = engine.connect()
    head = all_heads(connection)[0]
    return scope_at(connection, head, (head.effective_block + 11) // 2)


def test_weights_and_payouts_in_mid_history_only_search(season: Season) -> None:
    engine = season.scene.engine
    with statements_of(engine) as said:
        scope = middle(season, engine)
        vector_view(scope)
        for table in [table for projection in PROJECTIONS for table in projection.tables]:
            scope.rows(table)
        address = payouts_page(scope, limit=1).lines[0].hotkey
        payouts_page(scope, address=address, after=(1, 0), limit=5)
        totals(scope, address)
        by_period(scope, address, (11, scope.block))
        scope.connection.close()
    found = steps(engine, [(sql, at) for sql, at in said if "FROM logs" not in sql])
    assert len(said) > 20
    assert costly(found) == []
    assert any("ix_payouts_log_id_account_position" in step for step in found)
    assert any("ix_payouts_end_sums_log_id_account_position" in step for step in found)


def test_loading_an_aggregate_and_reading_the_log_only_search(season: Season) -> None:
    engine = season.scene.engine
    with statements_of(engine) as said:
        recorder = season.scene.ledger.construct_recorder()
        recorder.select_events(arena_id(ARENA))
        recorder.select_notifications(1, 10)
        with engine.connect() as connection:
            list(facts_of(connection, 1))
            read_page(connection, 1, after=2, upto=9, topics=["seen.epoch.v1"])
    found = steps(engine, [(sql, at) for sql, at in said if "FROM logs" not in sql])
    assert len(found) >= 4
    assert costly(found) == []
