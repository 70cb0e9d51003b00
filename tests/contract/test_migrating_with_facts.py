"""A database that an older program left, with facts and views in it, brought to this one's schema.

``season_0004.json`` is all that the program of schema 0004 had in its database after the season of
``tests/property/test_views_of_a_season.py`` as it was then, with its views caught up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, LargeBinary, MetaData, insert

from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine
from ledger.store.logs import all_heads, facts_of
from ledger.store.migrate import schema_state, upgrade
from tests.contract.stores import SHARED_STORES, empty_url
from tests.property.season import Season
from tests.property.test_views_of_a_season import FULL, answers, rows
from tests.unit.ledger.scenes import ARENA, Scene

OLD: Final = "0004_snapshots"
LEFT: Final = Path(__file__).parent.parent / "golden" / "season_0004.json"
NO_VIEWS: Final = frozenset({"events", "logs", "tracking"})
RENAMED = {"payouts_addresses": "payouts_accounts"}
"""What a view's table is called today."""


@pytest.fixture(params=SHARED_STORES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(empty_url(request.param, tmp_path))
    upgrade(engine, to=OLD)
    put(engine, left())
    yield engine
    engine.dispose()


def left() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LEFT.read_text("utf-8"))
    return found


def put(engine: Engine, content: dict[str, Any]) -> None:
    """Write the tables' rows as they were; a fact's bytes stand as the text that they are."""
    there = MetaData()
    there.reflect(engine)
    with engine.begin() as connection:
        for name in sorted(content, key=lambda name: name != "logs"):
            table = there.tables[name]
            columns = content[name]["columns"]
            assert columns == [column.name for column in table.columns]
            texts = [isinstance(column.type, LargeBinary) for column in table.columns]
            connection.execute(
                insert(table),
                [
                    {
                        column: value.encode() if is_bytes else value
                        for column, value, is_bytes in zip(columns, row, texts, strict=True)
                    }
                    for row in content[name]["rows"]
                ],
            )


def test_its_views_are_those_of_a_rebuild_row_by_row(old: Engine) -> None:
    assert schema_state(old) == "older"
    upgrade(old)
    assert schema_state(old) == "current"
    catch_up(old, PROJECTIONS)
    migrated, asked = rows(old), answers(old)
    views = {RENAMED.get(name, name) for name in left().keys() - NO_VIEWS}
    assert {name for name in views if not migrated[name]} == set()
    rebuild(old, PROJECTIONS)
    assert rows(old) == migrated
    assert answers(old) == asked


def test_its_facts_are_all_there_and_the_season_goes_on(old: Engine) -> None:
    upgrade(old)
    with old.connect() as connection:
        (head,) = all_heads(connection)
        facts = list(facts_of(connection, head.log_id))
    recorded, key = left()["events"]["rows"], left()["events"]["columns"].index("fact_key")
    assert [logged.fact.fact_key for logged in facts] == [row[key] for row in recorded]
    assert head.arena == ARENA
    catch_up(old, PROJECTIONS)
    ledger = Ledger(old, ARENA)
    before = ledger.head().position
    season = Season(Scene(old, rules=ledger.arena_state().policies[0].policy))
    for action in FULL:
        season.play(action)
    assert ledger.head().position > before
    catch_up(old, PROJECTIONS)
    incremental = rows(old)
    rebuild(old, PROJECTIONS)
    assert rows(old) == incremental
