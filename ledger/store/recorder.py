"""The recorder of one arena's log: appends facts, reads aggregates and notifications back.

One implementation for SQLite and PostgreSQL behind the eventsourcing library's recorder interface.
Every write transaction locks the arena's head row, so positions are dense and the order of commit
is the order of reading. It is plain and correct: it commits once per call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Notification,
    NotSupportedError,
    StoredEvent,
    Subscription,
)
from sqlalchemy import Connection, Engine, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError as SqlIntegrityError

from ledger.facts import Fact
from ledger.keys import ArenaKey
from ledger.store.codec import StoredFact, decode
from ledger.store.database import writing
from ledger.store.logs import NO_BLOCK, LogHead, head_of
from ledger.store.schema import events, logs

_KEYS_PER_QUERY: Final = 500


class HeadMovedError(Exception):
    """Another writer moved the arena's block meanwhile; decide again at the new one."""


class FactConflictError(Exception):
    """A recorded fact's key came again with other content. ``known`` is what the log holds."""

    def __init__(self, known: Fact, offered: Fact) -> None:
        self.known = known
        self.offered = offered
        self.differs = _difference(known, offered)
        super().__init__(f"fact '{known.fact_key}' is recorded already, otherwise: {self.differs}")


class BlockOrderError(Exception):
    """A block that is not after the arena's newest one, under a key the log does not know."""


class ArenaRecorder(ApplicationRecorder):
    """Appends to and reads from one arena's log; a notification's id is its dense position."""

    def __init__(self, engine: Engine, arena: ArenaKey) -> None:
        self.engine = engine
        self.arena = arena

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
        facts = [cast("StoredFact", stored) for stored in stored_events]
        if not facts:
            return []
        foreign = {fact.arena for fact in facts} - {str(self.arena)}
        if foreign:
            msg = f"facts of {', '.join(sorted(foreign))} cannot enter the log of {self.arena}"
            raise ValueError(msg)
        try:
            with writing(self.engine) as connection:
                return self._append(connection, facts, read_at or {})
        except SqlIntegrityError as error:
            msg = "an aggregate or a fact key was written by somebody else meanwhile"
            raise IntegrityError(msg) from error

    def _append(
        self, connection: Connection, facts: Sequence[StoredFact], read_at: Mapping[UUID, int]
    ) -> Sequence[int]:
        head = self._locked_head(connection, facts[0])
        self._must_be_unmoved(connection, read_at)
        known = self._known(connection, [fact.fact_key for fact in facts])
        position, block = head.position, head.effective_block
        positions: list[int] = []
        rows: list[dict[str, Any]] = []
        for stored in facts:
            old = known.get(stored.fact_key)
            if old is not None:
                _same_or_conflict(old, stored)
                positions.append(old["position"])
                continue
            block = _block_of(stored, block)
            position += 1
            positions.append(position)
            row = {
                "log_id": head.log_id,
                "position": position,
                "originator_id": stored.originator_id,
                "originator_version": stored.originator_version,
                "topic": stored.topic,
                "fact_key": stored.fact_key,
                "effective_block": stored.effective_block,
                "state": stored.state,
            }
            known[stored.fact_key] = row  # the same fact may come twice in one batch
            rows.append(row)
        if rows:
            connection.execute(insert(events), rows)
            connection.execute(
                update(logs)
                .where(logs.c.log_id == head.log_id)
                .values(position=position, effective_block=block)
            )
        return positions

    def _must_be_unmoved(self, connection: Connection, read_at: Mapping[UUID, int]) -> None:
        identities = list(read_at)
        moved: dict[UUID, int] = {}
        for start in range(0, len(identities), _KEYS_PER_QUERY):
            query = (
                select(events.c.originator_id, func.max(events.c.originator_version))
                .where(events.c.originator_id.in_(identities[start : start + _KEYS_PER_QUERY]))
                .group_by(events.c.originator_id)
            )
            moved |= {row[0]: row[1] for row in connection.execute(query)}
        stale = [identity for identity, version in moved.items() if version != read_at[identity]]
        if stale:
            msg = f"{len(stale)} aggregates were written by somebody else meanwhile"
            raise IntegrityError(msg)

    def _locked_head(self, connection: Connection, first: StoredFact) -> LogHead:
        query = select(logs).where(logs.c.arena == str(self.arena)).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is None:
            opening = msgspec.json.decode(first.state)
            connection.execute(
                insert(logs).values(
                    arena=str(self.arena),
                    network=opening.get("network", ""),
                    netuid=self.arena.netuid,
                    position=0,
                    effective_block=NO_BLOCK,
                )
            )
            row = connection.execute(query).mappings().one()
        return LogHead.of(row)

    def _known(self, connection: Connection, keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            query = select(
                events.c.fact_key, events.c.position, events.c.topic, events.c.state
            ).where(events.c.fact_key.in_(keys[start : start + _KEYS_PER_QUERY]))
            for row in connection.execute(query).mappings():
                found[row["fact_key"]] = dict(row)
        return found

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
        version = events.c.originator_version
        query: Select[Any] = select(events.c.originator_version, events.c.topic, events.c.state)
        query = query.where(events.c.originator_id == originator_id)
        if gt is not None:
            query = query.where(version > gt)
        if lte is not None:
            query = query.where(version <= lte)
        query = query.order_by(version.desc() if desc else version).limit(limit)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
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
                query = query.where(events.c.topic.in_(topics))
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


def _same_or_conflict(old: Mapping[str, Any], stored: StoredFact) -> None:
    known = decode(old["topic"], bytes(old["state"]))
    offered = decode(stored.topic, stored.state)
    if known.topic == offered.topic and known.content() == offered.content():
        return
    raise FactConflictError(known, offered)


def _block_of(stored: StoredFact, block: int) -> int:
    if stored.advances_to is not None:
        if stored.advances_to <= block:
            msg = f"block {stored.advances_to} cannot follow block {block}, which is recorded"
            raise BlockOrderError(msg)
        block = stored.advances_to
    if stored.effective_block != block:
        msg = f"decided at block {stored.effective_block}, but the log is at block {block}"
        raise HeadMovedError(msg)
    return block


def _difference(known: Fact, offered: Fact) -> str:
    if known.topic != offered.topic:
        return f"it is a {known.topic}, not a {offered.topic}"
    old, new = known.content(), offered.content()
    return "; ".join(
        f"{name}: {old[name]!r} is recorded, {new[name]!r} was offered"
        for name in old
        if old[name] != new[name]
    )
