"""Reading the logs: heads, pages and prefixes. Every function takes an open connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, func, select

from ledger.facts import Fact
from ledger.keys import ArenaKey
from ledger.store.codec import decode, read_as
from ledger.store.schema import events, logs

_NEWEST_PAGE: Final = 20

# Built once: building a statement costs as much as running it.
_HEAD: Final = select(logs).where(logs.c.arena == bindparam("arena"))

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


@dataclass(frozen=True, slots=True)
class LoggedFact:
    """A fact and its dense position in its arena's log, counted from 1."""

    position: int
    fact: Fact


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
    query = select(func.max(events.c.position)).where(
        events.c.log_id == log_id, events.c.effective_block <= block
    )
    return connection.execute(query).scalar() or 0


def read_log(
    connection: Connection, log_id: int, *, after: int, limit: int, topics: Sequence[str] = ()
) -> list[LoggedFact]:
    """A page of an arena's log: facts after a position, in order.

    A topic stands for its older versions, too, which are read as it.
    """
    query = select(events.c.position, events.c.topic, events.c.state)
    query = query.where(events.c.log_id == log_id, events.c.position > after)
    if topics:
        named = [version for topic in topics for version in read_as(topic)]
        query = query.where(events.c.topic.in_(named))
    query = query.order_by(events.c.position).limit(limit)
    return [
        LoggedFact(position, decode(topic, bytes(state)))
        for position, topic, state in connection.execute(query)
    ]


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
