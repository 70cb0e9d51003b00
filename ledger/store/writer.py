"""The one writer of a process: concurrent appends become one durable transaction (group commit).

Whoever comes while nobody writes, writes at once; whoever comes meanwhile waits in line and is
written, with everybody else in line, by the next transaction. So nothing is ever delayed for the
sake of a fuller batch, and a batch is as large as the disk is slow. A batch is bounded by
:data:`MAX_BATCH_FACTS`; a line of more than :data:`MAX_WAITING` callers is refused.

Each caller gets its own answer: its positions, its conflict, its stale decision. First the whole
line is inserted as it is, which is right as long as nothing in it is known already; what is stale
or known is sorted out caller by caller, in one more transaction.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import IntegrityError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import IntegrityError as SqlIntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ledger.keys import ArenaKey
from ledger.store.codec import StoredFact
from ledger.store.database import connect_for_writing, in_transaction
from ledger.store.draft import OWN, Append, Draft, NothingOpenedError
from ledger.store.memory import Memory

MAX_BATCH_FACTS: Final = 20_000
"""Facts per transaction, unless one caller alone brings more."""

MAX_BATCH_BYTES: Final = 64 * 1_048_576
"""Bytes of facts per transaction, unless one caller alone brings more."""

MAX_WAITING: Final = 10_000
"""Callers in line at once."""

WOKEN_AT_ONCE: Final = 2
"""Callers that a leader wakes itself when they have their answers; they wake the others."""

LOOK_AGAIN_S: Final = 1.0
"""A caller looks for its answer itself when nobody has woken it for this long."""

_EVERYBODYS: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""What the database as a whole answers: locked, full, gone."""


class WriterBusyError(Exception):
    """More callers wait than the writer's line holds; nothing was recorded, try again later."""


class OutcomeUnknownError(Exception):
    """The transaction may have been committed or not; nobody in this process knows."""

    def __init__(self) -> None:
        super().__init__(
            "the writer was interrupted while it committed, so this may be recorded or not; look "
            "at the log before you send it again"
        )


class GroupWriter:
    """Appends for every arena of one database, from all threads of this process."""

    def __init__(self, engine: Engine) -> None:
        self.memory = Memory()
        self._engine = engine
        self._line: list[Append] = []
        self._batch: list[Append] = []
        self._writing = False
        self._mutex = threading.Lock()
        self._grown = threading.Condition()
        self._appends = 0
        self._connection: Connection | None = None
        self._committing = False
        self._uncertain: list[Append] = []
        self._disposed = False
        self._process = os.getpid()
        event.listen(engine, "engine_disposed", self._on_disposed)

    def append(
        self, arena: ArenaKey, facts: Sequence[StoredFact], read_at: Mapping[UUID, int]
    ) -> Append:
        """Record facts in one transaction with whoever is in line, and wait until that is done.

        The answer is in what comes back: ask it for its ``result()``.
        """
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
        return own

    def wait_for_append(self, seen: int, timeout_s: float) -> int:
        """Wait until this process has ended another batch; how many it has by then.

        ``seen`` is what the last call gave. What other processes commit wakes nobody here: look at
        the log after ``timeout_s`` all the same.
        """
        with self._grown:
            self._grown.wait_for(lambda: self._appends != seen, timeout_s)
            return self._appends

    # -- the line -----------------------------------------------------------------------------

    def _wait(self, own: Append) -> None:
        """Wait for an answer, or for the lead; who is interrupted leaves the line in order."""
        try:
            # Woken by whoever is woken before it. If that one was interrupted on the very spot, it
            # finds its answer by itself.
            while not own.wake.acquire(timeout=LOOK_AGAIN_S):
                if own.done or own.leads:
                    break
            _wake_following(own)
        except BaseException:
            with self._mutex:
                own.abandoned = True  # if it is being written, nobody waits for the answer
                _wake_following(own)
                if own in self._line and own not in self._batch:
                    self._line.remove(own)
                if own.leads and not own.done:
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
            # leader, but for those that may be recorded already: written again, they would find
            # their aggregates moved on by themselves, and decide a second time.
            own.answer([], error)
            _fail(self._uncertain, OutcomeUnknownError())
        finally:
            with self._mutex:
                self._batch = []
                left = [one for one in batch if not one.done and not one.abandoned]
                self._line[: len(batch)] = left
                self._hand_on()
                _wake([one for one in batch if one.done and not one.abandoned and one is not own])
            with self._grown:
                self._appends += 1
                self._grown.notify_all()

    def _hand_on(self) -> None:
        """Give the lead to the first in line, if there is one. Call with the mutex held."""
        self._writing = bool(self._line)
        if self._line:
            first = self._line[0]
            first.leads = True
            first.wake.release()

    def _front(self) -> list[Append]:
        count, facts, size = 0, 0, 0
        for request in self._line:
            facts += len(request.facts)
            size += request.size
            if count and (facts > MAX_BATCH_FACTS or size > MAX_BATCH_BYTES):
                break
            count += 1
        return self._line[:count]

    # -- the transaction ----------------------------------------------------------------------

    def _write(self, batch: Sequence[Append]) -> None:
        unclear: Sequence[Append]
        try:
            unclear = self._transaction(batch, careful=False)
        except SqlIntegrityError:
            unclear = batch
        except _EVERYBODYS as error:
            if _is_deadlock(error):
                self._each_for_itself(batch)
            else:
                _fail(batch, error)
            return
        except Exception:  # noqa: BLE001  one of them brought what the database cannot take
            self._each_for_itself(batch)
            return
        if unclear:
            self._sort_out(unclear)

    def _sort_out(self, batch: Sequence[Append]) -> None:
        """Something in the batch is known, taken or stale: find out what, caller by caller."""
        try:
            self._transaction(batch, careful=True)
        except _EVERYBODYS as error:
            if _is_deadlock(error):
                self._each_for_itself(batch)
            else:
                _fail(batch, error)
        except Exception:  # noqa: BLE001  e.g. another arena's log took a key since our look
            self._each_for_itself(batch)

    def _each_for_itself(self, batch: Sequence[Append]) -> None:
        for request in batch:
            self._alone(request)

    def _alone(self, request: Append) -> None:
        try:
            self._transaction([request], careful=True)
        except SqlIntegrityError:
            msg = "an aggregate or a fact key was written by somebody else meanwhile"
            request.answer([], IntegrityError(msg))
        except DBAPIError as error:
            if not _is_deadlock(error):
                _fail([request], error)
                return
            msg = "two writers waited for each other, and the database let the other one go first"
            request.answer([], IntegrityError(msg))
        except Exception as error:  # noqa: BLE001  it is this caller's
            _fail([request], error)

    def _transaction(self, batch: Sequence[Append], *, careful: bool) -> list[Append]:
        """Write a batch; answers are given only once it is committed.

        Not careful: whoever is stale or known is left out, unanswered, and given back. A
        connection that broke while the writer had no use for it is replaced by a new one, once.
        """
        try:
            return self._once(batch, careful=careful)
        except DBAPIError as broken:
            if not broken.connection_invalidated or self._committing:
                raise  # if it broke at the commit, nobody knows whether that was done
        # What answers now may be a copy that lags: what these rest on is looked up there.
        self._once(batch, careful=True)
        return []

    def _once(self, batch: Sequence[Append], *, careful: bool) -> list[Append]:
        answers: list[tuple[Append, list[int], Exception | None]] = []
        unclear: list[Append] = []
        self._committing, self._uncertain = False, []
        connection = self._connected()
        try:
            with connection.begin() as transaction:
                draft = Draft(connection, batch, careful=careful)
                for request in batch:
                    try:
                        answers.append((request, draft.place(request), None))
                    except OWN as own:
                        if careful:
                            answers.append((request, [], own))
                        else:
                            unclear.append(request)  # known already, perhaps: then it is no error
                draft.write()
                self._uncertain = [request for request, _, error in answers if error is None]
                self._committing = True
                transaction.commit()
        except NothingOpenedError:
            # Rolled back. Whoever could be recorded all the same is recorded alone, later.
            if any(error is None for _, _, error in answers):
                raise
        except BaseException as failure:
            # Anything else was rolled back, and the connection is as good as before.
            broken = connection.invalidated or in_transaction(connection)
            if self._committing or not isinstance(failure, Exception) or broken:
                self._disconnect()
            raise
        for arena, block in draft.blocks().items():
            self.memory.arena(arena).block = block
        for request, positions, error in answers:
            request.answer(positions, error)
        self._uncertain = []
        return unclear

    # -- its connection -----------------------------------------------------------------------

    def _connected(self) -> Connection:
        """The writer's own connection, which stays open: only the leader uses it."""
        if self._disposed:
            self._disposed = False
            self._disconnect()
        if self._connection is None:
            self._connection = connect_for_writing(self._engine)
        return self._connection

    def _disconnect(self) -> None:
        """Close it, whatever state it is in; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.memory.clear()
            connection.invalidate()
            connection.close()

    def _on_disposed(self, _engine: Engine) -> None:
        if os.getpid() != self._process:
            # A fork disposed of what it inherited: the socket is its parent's to close.
            _INHERITED.append(self._connection)
            self._connection = None
            return
        with self._mutex:
            if self._writing:
                self._disposed = True  # the leader closes it before the next transaction
            else:
                self._disconnect()


def _wake(answered: Sequence[Append]) -> None:
    """Wake a few, each of whom wakes another: all at once would only fight for the interpreter."""
    for place, one in enumerate(answered[WOKEN_AT_ONCE:]):
        answered[place].following = one
    for one in answered[:WOKEN_AT_ONCE]:
        one.wake.release()


def _wake_following(own: Append) -> None:
    following, own.following = own.following, None
    if following is not None:
        following.wake.release()


def _is_deadlock(error: Exception) -> bool:
    """PostgreSQL's deadlock_detected and serialization_failure: try again."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlstate", None) in {"40P01", "40001"}


def _fail(batch: Sequence[Append], error: BaseException) -> None:
    for request in batch:
        if not request.done:
            request.answer([], error)


_INHERITED: Final[list[Connection | None]] = []
"""Connections of the process this one was forked from, kept from being closed."""

_ATTRIBUTE: Final = "ledger_group_writer"
_MAKING: Final = threading.Lock()


def writer_of(engine: Engine) -> GroupWriter:
    """The writer of this process for that database; it lives as long as the engine.

    A forked child must open an engine of its own, as SQLAlchemy asks anyway.
    """
    writer: Any = engine.__dict__.get(_ATTRIBUTE)
    if writer is None:
        with _MAKING:
            writer = engine.__dict__.get(_ATTRIBUTE)
            if writer is None:
                writer = engine.__dict__[_ATTRIBUTE] = GroupWriter(engine)
    if not isinstance(writer, GroupWriter):
        msg = f"something else sits where the engine keeps its writer: {writer!r}"
        raise TypeError(msg)
    return writer
