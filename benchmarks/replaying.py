"""How fast a year is read and decoded: against the raw driver, and against the library's way."""

from __future__ import annotations

import dataclasses
import sqlite3
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.application import LocalNotificationLog
from eventsourcing.domain import HasOriginatorIDVersion
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    JSONTranscoder,
    Mapper,
    StoredEvent,
    UUIDAsHex,
)
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from eventsourcing.utils import register_topic

from benchmarks.measuring import RUN, Ratio, interleaved, tell, timed
from benchmarks.registry import Measurement, benchmark
from benchmarks.year import Year, loaded_year
from ledger.facts import FACTS, Fact
from ledger.store import logs

LIBRARY_PAGE: Final = 500
COMPARED: Final = 5_000
"""Events that both sides must read alike."""
"""The page of the library's subscriptions, the largest of its defaults."""
LIBRARY_BATCH: Final = 1_000

_SECTION: Final = LocalNotificationLog.DEFAULT_SECTION_SIZE

_RAW: Final = "SELECT topic, state FROM events WHERE log_id = 1 ORDER BY position"


@benchmark(
    "events of a year read and decoded a second by our log, over raw sqlite3 rows (topic, state) "
    "and a msgspec decode of each by its type",
    goal=0.8,
)
def replay_vs_raw() -> Measurement:
    """Both read the same file from beginning to end; neither keeps anything."""
    held = loaded_year(RUN.events)
    raw = sqlite3.connect(held.path)
    try:
        _must_read_the_same(held, raw)
        ours_s, raw_s = interleaved(
            [
                lambda: _must_be(held.events, _read(held)),
                lambda: _must_be(held.events, _read_raw(raw)),
            ],
            RUN.rounds,
        )
    finally:
        raw.close()
    ratio = Ratio.of(raw_s, ours_s)
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{_rate(held.events, ours_s)} events/s against {_rate(held.events, raw_s)} (medians of "
        f"{RUN.rounds} interleaved rounds of {held.events:,} events; {ratio}; SQLite "
        f"{sqlite3.sqlite_version}); ours in pages of 500 facts, "
        "decoded as they are asked for, raw in one pass of the cursor",
    )


@benchmark(
    "events of a year read and decoded a second by our log, over the stock eventsourcing SQLite "
    "store with its JSON transcoder and event classes of the same fields",
    goal=5.0,
)
def replay_vs_library() -> Measurement:
    """Both hold the same events; the library reads them from its own table."""
    held = loaded_year(RUN.events)
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as folder:
        store = _Library(Path(folder) / "library.db", held)
        try:
            ours_s, library_s = interleaved(
                [
                    lambda: _must_be(held.events, _read(held)),
                    lambda: _must_be(held.events, store.read(LIBRARY_PAGE)),
                ],
                RUN.rounds,
            )
            sections_s = timed(lambda: _must_be(held.events, store.read(_SECTION)))
        finally:
            store.close()
    ratio = Ratio.of(library_s, ours_s)
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{_rate(held.events, ours_s)} events/s against {_rate(held.events, library_s)} (medians "
        f"of {RUN.rounds} interleaved rounds of {held.events:,} events; {ratio}); the library in "
        f"pages of {LIBRARY_PAGE}, as its subscriptions read; in the sections of {_SECTION} that "
        f"its notification log gives by default it read {held.events / sections_s:,.0f}; it makes "
        "lists and dicts where the facts have tuples and types",
    )


# -- ours and raw ---------------------------------------------------------------------------------


def _read(held: Year) -> int:
    """Every fact of the log as the program reads it; how many."""
    count = 0
    with held.engine.connect() as connection:
        for _ in logs.facts_of(connection, 1):
            count += 1
    return count


def facts_of(held: Year) -> Iterator[Fact]:
    """Every fact of a year's log as the program reads it."""
    with held.engine.connect() as connection:
        for logged in logs.facts_of(connection, 1):
            yield logged.fact


def _read_raw(raw: sqlite3.Connection) -> int:
    decoders = {topic: msgspec.json.Decoder(cls).decode for topic, cls in FACTS.items()}
    count = 0
    for topic, state in raw.execute(_RAW):
        decoders[topic](state)
        count += 1
    return count


def _must_be(expected: int, count: int) -> None:
    # A year may have grown by what other benchmarks of this run appended to it.
    if count < expected:
        msg = f"{count} events were read where there are {expected}: the figure is worth nothing"
        raise AssertionError(msg)


def _must_read_the_same(held: Year, raw: sqlite3.Connection) -> None:
    decoded = (msgspec.json.decode(state, type=FACTS[topic]) for topic, state in raw.execute(_RAW))
    for ours, theirs in islice(zip(facts_of(held), decoded, strict=True), COMPARED):
        if ours != theirs:
            msg = f"the two sides read '{ours.fact_key}' differently"
            raise AssertionError(msg)


def _rate(events: int, seconds: list[float]) -> str:
    return f"{events / median(seconds):,.0f}"


# -- the library ----------------------------------------------------------------------------------


class _Event(HasOriginatorIDVersion[UUID]):
    """What the library's own events have: an originator and a version."""


@cache
def _event_class(kind: type[Fact]) -> type[Any]:
    """A frozen dataclass with the fields of a fact, as the library makes its events."""
    fields = [(name, Any) for name in kind.__struct_fields__ if not name.startswith("originator_")]
    made = dataclasses.make_dataclass(
        kind.__name__,
        fields,
        bases=(_Event,),
        frozen=True,
        namespace={"TOPIC": f"bench:{kind.__name__}"},
    )
    register_topic(made.TOPIC, made)  # type: ignore[attr-defined]
    return made


def _as_event(fact: Fact) -> Any:
    event = object.__new__(_event_class(type(fact)))
    values = {name: getattr(fact, name) for name in fact.__struct_fields__}
    # Structs within a fact become plain dicts: the cheapest that its transcoder reads.
    event.__dict__.update({name: _plain(value) for name, value in values.items()})
    return event


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        return [msgspec.structs.asdict(item) for item in value]
    return value


class _Library:
    """The stock store on a file of its own, filled with the events of a year."""

    def __init__(self, path: Path, held: Year) -> None:
        transcoder = JSONTranscoder()
        for transcoding in (UUIDAsHex(), DecimalAsStr(), DatetimeAsISO()):
            transcoder.register(transcoding)
        self._mapper: Mapper[UUID] = Mapper(transcoder=transcoder)
        self._datastore = SQLiteDatastore(str(path))
        self._recorder = SQLiteApplicationRecorder(self._datastore)
        self._recorder.create_table()
        tell(f"writing {held.events:,} events with the library's own store")
        facts = facts_of(held)
        while batch := [self._stored(fact) for fact in islice(facts, LIBRARY_BATCH)]:
            self._recorder.insert_events(batch)

    def _stored(self, fact: Fact) -> StoredEvent:
        return self._mapper.to_stored_event(_as_event(fact))

    def read(self, page_size: int) -> int:
        """Read everything; how many events."""
        to_domain_event, count, start = self._mapper.to_domain_event, 0, 1
        while page := self._recorder.select_notifications(start, page_size):
            for notification in page:
                to_domain_event(notification)
            count += len(page)
            start = page[-1].id + 1
        return count

    def close(self) -> None:
        """Close the store."""
        self._datastore.close()
