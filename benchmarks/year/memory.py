"""A ledger without a database, for the generator: the real commands decide, state is in memory.

Facts come out exactly as the commands make them: keys, versions, causes. What is finished is
forgotten, so that memory does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast
from uuid import UUID

from ledger.application import AggregateT, FactT, Ledger, ResultT, Unit
from ledger.decisions.arena import Arena
from ledger.decisions.base import Aggregate
from ledger.decisions.buybacks import BuybackApproved
from ledger.decisions.contest import ContestPlanned
from ledger.decisions.submission import SubmissionAccepted, SubmissionFingerprinted
from ledger.decisions.unclaimed import RefundDecided
from ledger.facts import Context, Fact
from ledger.keys import ArenaKey, arena_id
from ledger.observations import BlockObserved, TreasuryTransferSeen

_ASKED_BY_KEY: Final = (SubmissionAccepted, SubmissionFingerprinted, BuybackApproved)
_ASKED_FOR_ALL: Final = (RefundDecided,)
_ASKED_FOR_NEWEST: Final = (BlockObserved, ContestPlanned, TreasuryTransferSeen)


class _UnitInMemory(Unit):
    """A unit of work on living aggregates: there is no other writer, so nothing is compared."""

    def __init__(self, ledger: LedgerInMemory, context: Context) -> None:
        self.ledger = ledger
        self.context = context
        self.facts: list[Fact] = []
        self.raced_for: set[str] = set()

    def get(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """The living aggregate itself, not a copy: a command that fails half-way is a defect."""
        found = self.ledger.load(kind, aggregate_id)
        found.sink = self.facts
        return found

    begin = get


class LedgerInMemory(Ledger):
    """One arena's ledger whose facts are taken away with :meth:`taken` as they are decided."""

    def __init__(self, arena: ArenaKey) -> None:  # the library's own set-up would want a recorder
        self.arena = arena
        self.block = 0
        self._facts: list[Fact] = []
        self._aggregates: dict[UUID, Aggregate] = {}
        self._by_key: dict[str, Fact] = {}
        self._keys_of: dict[UUID, list[str]] = {}
        self._newest: dict[type[Fact], Fact] = {}
        self._decided: set[type[Fact]] = set()
        self._all: list[Fact] = []

    def taken(self) -> list[Fact]:
        """The facts decided since the last call, in order."""
        facts, self._facts = self._facts, []
        return facts

    def forget(self, identities: Iterable[UUID]) -> None:
        """These aggregates are finished: nothing asks for them again."""
        for identity in identities:
            self._aggregates.pop(identity, None)
            for key in self._keys_of.pop(identity, ()):
                del self._by_key[key]
        self._all = [fact for fact in self._all if fact.originator_id in self._aggregates]

    # -- what the commands ask ------------------------------------------------------------------

    def load(self, kind: type[AggregateT], aggregate_id: UUID) -> AggregateT:
        """The aggregate of that id; a new one if nothing is known of it."""
        found = self._aggregates.get(aggregate_id)
        if found is None:
            found = self._aggregates[aggregate_id] = kind(aggregate_id)
        return cast("AggregateT", found)

    def arena_state(self) -> Arena:
        """The arena's own aggregate."""
        return self.load(Arena, arena_id(self.arena))

    def known(self, fact_key: str) -> Fact | None:
        """The fact of a key, of those kinds that a command looks up, and the newest block."""
        block = self._newest.get(BlockObserved)
        if block is not None and block.fact_key == fact_key:
            return block
        return self._by_key.get(fact_key)

    def recorded(  # the arguments are the ledger's own
        self,
        kind: type[FactT],  # noqa: ARG002
        from_block: int,  # noqa: ARG002
        before_block: int,  # noqa: ARG002
    ) -> list[FactT]:
        """None: the generator itself ends the payments that nobody claims."""
        return []

    def newest(
        self, kind: type[FactT], *, where: Callable[[FactT], bool] = lambda _: True
    ) -> FactT | None:
        """The last fact of a kind; only the very last one is kept, and it must fit."""
        found = cast("FactT | None", self._newest.get(kind))
        if found is not None and not where(found):
            msg = f"the generator asked for another {kind.topic} than the last one"
            raise LookupError(msg)
        return found

    def every(
        self, kind: type[FactT], *, where: Callable[[FactT], bool] = lambda _: True
    ) -> list[FactT]:
        """The facts of a kind, the newest first, of those aggregates that are not finished."""
        if kind in self._decided and kind not in _ASKED_FOR_ALL:
            msg = f"the generator asked for every {kind.topic}, and it keeps none"
            raise LookupError(msg)
        return [fact for fact in reversed(self._all) if isinstance(fact, kind) and where(fact)]

    def decide(self, work: Callable[[Unit], ResultT], *, opening_at: int | None = None) -> ResultT:
        """Run a command and keep its facts for :meth:`taken`."""
        unit = _UnitInMemory(self, Context(self.arena, opening_at or self.block))
        result = work(unit)
        for fact in unit.facts:
            self.block = fact.advances_to or self.block
            self._decided.add(type(fact))
            if isinstance(fact, _ASKED_BY_KEY):
                self._by_key[fact.fact_key] = fact
                self._keys_of.setdefault(fact.originator_id, []).append(fact.fact_key)
            elif isinstance(fact, _ASKED_FOR_NEWEST):
                self._newest[type(fact)] = fact
            elif isinstance(fact, _ASKED_FOR_ALL):
                self._all.append(fact)
        self._facts += unit.facts
        return result
