"""The application: one arena's commands, each a unit of work that is recorded whole or not at all.

Commands (:mod:`ledger.commands`) are functions over a :class:`Unit`: they load aggregates, let them
decide, and note observations. :meth:`Ledger.decide` records what came of it in one transaction and
decides again if another writer was faster.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError, Mapper
from sqlalchemy import Engine

from ledger.decisions.arena import Arena
from ledger.decisions.base import Aggregate
from ledger.facts import Context, Fact, Observation
from ledger.keys import ArenaKey, arena_id, block_key, natural_id
from ledger.observations import BlockObserved, FactConflictSeen
from ledger.store.bulk import newest_versions
from ledger.store.codec import FactMapper, stored
from ledger.store.conflicts import BlockOrderError, FactConflictError, HeadMovedError
from ledger.store.logs import (
    NO_BLOCK,
    LogHead,
    head_of,
    known_fact,
    newest_facts,
    position_at,
    read_page,
)
from ledger.store.recorder import ArenaRecorder
from ledger.store.snapshots import SNAPSHOT_EVERY, load_aggregate, save_snapshot

MAX_TRIES: Final = 20
"""How often a command is decided again when other writers keep being faster."""

_FIRST_PAUSE_S: Final = 0.002

AggregateT = TypeVar("AggregateT", bound=Aggregate)
ObservationT = TypeVar("ObservationT", bound=Observation)
FactT = TypeVar("FactT", bound=Fact)
ResultT = TypeVar("ResultT")


class UnknownArenaError(Exception):
    """No arena of that name was opened in this database."""


class ContentionError(Exception):
    """Other writers were faster every time; nothing was recorded."""


class Unit:
    """One unit of work: what a command read, and the facts it decided on, in order."""

    def __init__(
        self, ledger: Ledger, context: Context, *, trusting: bool, remembers: bool
    ) -> None:
        self.ledger = ledger
        self.context = context
        self.facts: list[Fact] = []
        self.read_at: dict[UUID, int] = {}
        """The version each aggregate had when this unit read it: what its facts rest on."""
        self.began_at = context.block
        self.remembers = remembers
        """Whether it rests on what the process remembers or expects, and not on the log alone."""
        self.raced_for: set[str] = set()
        """Keys that only the first of several writers gets: who finds one taken decides again."""
        self._trusting = trusting
        self._loaded: dict[int, Aggregate] = {}

    @property
    def loaded(self) -> Collection[Aggregate]:
        """The aggregates it has read, as it has changed them."""
        return self._loaded.values()

    @property
    def block(self) -> int:
        """The arena's newest finalized block."""
        return self.context.block

    @property
    def arena(self) -> Arena:
        """The arena's own aggregate."""
        return self.get(Arena, arena_id(self.context.arena))

    def get(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """The aggregate of that id, as recorded and as changed in this unit; new if unknown."""
        return self._get(kind, aggregate_id, expected_new=False)

    def begin(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """As :meth:`get`, for one that nothing has happened to yet, as far as can be expected.

        It is not looked for. Where the log knows it after all, the command is decided again.
        """
        return self._get(kind, aggregate_id, expected_new=True)

    def _get(self, kind: type[AggregateT], aggregate_id: UUID, *, expected_new: bool) -> AggregateT:
        found = self._loaded.get(aggregate_id.int)
        if found is None:
            known = self.ledger.memory.aggregate(aggregate_id) if self._trusting else None
            if known is not None:
                found = known.twin(self.facts)
                self.remembers = True
            elif expected_new and self._trusting:
                found = kind(aggregate_id)
                self.remembers = True
            else:
                found = self.ledger.load(kind, aggregate_id)
            found.sink = self.facts
            self._loaded[aggregate_id.int] = found
            self.read_at[found.id] = found.version
        if not isinstance(found, kind):
            msg = f"{aggregate_id} is a {type(found).__name__}, not a {kind.__name__}"
            raise TypeError(msg)
        return found

    def observe(self, kind: type[ObservationT], fact_key: str, /, **content: Any) -> ObservationT:
        """Note something seen."""
        fact = kind.seen(self.context, fact_key, **content)
        self.facts.append(fact)
        return fact

    def advance(self, number: int, **content: Any) -> BlockObserved:
        """Move the arena's time to a finalized block; what follows in this unit happens there."""
        self.context = replace(self.context, block=number)
        key = block_key(self.context.arena, number)
        return self.observe(BlockObserved, key, number=number, **content)

    def because(self, fact: Fact) -> None:
        """Let everything that follows in this unit name ``fact`` as its cause."""
        self.context = self.context.because(fact)


class Ledger(Application[UUID]):
    """One arena's facts in one database: the eventsourcing library's application over our store."""

    def __init__(self, engine: Engine, arena: ArenaKey) -> None:
        self.engine = engine
        self.arena = arena
        self._context = Context(arena, NO_BLOCK)
        self._log = ArenaRecorder(engine, arena)
        self.memory = self._log.memory
        """What this process last saw of the database."""
        self._seen = self.memory.arena(arena)
        super().__init__()

    def construct_mapper(self) -> Mapper[UUID]:
        """Facts are mapped by our typed codec."""
        return FactMapper()

    def construct_recorder(self) -> ArenaRecorder:
        """Facts are recorded in this arena's log."""
        return self._log

    # -- reading ----------------------------------------------------------------------------

    def head(self) -> LogHead:
        """Where the arena's log stands; raises :class:`UnknownArenaError`."""
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
        if head is None:
            msg = f"arena {self.arena} is unknown in this database; open it with 'arena open'"
            raise UnknownArenaError(msg)
        return head

    def load(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """The aggregate of that id as recorded; a new one, of version 0, if nothing is."""
        known = self.memory.aggregate(aggregate_id)
        if isinstance(known, kind):
            found, replayed = known.twin([]), 0
            for newer in self.events.get(aggregate_id, gt=known.version):
                found.take(cast("Fact", newer))
        else:
            with self.engine.connect() as connection:
                found, replayed = load_aggregate(connection, kind, aggregate_id)
        self.memory.keep([found])
        if replayed >= SNAPSHOT_EVERY:
            save_snapshot(self.engine, found)
        return found.twin([])

    def arena_state(self) -> Arena:
        """The arena's own aggregate as recorded."""
        return self.load(Arena, arena_id(self.arena))

    def known(self, fact_key: str) -> Fact | None:
        """The fact recorded under a key, or None."""
        with self.engine.connect() as connection:
            return known_fact(connection, fact_key)

    def newest(
        self, kind: type[FactT], *, where: Callable[[FactT], bool] = lambda _: True
    ) -> FactT | None:
        """The last recorded fact of a type that ``where`` accepts, or None."""
        with closing(self._newest_first(kind, where)) as found:
            return next(found, None)

    def every(
        self, kind: type[FactT], *, where: Callable[[FactT], bool] = lambda _: True
    ) -> list[FactT]:
        """All recorded facts of a type that ``where`` accepts, the newest first."""
        return list(self._newest_first(kind, where))

    def _newest_first(
        self, kind: type[FactT], where: Callable[[FactT], bool]
    ) -> Generator[FactT, None, None]:
        with self.engine.connect() as connection:
            for fact in newest_facts(connection, self.arena, kind.topic):
                if isinstance(fact, kind) and where(fact):
                    yield fact

    def recorded(self, kind: type[FactT], from_block: int, before_block: int) -> list[FactT]:
        """The facts of a type recorded while the arena stood at one of these blocks, in order."""
        found: list[FactT] = []
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
            if head is None or before_block <= from_block:
                return found
            after = position_at(connection, head.log_id, from_block - 1)
            upto = position_at(connection, head.log_id, before_block - 1)
            while after < upto:
                page = read_page(
                    connection, head.log_id, after=after, upto=upto, topics=[kind.topic]
                )
                found += [one.fact for one in page.facts if isinstance(one.fact, kind)]
                after = page.upto
        return found

    # -- writing ----------------------------------------------------------------------------

    def decide(self, work: Callable[[Unit], ResultT], *, opening_at: int | None = None) -> ResultT:
        """Run a command and record its facts in one transaction.

        ``opening_at`` is the block of a log that does not exist yet. Raises what the command
        raises; :class:`FactConflictError` after having recorded the conflict itself;
        :class:`ContentionError` after :data:`MAX_TRIES` tries.
        """
        for attempt in range(MAX_TRIES):
            unit = self._unit(opening_at, trusting=attempt == 0)
            try:
                result = work(unit)
            except Exception:
                if self._was_stale(unit):
                    continue
                raise
            if not unit.facts:
                if self._was_stale(unit):
                    continue
                self.memory.keep(unit.loaded)
                return result
            try:
                self._append(unit)
            except (HeadMovedError, IntegrityError):
                self._seen.block = None
                self.memory.forget(unit.read_at)
                if not unit.remembers:
                    # Chance keeps two writers that met once from meeting at every try.
                    time.sleep(_FIRST_PAUSE_S * (attempt + 1) * (1 + random.random()))  # noqa: S311
                continue
            except BlockOrderError:
                if self._was_stale(unit):
                    continue
                raise
            except FactConflictError as conflict:
                if self._was_stale(unit) or conflict.offered.fact_key in unit.raced_for:
                    continue
                if self._block(NO_BLOCK) != NO_BLOCK:  # a refused opening has no log to note it in
                    self.record_conflict(conflict)
                raise
            return result
        msg = f"nothing was recorded: other writers were faster {MAX_TRIES} times; try again"
        raise ContentionError(msg)

    def _unit(self, opening_at: int | None, *, trusting: bool) -> Unit:
        block = self._seen.block if trusting else None
        remembers = block is not None
        if block is None:
            block = self._block(opening_at)
        context = self._context
        if context.block != block:
            context = self._context = Context(self.arena, block)
        return Unit(self, context, trusting=trusting, remembers=remembers)

    def _append(self, unit: Unit) -> None:
        """Append what a unit decided; raises as the recorder does."""
        answer = self._log.append([stored(fact) for fact in unit.facts], unit.read_at)
        if answer.repeated:
            # What was known already did not move the log: these may be ahead of it.
            self.memory.forget(unit.read_at)
            return
        self.memory.keep(unit.loaded)
        for aggregate in unit.loaded:
            before = unit.read_at[aggregate.id]
            if aggregate.version // SNAPSHOT_EVERY > before // SNAPSHOT_EVERY:
                save_snapshot(self.engine, aggregate)

    def _was_stale(self, unit: Unit) -> bool:
        """Whether a unit rested on memory that the log has left behind: it must decide again."""
        if not unit.remembers:
            return False
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
            newest = newest_versions(connection, unit.read_at)
        current = head is not None and head.effective_block == unit.began_at
        if current and all(newest.get(one, 0) == at for one, at in unit.read_at.items()):
            return False
        self._seen.block = None
        return True

    def _block(self, opening_at: int | None) -> int:
        with self.engine.connect() as connection:
            head = head_of(connection, self.arena)
        if head is not None and head.effective_block != NO_BLOCK:
            return head.effective_block
        if opening_at is None:
            return self.head().effective_block
        return opening_at

    def record_conflict(self, conflict: FactConflictError) -> None:
        """Note that a recorded fact came again with other content; noting it again is a no-op."""
        digest = natural_id("conflict", repr(conflict.offered.content())).hex
        key = natural_id("fact", conflict.known.fact_key).hex

        def note(unit: Unit) -> None:
            unit.observe(
                FactConflictSeen,
                f"conflict:{key}:{digest}",
                conflicting_key=conflict.known.fact_key,
                topic_refused=conflict.offered.topic,
                differs=conflict.differs,
            )

        self.decide(note)
