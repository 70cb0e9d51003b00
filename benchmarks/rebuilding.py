"""How fast all views are built from a year, against reading and decoding it alone.

``python -m benchmarks.rebuilding URL`` rebuilds the views of a database and prints this process's
peak memory in megabytes: a process of its own is the only honest witness of that.
"""

from __future__ import annotations

import sys
from typing import Final

from sqlalchemy import func, select

from benchmarks.measuring import RUN, Ratio, in_child, interleaved, peak_mb, tell
from benchmarks.registry import Measurement, benchmark
from benchmarks.replaying import facts_of
from benchmarks.year import Year, loaded_year
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import rebuild as rebuild_views
from ledger.store.codec import topics_of
from ledger.store.database import open_engine
from ledger.store.schema import events

TENTH: Final = 10


@benchmark(
    "events of a realistic year a second through all projections (submissions, payments, contests, "
    "epochs with 256 payouts each), over reading and decoding the same log alone",
    goal=0.25,
)
def rebuild() -> Measurement:
    """Views of the whole log, dropped and built again; memory beside a log of a tenth."""
    held = loaded_year(RUN.events)
    rebuild_s, read_s = interleaved(
        [lambda: rebuild_views(held.engine, PROJECTIONS), lambda: _read(held)], RUN.rounds
    )
    tell(f"peak memory with {RUN.events:,} events and with a tenth of them")
    peak, tenth = (_peak(loaded_year(count)) for count in (RUN.events, RUN.events // TENTH))
    ratio = Ratio.of(read_s, rebuild_s)
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{_rate(held, rebuild_s)} events/s into {len(PROJECTIONS)} views against "
        f"{_rate(held, read_s)} read and decoded (medians of {RUN.rounds} interleaved rounds of "
        f"{held.events:,} events on SQLite; {ratio}); {_folded(held):,} of them change a view and "
        f"make {_made(held):,} rows, most others are the blocks of the arena's clock, which the "
        f"rebuild does not decode and the reading does; a process that rebuilds has at most "
        f"{peak:.0f} MB resident, and {tenth:.0f} MB with a tenth of the events",
    )


def _folded(held: Year) -> int:
    """How many of a year's events some view knows."""
    known = topics_of({kind for projection in PROJECTIONS for kind in projection.knows})
    query = select(func.count()).where(events.c.log_id == 1, events.c.topic.in_(known))
    with held.engine.connect() as connection:
        return connection.execute(query).scalar_one()


def _made(held: Year) -> int:
    """How many rows all views have together."""
    tables = [table for projection in PROJECTIONS for table in projection.tables]
    with held.engine.connect() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        )


def _read(held: Year) -> None:
    for _ in facts_of(held):
        pass


def _rate(held: Year, seconds: list[float]) -> str:
    return f"{held.events / sorted(seconds)[len(seconds) // 2]:,.0f}"


def _peak(held: Year) -> float:
    return float(in_child("benchmarks.rebuilding", held.url))


def main(url: str) -> None:
    """Rebuild the views of a database and print the peak memory in megabytes."""
    engine = open_engine(url)
    rebuild_views(engine, PROJECTIONS)
    engine.dispose()
    sys.stdout.write(f"{peak_mb():.1f}\n")


if __name__ == "__main__":
    main(sys.argv[1])
