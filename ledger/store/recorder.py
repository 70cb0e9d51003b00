"""The recorder of one arena's log: appends facts, reads aggregates and notifications back.

One implementation for SQLite and PostgreSQL behind the eventsourcing library's recorder interface.
Every write transaction locks the arena's head row, so positions are dense and the order of commit
is the order of reading. What is appended goes through the process's one writer
(:mod:`ledger.store.writer`), in one transaction with whatever else is waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    Notification,
    NotSupportedError,
    StoredEvent,
    Subscription,
)
from sqlalchemy import Engine, Select, bindparam, select

from ledger.keys import ArenaKey
from ledger.store.codec import StoredFact, read_as
from ledger.store.draft import Append
from ledger.store.logs import head_of
from ledger.store.memory import Memory
from ledger.store.schema import events
from ledger.store.writer import writer_of

_VERSION: Final = events.c.originator_version

# Built once: building a statement costs as much as running it.
_AGGREGATE: Final = select(_VERSION, events.c.topic, events.c.state).where(
    events.c.originator_id == bindparam("identity")
)
_WHOLE_AGGREGATE: Final = _AGGREGATE.order_by(_VERSION)
_NEWER_FACTS: Final = _AGGREGATE.where(bindparam("gt") < _VERSION).order_by(_VERSION)


def _part_of_aggregate(
    *, gt: int | None, lte: int | None, desc: bool, limit: int | None
) -> Select[Any]:
    query = _AGGREGATE
    if gt is not None:
        query = query.where(gt < _VERSION)
    if lte is not None:
        query = query.where(lte >= _VERSION)
    return query.order_by(_VERSION.desc() if desc else _VERSION).limit(limit)


class ArenaRecorder(ApplicationRecorder):
    """Appends to and reads from one arena's log; a notification's id is its dense position."""

    def __init__(self, engine: Engine, arena: ArenaKey) -> None:
        self.engine = engine
        self.arena = arena
        self._name = str(arena)
        self._writer = writer_of(engine)

    @property
    def memory(self) -> Memory:
        """What this process last saw of the database."""
        return self._writer.memory

    # -- writing ----------------------------------------------------------------------------

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        read_at: Mapping[UUID, int] | None = None,
        **kwargs: Any,  # noqa: ARG002  the library's signature; we track in projections instead
    ) -> Sequence[int] | None:
        """Append facts in one transaction; their positions, in order.

        A fact whose key is recorded with the same content is skipped, and its old position is
        returned. ``read_at`` is the version of every aggregate the decision rests on, also of those
        it only read: a decision is refused, whole, where one of them moved on meanwhile. Raises
        :class:`FactConflictError`, :class:`HeadMovedError`, :class:`BlockOrderError`, or the
        library's ``IntegrityError`` where an aggregate was written meanwhile (decide again).
        """
        facts = cast("Sequence[StoredFact]", stored_events)
        return self.append(facts, read_at or {}).positions if facts else []

    def append(self, facts: Sequence[StoredFact], read_at: Mapping[UUID, int]) -> Append:
        """As :meth:`insert_events`, for one fact or more; the whole answer of the writer."""
        for fact in facts:
            if fact.arena != self._name:
                msg = f"facts of {fact.arena} cannot enter the log of {self.arena}"
                raise ValueError(msg)
        answer = self._writer.append(self.arena, facts, read_at)
        answer.result()
        return answer

    # -- reading aggregates -----------------------------------------------------------------

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The facts of one aggregate, by version."""
        named: dict[str, Any] = {"identity": originator_id}
        if (lte, desc, limit) != (None, False, None):
            query = _part_of_aggregate(gt=gt, lte=lte, desc=desc, limit=limit)
        elif gt is None:
            query = _WHOLE_AGGREGATE
        else:
            query, named["gt"] = _NEWER_FACTS, gt
        with self.engine.connect() as connection:
            rows = connection.execute(query, named).all()
        return [
            StoredEvent(
                originator_id=originator_id,
                originator_version=row[0],
                topic=row[1],
                state=bytes(row[2]),
            )
            for row in rows
        ]

    # -- reading the log, by the library's interface -----------------------------------------

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """A page of this arena's log; ids are dense positions, counted from 1."""
        position = events.c.position
        query = select(
            position,
            events.c.originator_id,
            events.c.originator_version,
            events.c.topic,
            events.c.state,
        )
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
            if head is None:
                return []
            query = query.where(events.c.log_id == head.log_id)
            if start is not None:
                query = query.where(position >= start if inclusive_of_start else position > start)
            if stop is not None:
                query = query.where(position <= stop)
            if topics:
                named = [version for topic in topics for version in read_as(topic)]
                query = query.where(events.c.topic.in_(named))
            rows = connection.execute(query.order_by(position).limit(limit)).all()
        return [
            Notification(
                id=row[0],
                originator_id=row[1],
                originator_version=row[2],
                topic=row[3],
                state=bytes(row[4]),
            )
            for row in rows
        ]

    def max_notification_id(self) -> int | None:
        """The arena's last position; None while nothing is recorded."""
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
        return head.position if head and head.position else None

    def subscribe(
        self,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> Subscription[ApplicationRecorder]:
        """Not supported, as in the library's SQLite recorder: projections read pages instead."""
        msg = f"the log of {self.arena} has no subscriptions (asked for {topics} after {gt})"
        raise NotSupportedError(msg)
