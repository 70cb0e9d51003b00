"""The one writer of a process: concurrent appends become one durable transaction (group commit).

Whoever comes while nobody writes, writes at once; whoever comes meanwhile waits in line and is
written, with everybody else in line, by the next transaction. So nothing is ever delayed for the
sake of a fuller batch, and a batch is as large as the disk is slow. A batch is bounded by
:data:`MAX_BATCH_FACTS`; a line of more than :data:`MAX_WAITING` callers is refused.

Each caller gets its own answer: its positions, its conflict, its stale decision. First the whole
line is inserted as it is, which is right as long as nothing in it is known already; where a unique
key says otherwise, the line is sorted out caller by caller, still in one transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError
from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import IntegrityError as SqlIntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ledger.keys import ArenaKey
from ledger.store.bulk import insert_facts, known_rows, newest_versions
from ledger.store.codec import StoredFact
from ledger.store.conflicts import (
    BlockOrderError,
    FactConflictError,
    HeadMovedError,
    same_or_conflict,
)
from ledger.store.database import writing
from ledger.store.logs import NO_BLOCK, LogHead
from ledger.store.schema import logs

MAX_BATCH_FACTS: Final = 20_000
"""Facts per transaction, unless one caller alone brings more."""

MAX_WAITING: Final = 10_000
"""Callers in line at once."""


_EVERYBODYS: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""What the database as a whole answers: locked, full, gone."""

_OWN: Final = (IntegrityError, HeadMovedError, BlockOrderError, FactConflictError)
"""What concerns one caller alone; anything else concerns the whole batch."""


class _NothingOpenedError(Exception):
    """A log was begun for an opening that was refused: the transaction must be given up.

    Deleting its row would ask for rights that nobody has: PostgreSQL then looks for events of it
    with a lock, which is a right to update events.
    """


class WriterBusyError(Exception):
    """More callers wait than the writer's line holds; nothing was recorded, try again later."""


# Built once: building a statement costs as much as running it.
_LOCK_HEAD: Final = select(logs).where(logs.c.arena == bindparam("arena")).with_for_update()
_MOVE_HEAD: Final = update(logs).where(logs.c.log_id == bindparam("moved_log"))


@dataclass(slots=True, eq=False)
class Append:
    """What one caller wants recorded in one arena, all or nothing."""

    arena: ArenaKey
    facts: Sequence[StoredFact]
    read_at: Mapping[UUID, int]
    wake: threading.Event = field(default_factory=threading.Event)
    positions: list[int] | None = None
    error: BaseException | None = None
    abandoned: bool = False

    @property
    def done(self) -> bool:
        """Whether it has its answer."""
        return self.positions is not None or self.error is not None

    def result(self) -> list[int]:
        """Its positions; raises its own error."""
        if self.error is not None:
            raise self.error
        return self.positions or []


class GroupWriter:
    """Appends for every arena of one database, from all threads of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._line: list[Append] = []
        self._batch: list[Append] = []
        self._writing = False
        self._mutex = threading.Lock()
        self._grown = threading.Condition()
        self._appends = 0

    def append(
        self, arena: ArenaKey, facts: Sequence[StoredFact], read_at: Mapping[UUID, int]
    ) -> list[int]:
        """Record facts in one transaction with whoever is in line; their positions, in order."""
        own = Append(arena, facts, read_at)
        with self._mutex:
            if len(self._line) >= MAX_WAITING:
                msg = f"{MAX_WAITING} callers wait already; nothing was recorded, try again later"
                raise WriterBusyError(msg)
            self._line.append(own)
            leads = not self._writing
            self._writing = True
        if not leads:
            self._wait(own)
        if not own.done:
            self._lead(own)
        return own.result()

    def wait_for_append(self, seen: int, timeout_s: float) -> int:
        """Wait until this process has ended another batch; how many it has by then.

        ``seen`` is what the last call gave. What other processes commit wakes nobody here: look at
        the log after ``timeout_s`` all the same.
        """
        with self._grown:
            self._grown.wait_for(lambda: self._appends != seen, timeout_s)
            return self._appends

    # -- inside -------------------------------------------------------------------------------

    def _wait(self, own: Append) -> None:
        """Wait for an answer, or for the lead; who is interrupted leaves the line in order."""
        try:
            own.wake.wait()
        except BaseException:
            with self._mutex:
                given_the_lead = own.wake.is_set() and not own.done
                own.abandoned = True  # if it is being written, nobody waits for the answer
                if own in self._line and own not in self._batch:
                    self._line.remove(own)
                if given_the_lead:
                    self._hand_on()
            raise

    def _lead(self, own: Append) -> None:
        """Write the front of the line, of which ``own`` is the first, and hand the lead on."""
        with self._mutex:
            batch = self._batch = self._front()
        try:
            self._write(batch)
        except BaseException as error:  # noqa: BLE001  raised again as this caller's own answer
            # This thread was interrupted. The others stay in line and are written by the next
            # leader. If the interrupt came after the commit, that one finds their facts known, or
            # their aggregates moved on by themselves, and they decide again.
            own.error = error
        finally:
            with self._mutex:
                self._batch = []
                self._line = [
                    request
                    for request in self._line
                    if not request.done and not (request.abandoned and request in batch)
                ]
                self._hand_on()
            for request in batch:
                if request.done:
                    request.wake.set()
            with self._grown:
                self._appends += 1
                self._grown.notify_all()

    def _hand_on(self) -> None:
        """Give the lead to the first in line, if there is one. Call with the mutex held."""
        self._writing = bool(self._line)
        if self._line:
            self._line[0].wake.set()

    def _front(self) -> list[Append]:
        count, facts = 0, 0
        for request in self._line:
            facts += len(request.facts)
            if count and facts > MAX_BATCH_FACTS:
                break
            count += 1
        return self._line[:count]

    def _write(self, batch: list[Append]) -> None:
        try:
            self._transaction(batch, careful=False)
        except (SqlIntegrityError, *_OWN):
            self._sort_out(batch)
        except _EVERYBODYS as error:
            _fail(batch, error)
        except Exception:  # noqa: BLE001  one of them brought what the database cannot take
            self._each_for_itself(batch)

    def _sort_out(self, batch: list[Append]) -> None:
        """Something in the batch is known or taken already: find out what, caller by caller."""
        try:
            self._transaction(batch, careful=True)
        except _EVERYBODYS as error:
            _fail(batch, error)
        except Exception:  # noqa: BLE001  e.g. another arena's log took a key since our look
            self._each_for_itself(batch)

    def _each_for_itself(self, batch: list[Append]) -> None:
        for request in batch:
            self._alone(request)

    def _alone(self, request: Append) -> None:
        try:
            self._transaction([request], careful=True)
        except SqlIntegrityError:
            msg = "an aggregate or a fact key was written by somebody else meanwhile"
            request.error = IntegrityError(msg)
        except DBAPIError as error:
            if not _is_deadlock(error):
                _fail([request], error)
                return
            msg = "two writers waited for each other, and the database let the other one go first"
            request.error = IntegrityError(msg)
        except Exception as error:  # noqa: BLE001  it is this caller's
            _fail([request], error)

    def _transaction(self, batch: list[Append], *, careful: bool) -> None:
        """Write a batch; answers are given only once it is committed."""
        answers: list[tuple[Append, list[int] | None, Exception | None]] = []
        try:
            with writing(self._engine) as connection:
                draft = _Draft(connection, batch, careful=careful)
                for request in batch:
                    try:
                        answers.append((request, draft.add(request), None))
                    except _OWN as own:
                        if not careful:
                            raise  # it may be known already, and then it is no error
                        answers.append((request, None, own))
                draft.write()
        except _NothingOpenedError:
            if len(batch) > 1:
                self._each_for_itself(batch)
                return
        for request, positions, error in answers:
            request.positions, request.error = positions, error


def _is_deadlock(error: DBAPIError) -> bool:
    """PostgreSQL's deadlock_detected and serialization_failure: try again."""
    return getattr(error.orig, "sqlstate", None) in {"40P01", "40001"}


def _fail(batch: Sequence[Append], error: BaseException) -> None:
    for request in batch:
        request.positions, request.error = None, error


class _Draft:
    """A batch on its way into one transaction: heads locked, rows placed, nothing written yet.

    ``careful`` looks up what is known before placing anything. Otherwise keys and versions are
    left to the unique constraints, except for aggregates that a decision only read.
    """

    def __init__(self, connection: Connection, batch: Sequence[Append], *, careful: bool) -> None:
        self._connection = connection
        self._opened: dict[ArenaKey, str | None] = {}
        self._heads = self._lock({request.arena for request in batch})
        self._moved: set[ArenaKey] = set()
        self._rows: list[tuple[Any, ...]] = []
        self._careful = careful
        keys = [stored.fact_key for request in batch for stored in request.facts]
        self._known = known_rows(connection, keys) if careful else {}
        read = {identity for request in batch for identity in _looked_up(request, careful=careful)}
        self._versions = newest_versions(connection, read)

    def add(self, request: Append) -> list[int]:
        """Place one caller's facts, whole or not at all; their positions."""
        for identity, version in request.read_at.items():
            # Not careful: what nobody looked up is left to the constraints, unless somebody in
            # this very batch wrote it.
            unknown = version if not self._careful else 0
            if self._versions.get(identity, unknown) != version:
                msg = "an aggregate that this decision rests on was written meanwhile"
                raise IntegrityError(msg)
        head = self._heads[request.arena]
        position, block = head.position, head.effective_block
        positions: list[int] = []
        rows: list[tuple[Any, ...]] = []
        known: dict[str, tuple[int, str, bytes]] = {}
        for stored in request.facts:
            old = self._known.get(stored.fact_key) or known.get(stored.fact_key)
            if old is not None:
                same_or_conflict(old[1], old[2], stored)
                positions.append(old[0])
                continue
            block = _block_of(stored, block)
            position += 1
            positions.append(position)
            known[stored.fact_key] = (position, stored.topic, stored.state)
            rows.append(
                (
                    head.log_id,
                    position,
                    stored.originator_id,
                    stored.originator_version,
                    stored.topic,
                    stored.fact_key,
                    stored.effective_block,
                    stored.state,
                )
            )
        self._rows += rows
        self._known |= known
        for row in rows:
            self._versions[row[2]] = max(self._versions.get(row[2], 0), row[3])
        if rows:
            self._moved.add(request.arena)
            if self._opened.get(request.arena, "") is None:
                opening = msgspec.json.decode(request.facts[0].state)
                self._opened[request.arena] = opening.get("network", "")
        self._heads[request.arena] = replace(head, position=position, effective_block=block)
        return positions

    def write(self) -> None:
        """Insert the rows and move the heads."""
        for arena, network in self._opened.items():
            log = logs.c.log_id == self._heads[arena].log_id
            if network is None:
                raise _NothingOpenedError
            self._connection.execute(update(logs).where(log).values(network=network))
        insert_facts(self._connection, self._rows)
        for arena in self._moved:
            head = self._heads[arena]
            self._connection.execute(
                _MOVE_HEAD,
                {
                    "moved_log": head.log_id,
                    "position": head.position,
                    "effective_block": head.effective_block,
                },
            )

    def _lock(self, arenas: set[ArenaKey]) -> dict[ArenaKey, LogHead]:
        # In one order for every process, so that two batches over the same arenas cannot deadlock.
        return {arena: self._locked(arena) for arena in sorted(arenas)}

    def _locked(self, arena: ArenaKey) -> LogHead:
        named = {"arena": str(arena)}
        row = self._connection.execute(_LOCK_HEAD, named).mappings().first()
        if row is None:
            self._opened[arena] = None  # named by the opening that is accepted
            self._connection.execute(
                insert(logs).values(
                    arena=str(arena),
                    network=f"(opening {arena.genesis})",
                    netuid=arena.netuid,
                    position=0,
                    effective_block=NO_BLOCK,
                )
            )
            row = self._connection.execute(_LOCK_HEAD, named).mappings().one()
        return LogHead.of(row)


def _looked_up(request: Append, *, careful: bool) -> list[UUID]:
    """The aggregates whose version must be looked up: all, or those it read and does not write."""
    if careful:
        return list(request.read_at)
    written = {stored.originator_id for stored in request.facts}
    return [identity for identity in request.read_at if identity not in written]


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


_ATTRIBUTE: Final = "ledger_group_writer"


def writer_of(engine: Engine) -> GroupWriter:
    """The writer of this process for that database; it lives as long as the engine.

    A forked child must open an engine of its own, as SQLAlchemy asks anyway.
    """
    # `setdefault` on a plain dict is one step: two threads that ask at once get the same writer.
    writer = engine.__dict__.setdefault(_ATTRIBUTE, GroupWriter(engine))
    if not isinstance(writer, GroupWriter):
        msg = f"something else sits where the engine keeps its writer: {writer!r}"
        raise TypeError(msg)
    return writer
