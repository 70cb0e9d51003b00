"""How far each view has folded each arena's log: the library's tracking recorder over our table.

A position is written in the transaction of the rows it stands for, under its own locked row, and
only ever moves forward. So two runners of the same view apply every fact once.
"""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import Final, NamedTuple

from eventsourcing.persistence import (
    IntegrityError,
    Tracking,
    TrackingRecorder,
    WaitInterruptedError,
)
from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError as SqlIntegrityError

from ledger.keys import ArenaKey
from ledger.store.bell import bell_of
from ledger.store.database import folding
from ledger.store.logs import head_of
from ledger.store.schema import logs, tracking

OTHERS_POLL_S: Final = 0.05
"""How soon a waiting caller notices what another process folded, or an interrupt."""

# Built once: building a statement costs as much as running it.
_ROW: Final = (tracking.c.projection == bindparam("view")) & (
    tracking.c.log_id == bindparam("of_log")
)
_LOCK_PLACE: Final = (
    select(tracking.c.position, tracking.c.generation).where(_ROW).with_for_update()
)
_MOVE: Final = update(tracking).where(_ROW).values(position=bindparam("to"))
_REACHED: Final = (
    select(tracking.c.position)
    .join(logs, logs.c.log_id == tracking.c.log_id)
    .where(tracking.c.projection == bindparam("view"), logs.c.arena == bindparam("arena"))
)


def positions(connection: Connection) -> dict[tuple[str, int], int]:
    """How far every view stands in every log, by view and log."""
    rows = connection.execute(select(tracking))
    return {(row.projection, row.log_id): row.position for row in rows}


class Place(NamedTuple):
    """Where a view stands in a log, and which making of the view that is."""

    position: int
    generation: int


def locked_place(connection: Connection, view: str, log_id: int) -> Place:
    """Where a view stands in a log, held against other runners until the transaction ends."""
    named = {"view": view, "of_log": log_id}
    row = connection.execute(_LOCK_PLACE, named).first()
    if row is None:
        try:
            with connection.begin_nested():
                first = insert(tracking).values(projection=view, log_id=log_id, position=0)
                connection.execute(first)
        except SqlIntegrityError:  # another process began this view first: go on where it stands
            row = connection.execute(_LOCK_PLACE, named).one()
        else:
            return Place(0, 0)
    return Place(row.position, row.generation)


def move_to(connection: Connection, view: str, log_id: int, position: int) -> None:
    """Say that a view has folded a log up to a position. Lock it first."""
    connection.execute(_MOVE, {"view": view, "of_log": log_id, "to": position})


class ViewTracking(TrackingRecorder):
    """One view's positions by arena; the application's name is the arena's key."""

    def __init__(self, engine: Engine, view: str) -> None:
        self._engine = engine
        self._view = view

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move on to a position; the library's ``IntegrityError`` unless it lies ahead."""
        with folding(self._engine) as connection:
            head = head_of(connection, ArenaKey.parse(tracking.application_name))
            if head is None:
                msg = f"arena {tracking.application_name} is unknown in this database"
                raise IntegrityError(msg)
            at = locked_place(connection, self._view, head.log_id).position
            if tracking.notification_id <= at:
                msg = f"the view '{self._view}' stands at position {at} already"
                raise IntegrityError(msg)
            move_to(connection, self._view, head.log_id, tracking.notification_id)
        bell_of(self._engine).ring()

    def max_tracking_id(self, application_name: str) -> int | None:
        """The arena's last folded position; None while nothing is folded."""
        with self._engine.connect() as connection:
            named = {"view": self._view, "arena": application_name}
            position: int | None = connection.execute(_REACHED, named).scalar()
        return position or None

    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Wait until the view has folded a position: read your own writes.

        Wakes at once for what this process folds, after :data:`OTHERS_POLL_S` for what another one
        does. Raises ``TimeoutError`` after ``timeout`` seconds, and the library's
        ``WaitInterruptedError`` once ``interrupt`` is set.
        """
        deadline, bell = monotonic() + timeout, bell_of(self._engine)
        while True:
            seen = bell.count
            if self.has_tracking_id(application_name, notification_id):
                return
            if interrupt is not None and interrupt.is_set():
                raise WaitInterruptedError
            left = deadline - monotonic()
            if left <= 0:
                msg = (
                    f"the view '{self._view}' did not reach position {notification_id} of "
                    f"{application_name} within {timeout:g} s; is a runner folding it?"
                )
                raise TimeoutError(msg)
            bell.wait(seen, min(left, OTHERS_POLL_S))
