"""A batch on its way into one transaction: heads locked, facts placed, then written at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError
from sqlalchemy import Connection, insert, update

from ledger.keys import ArenaKey
from ledger.store.bulk import Row, insert_facts, known_rows, lock_head, move_head, newest_versions
from ledger.store.codec import StoredFact
from ledger.store.conflicts import (
    BlockOrderError,
    FactConflictError,
    HeadMovedError,
    same_or_conflict,
)
from ledger.store.logs import NO_BLOCK
from ledger.store.schema import logs

OWN: Final = (IntegrityError, HeadMovedError, BlockOrderError, FactConflictError)
"""What concerns one caller alone; anything else concerns the whole batch."""


class NothingOpenedError(Exception):
    """A log was begun for an opening that was refused: the transaction must be given up.

    Deleting its row would ask for rights that nobody has: PostgreSQL then looks for events of it
    with a lock, which is a right to update events.
    """


class Append:
    """What one caller wants recorded in one arena, all or nothing, and its answer.

    ``positions`` are those of its facts, in order, unless ``error`` says why there are none.
    ``size`` is how many bytes they have. ``repeated`` tells that some of its facts were in the log
    already. ``wake`` is a lock held until it has its answer, or the lead of the writer's line;
    ``following`` is whom it then wakes itself.
    """

    __slots__ = (
        "abandoned",
        "arena",
        "done",
        "error",
        "facts",
        "following",
        "leads",
        "positions",
        "read_at",
        "repeated",
        "size",
        "wake",
    )

    def __init__(
        self, arena: ArenaKey, facts: Sequence[StoredFact], read_at: Mapping[UUID, int]
    ) -> None:
        self.arena = arena
        self.facts = facts
        self.size = sum([len(fact.state) for fact in facts])
        self.read_at = read_at
        self.positions: list[int] = []
        self.error: BaseException | None = None
        self.repeated = self.done = self.leads = self.abandoned = False
        self.following: Append | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def answer(self, positions: list[int], error: BaseException | None = None) -> None:
        """Give it its answer."""
        self.positions, self.error, self.done = positions, error, True

    def result(self) -> list[int]:
        """Its positions; raises its own error."""
        if self.error is not None:
            raise self.error
        return self.positions


class _Head:
    """A locked log head, as far as the batch has moved it."""

    __slots__ = ("block", "log_id", "moved", "network", "opening", "position")

    def __init__(self, log_id: int, position: int, block: int, *, opening: bool) -> None:
        self.log_id = log_id
        self.position = position
        self.block = block
        self.opening = opening
        self.network: str | None = None
        self.moved = False


class Draft:
    """Places the facts of a batch behind the locked heads of its arenas.

    ``careful`` looks up what is known before placing anything. Otherwise keys and versions are
    left to the unique constraints, except for aggregates that a decision only read.
    """

    def __init__(self, connection: Connection, batch: Sequence[Append], *, careful: bool) -> None:
        self._connection = connection
        arenas = {id(request.arena): request.arena for request in batch}.values()
        # In one order for every process, so that two batches over the same arenas cannot deadlock.
        self._heads = {arena: self._locked(arena) for arena in sorted(set(arenas))}
        self._rows: list[Row] = []
        keys = [stored.fact_key for request in batch for stored in request.facts]
        self._known = known_rows(connection, keys) if careful else {}
        read = {one for request in batch for one in _looked_up(request, careful=careful)}
        newest = newest_versions(connection, read) if read else {}
        # By the number of the id: a UUID computes its hash anew, in Python, at every look.
        self._versions = {one.int: newest.get(one, 0) for one in read}

    def blocks(self) -> dict[ArenaKey, int]:
        """The block that each arena is at after this batch; none where its opening was refused."""
        return {arena: head.block for arena, head in self._heads.items() if head.block != NO_BLOCK}

    def place(self, request: Append) -> list[int]:
        """Place one caller's facts, whole or not at all; their positions."""
        versions, known = self._versions, self._known
        for identity, version in request.read_at.items():
            if versions.get(identity.int, version) != version:
                msg = "an aggregate that this decision rests on was written meanwhile"
                raise IntegrityError(msg)
        head = self._heads[request.arena]
        log_id, position, block = head.log_id, head.position, head.block
        positions: list[int] = []
        rows: list[Row] = []
        own: dict[str, tuple[int, str, bytes]] = {}
        for stored in request.facts:
            key = stored.fact_key
            old = known.get(key) or own.get(key)
            if old is not None:
                same_or_conflict(old[1], old[2], stored)
                positions.append(old[0])
                request.repeated = True
                continue
            if stored.advances_to is not None or stored.effective_block != block:
                block = _block_of(stored, block)
            position += 1
            positions.append(position)
            own[key] = (position, stored.topic, stored.state)
            rows.append(
                (
                    log_id,
                    position,
                    stored.originator_id,
                    stored.originator_version,
                    stored.topic,
                    key,
                    block,
                    stored.state,
                )
            )
        if request.repeated:
            self._must_follow(rows)
        if rows:
            self._rows += rows
            known.update(own)
            for row in rows:
                written = row[2].int
                versions[written] = max(versions.get(written, 0), row[3])
            head.position, head.block, head.moved = position, block, True
            if head.opening and head.network is None:
                opening = msgspec.json.decode(request.facts[0].state)
                head.network = opening.get("network", "")
        return positions

    def _must_follow(self, rows: Sequence[Row]) -> None:
        """Where something was known, an aggregate's new facts must still follow its newest one."""
        newest = dict(self._versions)
        for row in rows:
            identity, version = row[2].int, row[3]
            if newest.get(identity, version - 1) != version - 1:
                msg = "a fact that this decision counts on was recorded for something else"
                raise IntegrityError(msg)
            newest[identity] = version

    def write(self) -> None:
        """Insert the rows and move the heads."""
        for head in self._heads.values():
            if head.opening:
                self._name(head)
        insert_facts(self._connection, self._rows)
        for head in self._heads.values():
            if head.moved:
                move_head(self._connection, head.log_id, head.position, head.block)

    def _name(self, head: _Head) -> None:
        log = logs.c.log_id == head.log_id
        if head.network is None:
            raise NothingOpenedError
        self._connection.execute(update(logs).where(log).values(network=head.network))

    def _locked(self, arena: ArenaKey) -> _Head:
        found = lock_head(self._connection, str(arena))
        if found is not None:
            return _Head(*found, opening=False)
        self._connection.execute(
            insert(logs).values(
                arena=str(arena),
                network=f"(opening {arena.genesis})",  # named by the opening that is accepted
                netuid=arena.netuid,
                position=0,
                effective_block=NO_BLOCK,
            )
        )
        made = lock_head(self._connection, str(arena))
        if made is None:
            msg = f"the log of {arena} is gone as soon as it was made"
            raise RuntimeError(msg)
        return _Head(*made, opening=True)


def _looked_up(request: Append, *, careful: bool) -> list[UUID]:
    """The aggregates whose version must be looked up: all, or those it read and does not write."""
    if careful:
        return list(request.read_at)
    facts, read_at = request.facts, request.read_at
    if len(facts) == 1 == len(read_at):  # most commands
        written = facts[0].originator_id
        return [one for one in read_at if one is not written and one != written]
    all_written = {stored.originator_id for stored in facts}
    return [one for one in read_at if one not in all_written]


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
