"""How a drawn happening is told to the ledger and to the model, and what must hold after it.

It happens plainly, twice, by another process, in a process that is killed before it commits, in
one that another overtakes, or after a restart.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import Column, Engine

from ledger.commands.arena import open_arena
from ledger.decisions.base import DecisionRefusedError
from ledger.projections.all import PROJECTIONS
from ledger.projections.journal import JournalProjection
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import Runner
from ledger.store.conflicts import FactConflictError
from ledger.store.database import open_engine
from tests.contract.stores import careless, sqlite_copy
from tests.property.books import desk
from tests.property.books.burning import Buybacks
from tests.property.books.disturbed import DisturbedLedger, KilledError, killed
from tests.property.books.machines import Machines
from tests.property.books.money import CREDITS, FEE_RAO, TAO, UNCLAIMED, Money, Outcome
from tests.property.books.paying import Payments
from tests.property.test_views_of_a_season import tables
from tests.unit.ledger.scenes import ARENA, OPENED_AT, policy

MANNERS: Final = (
    *("plainly",) * 8,
    *("twice", "twice", "elsewhere", "elsewhere", "killed", "overtaken", "overtaken", "restarted"),
)
"""How a step happens."""

LOOK_EVERY: Final = 33
"""After so many steps every view is brought up to date, beside the journal's that always is."""

HELD: Final = (
    "SELECT account, asset, SUM(amount) FROM journal_postings GROUP BY account, asset "
    "HAVING SUM(amount) <> 0"
)
STATUSES: Final = (
    "SELECT status, COUNT(*) FROM treasury_payments WHERE until IS NULL GROUP BY status"
)


def _named(columns: Iterable[Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


LEFT: Final = "SELECT asset, SUM(amount) FROM journal_postings GROUP BY asset"
EVERY_ROW: Final = {
    table.name: f"SELECT {_named(table.c)} FROM {table.name} ORDER BY {_named(table.primary_key)}"  # noqa: S608
    for table in tables()
}
"""By view table the bytes of every row, by the driver alone: each example has databases of its own,
for which SQLAlchemy would write these statements anew."""

Action = tuple[str, tuple[Any, ...]]


class Told(RuleBasedStateMachine):
    """A machine without rules: what it counts, it counts over all its examples.

    It counts its steps, how they happened and what came of them. A step is a rule that hypothesis
    drew and that did something; what it did is one act or some.
    """

    steps: ClassVar[int] = 0
    acts: ClassVar[int] = 0
    manners: ClassVar[Counter[str]] = Counter()
    outcomes: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="books-")
        self.path = sqlite_copy(Path(self.folder.name))
        self.engine = self._opened()
        open_arena(
            self.engine, ARENA, network="test", at_block=OPENED_AT, policy=policy(), actor="op"
        )
        self.reading = sqlite3.connect(self.path, isolation_level=None)
        self.ledger = DisturbedLedger(self.engine, ARENA)
        self.journal = Runner(self.engine, [JournalProjection()])
        self.other = self._opened()
        self.elsewhere = DisturbedLedger(self.other, ARENA)
        self.money = Money()
        self.money.head = self.money.opened_at = OPENED_AT
        self.payments = Payments(self.money)
        self.machines = Machines(self.money)
        self.buybacks = Buybacks(self.money)
        self.acted: list[Action] = []
        self.own_acts = self.counted = 0
        self.mark = 0

    # -- how it happens ---------------------------------------------------------------------

    def act(self, manner: str, name: str, *args: Any) -> None:
        """Let it happen to the ledger in that manner, and hold what came of it to the model."""
        if name == "consume" and self._is_accepted(*args):
            return
        type(self).acts += 1
        type(self).manners[manner] += 1
        self.acted.append((name, args))
        if manner == "killed":
            self._kill(name, args)
        elif manner == "overtaken":
            self.ledger.meanwhile = lambda: self._must_come_of(name, args, self.elsewhere)
            self._must_come_of(name, args, self.ledger)
        else:
            if manner == "restarted":
                self._restart()
            self._must_come_of(name, args, self.elsewhere if manner == "elsewhere" else self.ledger)
            if manner == "twice":
                self._must_come_of(name, args, self.ledger)
        self.ledger.meanwhile = None
        self.check()
        self.own_acts += 1
        if self.own_acts % LOOK_EVERY == 0:
            Runner(self.engine, PROJECTIONS).catch_up()

    def _must_come_of(self, name: str, args: tuple[Any, ...], ledger: DisturbedLedger) -> None:
        """The model is told afterwards: another process may have done it in between."""
        self.mark = self._position()
        came: Outcome
        try:
            self._tell(name, args, ledger)
        except DecisionRefusedError:
            came = "refused"
        except FactConflictError:
            came = "conflict"
        else:
            came = "done" if self._position() > self.mark else "same"
        self.mark = self._position()
        expected = self._expected(name, args)
        type(self).outcomes[expected] += 1
        assert came == expected, f"{name}{args} was {came}, and should have been {expected}"

    def _kill(self, name: str, args: tuple[Any, ...]) -> None:
        before = self._position()
        self.ledger.meanwhile = killed
        try:
            self._tell(name, args, self.ledger)
        except KilledError:
            pass  # what it was about to write is lost with it
        except DecisionRefusedError:
            assert self._expected(name, args) == "refused"
        else:
            msg = f"{name}{args} went on after its process was killed"
            raise AssertionError(msg)
        assert self._position() == before, f"{name}{args} left something, though it was killed"
        self._restart()

    def _tell(self, name: str, args: tuple[Any, ...], ledger: DisturbedLedger) -> None:
        if name == "close":
            args = (*args, OPENED_AT)
        elif name == "give":
            known = self.payments.known.get(*args)
            args = (*args, FEE_RAO if known is None else known.amount_rao)
        getattr(desk, name)(ledger, *args)

    def _expected(self, name: str, args: tuple[Any, ...]) -> Outcome:
        """What the model makes of it."""
        step, details = name, args
        model: Any = self.money
        if name == "rental":
            model, step, details = self.machines, args[0], args[1:]
        elif name == "bill":
            model = self.machines
        elif hasattr(self.payments, name):
            model = self.payments
        elif name == "buyback":
            model, step, details = self.buybacks, args[0], args[1:]
        elif name == "plan":
            model = self.buybacks
        outcome: Outcome = getattr(model, step)(*details)
        return outcome

    def _is_accepted(self, number: int, submission: int, _: str) -> bool:
        """Whether the payment served that submission already. A submission is accepted once: that
        is the submission's own rule, and a payment relies on it."""
        payment = self.payments.known.get(number)
        return payment is not None and submission in payment.used_by

    @invariant()
    def counts(self) -> None:
        """After every step: count it, if anything was done in it."""
        if self.own_acts > self.counted:
            self.counted = self.own_acts
            type(self).steps += 1

    # -- what must hold ---------------------------------------------------------------------

    def check(self) -> None:
        """The journal holds what the model predicts, and each asset's postings sum to zero."""
        self.journal.catch_up()
        left = self.reading.execute(LEFT).fetchall()
        assert not any(amount for _, amount in left), f"postings leave {left}"
        held = {(account, asset): amount for account, asset, amount in self.reading.execute(HELD)}
        assert held == self.money.held()

    def check_once_each(self) -> None:
        """What is unclaimed or owed again is what single payments say, none of them twice."""
        payments = self.payments.known.values()
        unclaimed = sum(
            one.amount_rao
            for one in payments
            if not (one.given or one.refunded or one.taken_by is not None)
        )
        owed_again = sum(one.taken_by is not None and one.credit_of is not None for one in payments)
        held = self.money.balances
        assert held[UNCLAIMED, TAO] == -unclaimed
        assert held[CREDITS, TAO] == -FEE_RAO * owed_again
        seen = self.reading.execute(STATUSES).fetchall()
        assert Counter(dict(seen)) == Counter(one.status for one in payments)

    def check_views(self) -> None:
        """Views that were folded step by step are those that are made anew, row by row."""
        Runner(self.engine, PROJECTIONS).catch_up()
        step_by_step = self._rows()
        rebuild(self.engine, PROJECTIONS)
        assert self._rows() == step_by_step

    def teardown(self) -> None:
        """At the end of every example."""
        try:
            self.check_views()
            self.check_once_each()
            self.check()
        finally:
            self.reading.close()
            self.engine.dispose()
            self.other.dispose()
            self.folder.cleanup()

    # -- inside -----------------------------------------------------------------------------

    def _rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return {name: self.reading.execute(every).fetchall() for name, every in EVERY_ROW.items()}

    def _restart(self) -> None:
        self.engine.dispose()
        self.engine = self._opened()
        self.ledger = DisturbedLedger(self.engine, ARENA)
        self.journal = Runner(self.engine, [JournalProjection()])

    def _opened(self) -> Engine:
        """A process's own view of the database: it shares nothing with the others."""
        return careless(open_engine(f"sqlite:///{self.path}"))

    def _position(self) -> int:
        (position,) = self.reading.execute("SELECT position FROM logs").fetchone()
        return int(position)
