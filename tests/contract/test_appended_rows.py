"""Rows that a fold adds: each is written once, in its place, by whichever way it is added."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ledger.projections.journal import postings
from ledger.projections.rows import Rows
from ledger.store.database import folding, open_engine, writing
from ledger.store.many_rows import COPY_FROM_ROWS, ROWS_PER_STEP, Insertion, insert_rows
from tests.contract.stores import migrated_url

SOME = [1, COPY_FROM_ROWS - 1, ROWS_PER_STEP - 1, ROWS_PER_STEP, 2 * ROWS_PER_STEP + 1]


def posting(number: int) -> tuple[Any, ...]:
    """A posting's own values; every other one has no reference."""
    return (7, f"assets:{number}", "TAO", number - 5, None if number % 2 else f"0x{number}")


def write(engine: Engine, own_values: Iterable[tuple[Any, ...]]) -> None:
    with folding(engine) as connection:
        rows = Rows(connection, 1)
        rows.extend(postings, 1, own_values)
        rows.write()


def stored(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        found = connection.execute(select(postings).order_by(postings.c.position, postings.c.line))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("amount", SOME)
def test_rows_of_one_fact_are_numbered_on_by_whichever_way_they_are_added(
    engine: Engine, amount: int
) -> None:
    with folding(engine) as connection:
        rows = Rows(connection, 1)
        rows.extend(postings, 3, map(posting, range(amount)))
        values, line = rows.appending(postings, 3)
        values += (rows.log_id, 3, line, *posting(amount))
        named = ("about_block", "account", "asset", "amount", "reference")
        rows.append(postings, 3, **dict(zip(named, posting(amount + 1), strict=True)))
        rows.extend(postings, 5, [posting(0)])
        rows.write()
        assert rows.appending(postings, 5) == ([], 0)
    whole = [(1, 3, number, *posting(number)) for number in range(amount + 2)]
    assert stored(engine) == [*whole, (1, 5, 0, *posting(0))]


ROWS = list(map(posting, range(8)))


@pytest.mark.parametrize(
    ("own_values", "of_them"),
    [
        ([ROWS[0], ROWS[1][:-1]], 4),
        ([ROWS[0], (*ROWS[1], 1)], 6),
        ([row[:-1] for row in ROWS], 4),  # as many values in all as seven whole rows have
        ([ROWS[0][:-1], (*ROWS[1], 1)], 4),  # and as many as two
    ],
)
def test_a_row_of_another_width_is_refused_and_nothing_of_its_page_is_written(
    engine: Engine, own_values: list[tuple[Any, ...]], of_them: int
) -> None:
    with pytest.raises(TypeError, match=f"journal_postings at position 1 has {of_them} values, no"):
        write(engine, own_values)
    assert stored(engine) == []


@pytest.mark.parametrize("own_values", [[row[:-1] for row in ROWS], [ROWS[0][:-1], (*ROWS[1], 1)]])
def test_it_is_refused_of_one_list_too(engine: Engine, own_values: list[tuple[Any, ...]]) -> None:
    with (
        pytest.raises(TypeError, match="a row of journal_postings was appended that has not 8"),
        folding(engine) as connection,
    ):
        rows = Rows(connection, 1)
        rows.extend(postings, 2, ROWS)
        values, line = rows.appending(postings, 3)
        for at, own in enumerate(own_values):
            values += (rows.log_id, 3, line + at, *own)
        rows.write()
    assert stored(engine) == []


def test_a_list_that_is_no_rows_is_not_inserted(engine: Engine) -> None:
    insertion = Insertion.into(postings, engine.dialect.name)
    with (
        pytest.raises(ValueError, match='15 values are no rows of 8: INSERT INTO "journal_po'),
        folding(engine) as connection,
    ):
        insert_rows(connection, insertion, [1] * 15)
    assert stored(engine) == []


def test_a_table_that_is_dropped_is_not_written_over(tmp_path: Path) -> None:
    """SQLite alone: built with SECURE_DELETE, it would write every page of the table again."""
    engine = open_engine(migrated_url("sqlite", tmp_path))
    written = Path(f"{engine.url.database}-wal")
    write(engine, map(posting, range(20_000)))
    filled = written.stat().st_size
    with engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with writing(engine) as connection:
        postings.drop(connection)
    assert 0 < written.stat().st_size < filled / 10
    engine.dispose()
