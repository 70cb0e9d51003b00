"""How much of the driver's own speed is left when facts are appended in bulk."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
from sqlalchemy import Engine

from benchmarks.registry import Measurement, benchmark
from benchmarks.servers import postgres_url, sqlite_url
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.facts import Context
from ledger.keys import ArenaKey
from ledger.observations import PriceObserved
from ledger.policies import load
from ledger.policy import parse_policy_toml
from ledger.store.codec import FactMapper, StoredFact
from ledger.store.database import open_engine

BATCH: Final = 1_000
BATCHES_PER_ROUND: Final = 5
ROUNDS: Final = 9
OPENED_AT: Final = 1
ARENA: Final = ArenaKey("0x" + "14" * 32, 14)

_COLUMNS: Final = (
    "log_id, position, originator_id, originator_version, topic, fact_key, effective_block, state"
)
_INSERT: Final = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_COPY: Final = f"COPY events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES: Final = ("int4", "int8", "uuid", "int4", "text", "text", "int8", "bytea")
_SELECT: Final = f"SELECT {_COLUMNS} FROM events ORDER BY position"  # noqa: S608 - constants only

Row = tuple[Any, ...]


@benchmark(
    "facts a second through the recorder, over rows a second through raw sqlite3 (batches of 1,000,"
    " WAL, synchronous FULL, the same tables, indexes and disk)",
    goal=0.75,
)
def append_bulk_sqlite() -> Measurement:
    """Both sides write the same rows; afterwards their tables are compared."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as name:
        engine, raw_engine = opened(sqlite_url(Path(name))), opened(sqlite_url(Path(name)))
        raw = sqlite3.connect(raw_engine.url.database or "", isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}")

        def insert(rows: Sequence[Row]) -> None:
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany(_INSERT, rows)
            raw.execute("COMMIT")

        try:
            return _measured(
                engine,
                insert,
                lambda: raw.execute(_SELECT).fetchall(),
                lambda identity: identity.hex,
                f"SQLite {sqlite3.sqlite_version}",
            )
        finally:
            raw.close()
            raw_engine.dispose()
            engine.dispose()


@benchmark(
    "facts a second through the recorder, over rows a second through psycopg's own binary COPY"
    " (batches of 1,000, one transaction each, the same tables, indexes and server)",
    goal=0.75,
)
def append_bulk_postgres() -> Measurement:
    """Both sides write the same rows; afterwards their tables are compared."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as name:
        engine, raw_engine = opened(postgres_url(Path(name))), opened(postgres_url(Path(name)))
        address = raw_engine.url.set(drivername="postgresql")
        raw = psycopg.connect(address.render_as_string(hide_password=False))

        def insert(rows: Sequence[Row]) -> None:
            with raw.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for row in rows:
                    copy.write_row(row)
            raw.commit()

        try:
            return _measured(
                engine,
                insert,
                lambda: raw.execute(_SELECT).fetchall(),
                lambda identity: identity,
                f"PostgreSQL {raw.info.server_version // 10_000}",
            )
        finally:
            raw.close()
            raw_engine.dispose()
            engine.dispose()


def opened(url: str) -> Engine:
    """An engine on a migrated database, in which the benchmarks' arena is open."""
    engine = open_engine(url)
    policy = parse_policy_toml(load("phase3"))
    open_arena(engine, ARENA, network="bench", at_block=OPENED_AT, policy=policy, actor="bench")
    return engine


def _measured(
    engine: Engine,
    insert: Callable[[Sequence[Row]], None],
    select: Callable[[], Sequence[Row]],
    identity_of: Callable[[Any], object],
    database: str,
) -> Measurement:
    recorder = Ledger(engine, ARENA).construct_recorder()
    first = recorder.max_notification_id() or 0
    ours_s: list[float] = []
    raw_s: list[float] = []
    for number in range(ROUNDS + 1):
        batches = _batches(number)
        rows = _rows(batches, first + 1 + number * BATCH * BATCHES_PER_ROUND, identity_of)

        def append(batches: list[list[StoredFact]] = batches) -> None:
            for batch in batches:
                recorder.insert_events(batch)

        def write(rows: list[list[Row]] = rows) -> None:
            for batch in rows:
                insert(batch)

        # Who goes first changes from round to round; the first round only warms up.
        if number % 2:
            took_ours, took_raw = _timed(append), _timed(write)
        else:
            took_raw, took_ours = _timed(write), _timed(append)
        if number:
            ours_s.append(took_ours)
            raw_s.append(took_raw)
    _must_hold_the_same(engine, select())
    facts = BATCH * BATCHES_PER_ROUND
    ratios = [theirs / own for own, theirs in zip(ours_s, raw_s, strict=True)]
    return Measurement(
        median(ratios),
        ROUNDS,
        f"{facts / median(ours_s):,.0f} facts/s against {facts / median(raw_s):,.0f} rows/s "
        f"(medians of {ROUNDS} interleaved rounds of {facts:,}; ratios {min(ratios):.2f} to "
        f"{max(ratios):.2f}; {database}); the recorder also looks for known keys, checks blocks "
        "and moves the log's head",
    )


def _batches(round_number: int) -> list[list[StoredFact]]:
    """Facts of one round, encoded beforehand: what is timed is the store, not the codec."""
    mapper, context = FactMapper(), Context(ARENA, OPENED_AT)
    facts = [
        PriceObserved.seen(
            context,
            f"price:{ARENA}:TAO/USD:bench-{round_number}:{number}",
            pair="TAO/USD",
            price=300_000_000 + number,
            source="bench",
            about_block=OPENED_AT,
        )
        for number in range(BATCH * BATCHES_PER_ROUND)
    ]
    stored = [mapper.to_stored_event(fact) for fact in facts]
    return [stored[start : start + BATCH] for start in range(0, len(stored), BATCH)]


def _rows(
    batches: list[list[StoredFact]], position: int, identity_of: Callable[[Any], object]
) -> list[list[Row]]:
    """The same facts as rows of the table, from a position on."""
    rows: list[list[Row]] = []
    for batch in batches:
        rows.append([_row(fact, position + at, identity_of) for at, fact in enumerate(batch)])
        position += len(batch)
    return rows


def _row(fact: StoredFact, position: int, identity_of: Callable[[Any], object]) -> Row:
    return (
        1,
        position,
        identity_of(fact.originator_id),
        fact.originator_version,
        fact.topic,
        fact.fact_key,
        fact.effective_block,
        fact.state,
    )


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _must_hold_the_same(engine: Engine, theirs: Sequence[Row]) -> None:
    with engine.connect() as connection:
        ours = [tuple(row) for row in connection.exec_driver_sql(_SELECT)]
    if ours != theirs:
        msg = "the two databases differ: the comparison is worth nothing"
        raise AssertionError(msg)
