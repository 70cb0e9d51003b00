"""How fast the journal is projected: money movements into postings, against decoding them alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import Engine, func, select

from benchmarks.measuring import RUN, Ratio, interleaved, tell
from benchmarks.movements.drawn import movements
from benchmarks.registry import Measurement, benchmark
from benchmarks.year.mix import ARENA
from ledger.application import Ledger
from ledger.projections.journal import JournalProjection, postings
from ledger.projections.rebuilding import rebuild as rebuild_views
from ledger.store.codec import stored
from ledger.store.database import open_engine
from ledger.store.logs import all_heads, facts_of
from ledger.store.migrate import upgrade

BATCH: Final = 20_000
TOLD_EVERY: Final = 200_000


@benchmark(
    "time of reading and decoding 1,000,000 money movements, over that of projecting them: the "
    "same reading, their postings and the journal's view, on SQLite",
    goal=0.3,
)
def journal_project() -> Measurement:
    """The log is written once; each round makes the view anew in tables of its own."""
    with _written(RUN.events) as (engine, facts):
        read_s, project_s = interleaved(
            [
                lambda: _must_be(facts, _read(engine)),
                lambda: rebuild_views(engine, [JournalProjection()]),
            ],
            RUN.rounds,
        )
        lines = _lines(engine)
    ratio = Ratio.of(read_s, project_s)
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{RUN.events:,} movements ({facts:,} facts with those that they rest on) read and decoded "
        f"in {median(read_s):.2f} s and projected to {lines:,} postings in "
        f"{median(project_s):.2f} s, {RUN.events / median(project_s):,.0f} movements/s (medians of "
        f"{RUN.rounds} interleaved rounds; {ratio}); projecting reads and decodes them too, makes "
        "each entry, sees that it balances, writes its rows and their indexes, and puts the new "
        "view in the place of the old one",
    )


@contextmanager
def _written(amount: int) -> Iterator[tuple[Engine, int]]:
    """A database with so many movements in its log and no view yet; and how many facts it has."""
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-journal-") as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'movements.db'}")
        upgrade(engine)
        opening, moved = movements(amount)
        recorder = Ledger(engine, ARENA).construct_recorder()
        facts, written = chain(opening, moved), 0
        while batch := [stored(fact) for fact in islice(facts, BATCH)]:
            recorder.insert_events(batch)
            before, written = written, written + len(batch)
            if before // TOLD_EVERY != written // TOLD_EVERY:
                tell(f"{written:,} facts drawn and written")
        yield engine, written
        engine.dispose()


def _read(engine: Engine) -> int:
    """Every fact as the program reads it; how many."""
    with engine.connect() as connection:
        (head,) = all_heads(connection)
        return sum(1 for _ in facts_of(connection, head.log_id))


def _must_be(expected: int, read: int) -> None:
    if read != expected:
        msg = f"{read} facts were read where {expected} were written: the figure is worth nothing"
        raise AssertionError(msg)


def _lines(engine: Engine) -> int:
    """How many postings the view has; they must balance."""
    with engine.connect() as connection:
        left = connection.execute(
            select(postings.c.asset, func.sum(postings.c.amount)).group_by(postings.c.asset)
        ).all()
        if any(amount for _, amount in left):
            msg = f"the postings leave {left}: the figure is worth nothing"
            raise AssertionError(msg)
        return connection.execute(select(func.count()).select_from(postings)).scalar_one()
