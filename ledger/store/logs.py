"""Reading the logs: heads, pages and prefixes. Every function takes an open connection."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import DecodeError
from sqlalchemy import Connection, RowMapping, bindparam, select

from ledger.facts import Fact
from ledger.keys import ArenaKey
from ledger.store.codec import DECODE, decode, read_as
from ledger.store.driver import driver_errors
from ledger.store.schema import events, logs

MAX_PAGE_BYTES: Final = 16 * 1_048_576
"""How much of the log is read at once, and at most one fact more; decoded it takes a few times as
much."""

_NEWEST_PAGE: Final = 20
_STREAMED_AT_ONCE: Final = 500

# Built once: building a statement costs as much as running it.
_HEAD: Final = select(logs).where(logs.c.arena == bindparam("arena"))
_LAST_AT: Final = (
    select(events.c.position)
    .where(events.c.log_id == bindparam("of_log"), events.c.effective_block <= bindparam("block"))
    .order_by(events.c.effective_block.desc(), events.c.position.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class _Query:
    """One question in the parameter style of each driver."""

    on_sqlite: str
    on_postgres: str

    @classmethod
    def where(cls, condition: str, end: str) -> _Query:
        """Rows of position, topic and bytes of a log after a position, in order."""
        both = (
            "SELECT position, topic, state FROM events "  # noqa: S608 - constants only
            f"WHERE log_id = {{log}} AND position > {{after}}{condition} ORDER BY position{end}"
        )
        names = ("log", "after", "last", "topics")
        return cls(
            both.format(**{name: f":{name}" for name in names}, in_topics=_IN_ON_SQLITE),
            both.format(**{name: f"%({name})s" for name in names}, in_topics=_IN_ON_POSTGRES),
        )

    def bounded(self) -> _Query:
        """The same, where the driver would hold all of an answer before it hands out the first row:
        PostgreSQL ends it with the first row that brings it to :data:`MAX_PAGE_BYTES`."""
        sums = "sum(octet_length(state)) OVER (ORDER BY position)"
        summed = self.on_postgres.replace("topic, state", f"topic, state, {sums} AS size", 1)
        ended = "size - octet_length(state) < %(bytes)s"
        return _Query(
            self.on_sqlite,
            f"SELECT position, topic, state FROM ({summed}) AS stretch WHERE {ended} "  # noqa: S608
            "ORDER BY position",
        )


_IN_ON_SQLITE: Final = "topic IN (SELECT value FROM json_each(:topics))"
_IN_ON_POSTGRES: Final = "topic = ANY(%(topics)s::text[])"
_OF_ALL: Final = _Query.where("", " LIMIT {last}")
_OF_TOPICS: Final = _Query.where(" AND {in_topics}", " LIMIT {last}")
_STRETCH: Final = _Query.where(" AND position <= {last} AND {in_topics}", "").bounded()

NO_BLOCK: Final = -1
"""The effective block of a log in which nothing has been recorded."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where an arena's log stands: its row, its last position and its block."""

    log_id: int
    arena: ArenaKey
    network: str
    netuid: int
    position: int
    effective_block: int

    @classmethod
    def of(cls, row: RowMapping) -> LogHead:
        """The head in a row of ``logs``."""
        return cls(
            log_id=row["log_id"],
            arena=ArenaKey.parse(row["arena"]),
            network=row["network"],
            netuid=row["netuid"],
            position=row["position"],
            effective_block=row["effective_block"],
        )


class LoggedFact(msgspec.Struct, frozen=True):
    """A fact and its dense position in its arena's log, counted from 1."""

    position: int
    fact: Fact


class LogPage(NamedTuple):
    """A stretch of an arena's log: everything after ``after`` up to and with ``upto``.

    ``facts`` are those of it that were asked for, in order.
    """

    after: int
    upto: int
    facts: list[LoggedFact]


def head_of(connection: Connection, arena: ArenaKey) -> LogHead | None:
    """Where the arena's log stands; None if the arena is unknown."""
    row = connection.execute(_HEAD, {"arena": str(arena)}).mappings().first()
    return LogHead.of(row) if row else None


def all_heads(connection: Connection) -> list[LogHead]:
    """All arenas' logs, by row."""
    rows = connection.execute(select(logs).order_by(logs.c.log_id)).mappings()
    return [LogHead.of(row) for row in rows]


def position_at(connection: Connection, log_id: int, block: int) -> int:
    """The last position whose effective block is not after ``block``; 0 before the first.

    "At block B" is this prefix of the log (ARCHITECTURE, "One time axis per arena").
    """
    # Blocks never decrease along a log, so the last entry of the index is the last position.
    return connection.execute(_LAST_AT, {"of_log": log_id, "block": block}).scalar() or 0


def first_block(connection: Connection, log_id: int) -> int:
    """The effective block of a log's first fact; the log must have one."""
    first = (events.c.log_id == log_id, events.c.position == 1)
    return int(connection.execute(select(events.c.effective_block).where(*first)).scalar_one())


def read_log(
    connection: Connection, log_id: int, *, after: int, limit: int, topics: Sequence[str] = ()
) -> list[LoggedFact]:
    """A page of an arena's log: at most ``limit`` facts after a position, in order.

    A topic stands for its older versions, too, which are read as it.
    """
    query = _OF_TOPICS if topics else _OF_ALL
    topics = [version for topic in topics for version in read_as(topic)]
    with _cursor(connection, query, log_id, after, topics, limit) as cursor:
        rows = cursor.fetchall()
    return decoded(rows)


def read_page(
    connection: Connection, log_id: int, *, after: int, upto: int, topics: Sequence[str]
) -> LogPage:
    """The facts of some topics in a stretch of the log that ends at ``upto`` or earlier.

    It ends earlier, with the first fact that brings it to :data:`MAX_PAGE_BYTES`, so that a page
    fits the memory whatever facts it consists of.
    """
    with _cursor(connection, _STRETCH, log_id, after, topics, upto) as cursor:
        # Decoded as they come: their bytes are let go at once.
        facts, size = _decoded_until(cursor, MAX_PAGE_BYTES)
    return LogPage(after, facts[-1].position if size >= MAX_PAGE_BYTES else upto, facts)


def facts_of(
    connection: Connection, log_id: int, *, after: int = 0, upto: int | None = None
) -> Iterator[LoggedFact]:
    """Every fact of an arena's log after a position, up to another one or its end, in order.

    One fact at a time: each page is held as bytes and decoded as it is asked for, so that memory
    does not grow with the log, and no cursor stays open meanwhile.
    """
    while upto is None or after < upto:
        limit = _STREAMED_AT_ONCE if upto is None else min(_STREAMED_AT_ONCE, upto - after)
        with _cursor(connection, _OF_ALL, log_id, after, (), limit) as cursor:
            rows = cursor.fetchall()
        if not rows:
            return
        topic, state = "", b""
        try:
            for after, topic, state in rows:  # noqa: PLR1704  the next page follows the last row
                yield LoggedFact(after, DECODE[topic](state))
        except (KeyError, DecodeError):
            decode(topic, state)  # says what is wrong with it
            raise


def decoded(rows: Iterable[tuple[int, str, bytes]]) -> list[LoggedFact]:
    """Facts of position, topic and bytes; raises ``FactCodecError`` naming what does not fit."""
    return _decoded_until(rows, sys.maxsize)[0]


def _decoded_until(
    rows: Iterable[tuple[int, str, bytes]], enough_bytes: int
) -> tuple[list[LoggedFact], int]:
    """The facts up to the one that makes it ``enough_bytes``, and their bytes in all."""
    topic, state, size = "", b"", 0
    found: list[LoggedFact] = []
    try:
        for position, topic, state in rows:
            found.append(LoggedFact(position, DECODE[topic](state)))
            size += len(state)
            if size >= enough_bytes:
                break
    except (KeyError, DecodeError):
        decode(topic, state)  # says what is wrong with it
        raise
    return found, size


@contextmanager
def _cursor(
    connection: Connection, query: _Query, log_id: int, after: int, topics: Sequence[str], last: int
) -> Iterator[Any]:
    """A driver's cursor over rows of position, topic and bytes: past per-row processing."""
    named: dict[str, Any] = {"log": log_id, "after": after, "last": last}
    if connection.dialect.name == "sqlite":
        listed = msgspec.json.encode(topics).decode()
        result = connection.exec_driver_sql(query.on_sqlite, {**named, "topics": listed})
        try:
            yield result.cursor
        finally:  # a fact that cannot be decoded must not leave the statement open
            result.close()
        return
    # In binary, bytes come as they are and not as hexadecimal text.
    with (
        driver_errors(connection, query.on_postgres) as driver,
        driver.cursor(binary=True) as cursor,
    ):
        named |= {"topics": list(topics), "bytes": MAX_PAGE_BYTES}
        yield cursor.execute(query.on_postgres, named)


def known_fact(connection: Connection, fact_key: str) -> Fact | None:
    """The fact recorded under a key, or None."""
    query = select(events.c.topic, events.c.state).where(events.c.fact_key == fact_key)
    row = connection.execute(query).first()
    return decode(row[0], bytes(row[1])) if row else None


def newest_facts(connection: Connection, arena: ArenaKey, topic: str) -> Iterator[Fact]:
    """The facts of a topic in an arena's log, the newest first, read as far as they are asked."""
    query = (
        select(events.c.position, events.c.topic, events.c.state)
        .join(logs, logs.c.log_id == events.c.log_id)
        .where(logs.c.arena == str(arena), events.c.topic.in_(read_as(topic)))
        .order_by(events.c.position.desc())
        .limit(_NEWEST_PAGE)
    )
    before: int | None = None
    while True:
        page = query if before is None else query.where(events.c.position < before)
        rows = connection.execute(page).all()
        for position, name, state in rows:
            before = position
            yield decode(name, bytes(state))
        if len(rows) < _NEWEST_PAGE:
            return
