"""How much of the driver's own speed is left when facts are appended in bulk."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import Engine

from benchmarks.registry import Measurement, benchmark
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.facts import Context
from ledger.keys import ArenaKey
from ledger.observations import PriceObserved
from ledger.policies import load
from ledger.policy import parse_policy_toml
from ledger.store.codec import FactMapper, StoredFact
from ledger.store.database import open_engine
from ledger.store.migrate import upgrade

BATCH: Final = 1_000
BATCHES_PER_ROUND: Final = 5
ROUNDS: Final = 9
OPENED_AT: Final = 1
ARENA: Final = ArenaKey("0x" + "14" * 32, 14)

_COLUMNS: Final = (
    "log_id, position, originator_id, originator_version, topic, fact_key, effective_block, state"
)
_INSERT: Final = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
_SELECT: Final = f"SELECT {_COLUMNS} FROM events ORDER BY position"  # noqa: S608 - constants only

Row = tuple[int, int, str, int, str, str, int, bytes]


@benchmark(
    "facts a second through the recorder, over rows a second through raw sqlite3 (batches of 1,000,"
    " WAL, synchronous FULL, the same tables, indexes and disk)",
    goal=0.75,
)
def append_bulk_sqlite() -> Measurement:
    """Both sides write the same rows; afterwards their tables are compared."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as folder:
        engine = _opened(Path(folder) / "ours.db")
        raw_engine = _opened(Path(folder) / "raw.db")
        raw = _raw_connection(raw_engine)
        try:
            recorder = Ledger(engine, ARENA).construct_recorder()
            first = recorder.max_notification_id() or 0
            ours_s: list[float] = []
            raw_s: list[float] = []
            for number in range(ROUNDS + 1):
                batches = _batches(number)
                rows = _rows(batches, first + 1 + number * BATCH * BATCHES_PER_ROUND)

                def append(batches: list[list[StoredFact]] = batches) -> None:
                    for batch in batches:
                        recorder.insert_events(batch)

                def insert(rows: list[list[Row]] = rows) -> None:
                    for batch in rows:
                        raw.execute("BEGIN IMMEDIATE")
                        raw.executemany(_INSERT, batch)
                        raw.execute("COMMIT")

                # Who goes first changes from round to round; the first round only warms up.
                if number % 2:
                    took_ours, took_raw = _timed(append), _timed(insert)
                else:
                    took_raw, took_ours = _timed(insert), _timed(append)
                if number:
                    ours_s.append(took_ours)
                    raw_s.append(took_raw)
            _must_hold_the_same(engine, raw)
        finally:
            raw.close()
            raw_engine.dispose()
            engine.dispose()
    facts = BATCH * BATCHES_PER_ROUND
    ratios = [theirs / own for own, theirs in zip(ours_s, raw_s, strict=True)]
    return Measurement(
        median(ratios),
        ROUNDS,
        f"{facts / median(ours_s):,.0f} facts/s against {facts / median(raw_s):,.0f} rows/s "
        f"(medians of {ROUNDS} interleaved rounds of {facts:,}; ratios {min(ratios):.2f} to "
        f"{max(ratios):.2f}; SQLite {sqlite3.sqlite_version}); the recorder also looks for known "
        "keys, checks blocks and moves the log's head",
    )


def _opened(path: Path) -> Engine:
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    policy = parse_policy_toml(load("phase3"))
    open_arena(engine, ARENA, network="bench", at_block=OPENED_AT, policy=policy, actor="bench")
    return engine


def _raw_connection(engine: Engine) -> sqlite3.Connection:
    raw = sqlite3.connect(engine.url.database or "", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA foreign_keys=ON")
    return raw


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


def _rows(batches: list[list[StoredFact]], position: int) -> list[list[Row]]:
    """The same facts as rows of the table, from a position on."""
    rows: list[list[Row]] = []
    for batch in batches:
        rows.append([_row(fact, position + place) for place, fact in enumerate(batch)])
        position += len(batch)
    return rows


def _row(fact: StoredFact, position: int) -> Row:
    return (
        1,
        position,
        fact.originator_id.hex if not isinstance(fact.originator_id, str) else fact.originator_id,
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


def _must_hold_the_same(engine: Engine, raw: sqlite3.Connection) -> None:
    with engine.connect() as connection:
        ours = [tuple(row) for row in connection.exec_driver_sql(_SELECT)]
    if ours != raw.execute(_SELECT).fetchall():
        msg = "the two databases differ: the comparison is worth nothing"
        raise AssertionError(msg)
