"""Whatever season is played: views are folds of a prefix of the log, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine, Table, insert, select, text

from ledger.projections import runner
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import rebuild
from ledger.projections.rows import Rows
from ledger.projections.runner import catch_up
from ledger.queries.contests import contests
from ledger.queries.emissions import epochs, ramp_now
from ledger.queries.payout_sums import PayoutPeriod, by_period
from ledger.queries.payouts import all_payouts
from ledger.queries.reigns import reigns
from ledger.queries.rentals import invoice_lines, rentals
from ledger.queries.scope import Scope, scope_at
from ledger.queries.submissions import queue, submissions
from ledger.queries.subnet import alerts, burns, held_digests, locks, pools, prices
from ledger.queries.treasury import (
    Asked,
    account_balances,
    buybacks,
    journal,
    payments,
    reconciliation,
    treasury_lines,
)
from ledger.queries.weights import sent_vectors, vector_view
from ledger.store.database import open_engine
from ledger.store.logs import all_heads
from ledger.store.schema import events, logs
from tests.contract.stores import STORES, migrated_url, quick_engine
from tests.property.season import Action, Season, actions
from tests.unit.ledger.scenes import TRACK, Scene


def all_by_period(scope: Scope) -> list[list[PayoutPeriod]]:
    """Every hotkey's statement by period."""
    hotkeys = sorted({line.hotkey for line in all_payouts(scope)})
    return [by_period(scope, hotkey) for hotkey in hotkeys]


QUESTIONS: tuple[Callable[..., Any], ...] = (
    *(vector_view, sent_vectors, submissions, contests, reigns, ramp_now, epochs, all_payouts),
    all_by_period,
    *(treasury_lines, account_balances, payments, buybacks, rentals, invoice_lines),
    lambda scope: journal(scope, Asked(), limit=1_000),
    reconciliation,
    *(alerts, burns, held_digests, locks, pools, prices),
)

FULL: list[Action] = [
    *[("register", 0, 0), ("register", 1, 1), ("submit", 0, 0), ("submit", 1, 1)],
    *[("contest", 0, 0), ("weights", 1, 0), ("epoch", 1, 1), ("period", 3, 4)],
    *[("submit", 2, 2), ("defer", 3, 3), ("contest", 0, 2), ("copy", 0, 2), ("outflow", 1, 2)],
    *[("gap", 2, 1)],
    *[("buyback", 2, 0), ("buyback", 1, 0), ("rental", 3, 3), ("convert", 2, 2)],
    *[("pause", 0, 0), ("resume", 0, 0), ("pause", 1, 0), ("weights", 2, 0), ("epoch", 2, 2)],
    *[("register", 2, 0), ("recommit", 0, 0), ("submit", 0, 5), ("contest", 3, 7), ("void", 0, 0)],
    *[("seal", 0, 3), ("owner", 0, 0), ("policy", 1, 1), ("period", 5, 6), ("epoch", 1, 0)],
    *[("lock", 1, 5), ("lock", 1, 0), ("lock", 2, 2), ("leave", 0, 1), ("register", 3, 1)],
    *[("fill", 0, 2), ("fill", 1, 3)],
]
"""A season with every action in it."""

quick = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def played(drawn: list[Action]) -> Iterator[Season]:
    with tempfile.TemporaryDirectory() as folder:
        engine = quick_engine(Path(folder))
        season = Season(Scene(engine))
        for action in drawn:
            season.play(action)
        yield season
        engine.dispose()


def tables() -> list[Table]:
    return [table for projection in PROJECTIONS for table in projection.tables]


def rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in tables()
        }


def answers(engine: Engine, at: int | None = None) -> list[Any]:
    catch_up(engine, PROJECTIONS)
    with engine.connect() as connection:
        scope = scope_at(connection, all_heads(connection)[0], at)
        return [question(scope) for question in QUESTIONS] + [queue(scope, TRACK)]


def prefix_of(engine: Engine, block: int, folder: Path) -> Engine:
    """A fresh database that holds only what was recorded up to a block."""
    copy = quick_engine(folder)
    with engine.connect() as source, copy.begin() as target:
        (head,) = source.execute(select(logs)).mappings()
        kept = [
            dict(row)
            for row in source.execute(
                select(events).where(events.c.effective_block <= block).order_by(events.c.position)
            ).mappings()
        ]
        short = {"position": kept[-1]["position"], "effective_block": kept[-1]["effective_block"]}
        target.execute(insert(logs).values(**{**head, **short}))
        target.execute(insert(events), kept)
    return copy


def test_the_full_season_reaches_every_table() -> None:
    with played(FULL) as season:
        catch_up(season.scene.engine, PROJECTIONS)
        assert [name for name, found in rows(season.scene.engine).items() if not found] == []


@quick
@given(actions())
def test_rebuilt_views_equal_incremental_ones_row_by_row(drawn: list[Action]) -> None:
    with played([]) as season:
        engine = season.scene.engine
        catch_up(engine, PROJECTIONS)
        for action in drawn:
            season.play(action)
            catch_up(engine, PROJECTIONS)
        incremental = rows(engine)
        rebuild(engine, PROJECTIONS)
        assert rows(engine) == incremental


@pytest.mark.parametrize("page", [1, 2, 7, 500])
def test_pages_of_any_size_give_the_same_rows(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with played(FULL) as season:
        catch_up(season.scene.engine, PROJECTIONS)
        expected = rows(season.scene.engine)
        monkeypatch.setattr(runner, "PAGE", page)
        rebuild(season.scene.engine, PROJECTIONS)
        assert rows(season.scene.engine) == expected


def test_a_runner_killed_inside_any_page_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with played(FULL) as season:
        engine = season.scene.engine
        catch_up(engine, PROJECTIONS)
        expected = rows(engine)
        monkeypatch.setattr(runner, "PAGE", 40)
        write, calls = Rows.write, []

        def dying(self: Rows) -> None:
            write(self)
            calls.append(1)
            if len(calls) % 2:
                msg = "killed before the commit"
                raise KeyboardInterrupt(msg)

        with engine.begin() as connection:
            connection.execute(text("DELETE FROM tracking"))
            for table in tables():
                connection.execute(table.delete())
        monkeypatch.setattr(Rows, "write", dying)
        for _ in range(1_000):
            try:
                catch_up(engine, PROJECTIONS)
                break
            except KeyboardInterrupt:
                continue
        assert len(calls) > 2 * len(PROJECTIONS)
        assert rows(engine) == expected


@quick
@given(actions(min_size=4))
def test_a_read_at_a_block_equals_a_database_that_never_saw_more(drawn: list[Action]) -> None:
    with played(drawn) as season, tempfile.TemporaryDirectory() as folder:
        engine, head = season.scene.engine, season.scene.head
        recorded = {logged.fact.effective_block for logged in season.scene.log()}
        for asked in {11, (11 + head) // 2, head}:
            block = max(block for block in recorded if block <= asked)  # no block of a gap
            copy = prefix_of(engine, block, Path(folder))
            assert answers(engine, block) == answers(copy)
            copy.dispose()


@quick
@given(actions(max_size=15), actions(max_size=10))
def test_what_was_read_at_a_block_is_never_changed_by_later_facts(
    before: list[Action], after: list[Action]
) -> None:
    with played(before) as season:
        head = season.scene.head
        read = answers(season.scene.engine, head)
        season.scene.block()
        for action in after:
            season.play(action)
        assert answers(season.scene.engine, head) == read


@pytest.mark.parametrize("store", STORES)
def test_both_databases_give_the_same_answers(store: str, tmp_path: Path) -> None:
    with played(FULL) as season:
        engine = open_engine(migrated_url(store, tmp_path))
        other = Season(Scene(engine))
        for action in FULL:
            other.play(action)
        assert answers(engine) == answers(season.scene.engine)
        assert rows(engine) == rows(season.scene.engine)
        rebuild(engine, PROJECTIONS)
        assert answers(engine) == answers(season.scene.engine)
        engine.dispose()
