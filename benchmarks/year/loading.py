"""Writing a generated year into a database, and keeping one for all benchmarks of a run."""

from __future__ import annotations

import atexit
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from benchmarks.year.log import SEED, year
from benchmarks.year.mix import ARENA
from ledger.application import Ledger
from ledger.facts import Fact
from ledger.store.codec import FactMapper, StoredFact
from ledger.store.database import open_engine
from ledger.store.migrate import upgrade

BATCH: Final = 2_000
"""Facts per transaction: an epoch has 30 kB, so this is a few megabytes."""
TOLD_EVERY: Final = 100_000


@dataclass(frozen=True, slots=True)
class Year:
    """A database that holds a generated year."""

    engine: Engine
    events: int

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.engine.url.database or "")

    @property
    def url(self) -> str:
        """Its address for another process."""
        return self.engine.url.render_as_string(hide_password=False)

    def ledger(self) -> Ledger:
        """The arena's ledger, with nothing loaded."""
        return Ledger(self.engine, ARENA)


def load_year(engine: Engine, events: int, seed: int = SEED) -> None:
    """Write a year into an empty database through the recorder; memory does not grow with it."""
    recorder = Ledger(engine, ARENA).construct_recorder()
    written, began = 0, time.perf_counter()
    for batch in _batches(year(events, seed)):
        recorder.insert_events(batch)
        before, written = written, written + len(batch)
        if before // TOLD_EVERY != written // TOLD_EVERY:
            took = time.perf_counter() - began
            sys.stderr.write(f"  a year of {events:,}: {written:,} events in {took:.0f} s\n")


def _batches(facts: Iterable[Fact]) -> Iterator[list[StoredFact]]:
    mapper, facts = FactMapper(), iter(facts)
    while batch := [mapper.to_stored_event(fact) for fact in islice(facts, BATCH)]:
        yield batch


@lru_cache(maxsize=4)
def loaded_year(events: int) -> Year:
    """A SQLite database with a year, made once per process and removed at its end."""
    folder = tempfile.TemporaryDirectory(prefix="cacheon-bench-year-")
    engine = open_engine(f"sqlite:///{Path(folder.name) / 'year.db'}")

    def remove() -> None:
        engine.dispose()
        folder.cleanup()

    atexit.register(remove)
    upgrade(engine)
    load_year(engine, events)
    return Year(engine, events)
