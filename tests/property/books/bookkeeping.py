"""Anything that moves money, in any order, told to the ledger and to a model beside it.

Every step is drawn: what happens, and how — plainly, twice, by another process, in a process that
is killed before it commits, in one that another overtakes, after a restart. After each the journal
must hold what the model predicts, and every asset's postings must sum to zero.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID, uuid5

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Engine

from ledger.commands.arena import open_arena
from ledger.decisions.base import DecisionRefusedError
from ledger.keys import NAMESPACE
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
from tests.property.books.money import (
    ALPHA,
    CREDITS,
    FEE_RAO,
    TAO,
    UNCLAIMED,
    USD,
    Money,
    Outcome,
)
from tests.property.test_views_of_a_season import rows
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
LEFT: Final = "SELECT asset, SUM(amount) FROM journal_postings GROUP BY asset"

few = st.integers(min_value=1, max_value=6)
amounts = st.integers(min_value=1, max_value=10**9)
providers = st.sampled_from(("targon", "lium"))
hotkeys = st.sampled_from(("A", "B"))
references = st.sampled_from(tuple(f"x{number}" for number in range(1, 13)))
CONTESTS: Final = tuple(uuid5(NAMESPACE, f"contest {number}") for number in (1, 2, 3))
contests = st.sampled_from(CONTESTS)
rentals = st.integers(min_value=1, max_value=5)
moments = st.integers(min_value=0, max_value=240)
IN_USE: Final = ("begin", "leave", "reprice")
prices = st.sampled_from((0, 1, 3_600, 7_200_001, 36_000_000))
billings = st.sampled_from(
    tuple(
        (step_s, coin, settlement)
        for step_s, coin in ((1, 1), (60, 1), (60, 10_000), (7, 13))
        for settlement in ("prepaid", "payable")
    )
)
paid_amounts = st.sampled_from((FEE_RAO, FEE_RAO, FEE_RAO + 7, FEE_RAO - 1))

Action = tuple[str, tuple[Any, ...]]


class Books(RuleBasedStateMachine):
    """The machine. Over all its examples it counts its steps, how they happened, what came.

    A step is a rule that hypothesis drew and that did something; what it did is one act or some.
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
        self.machines = Machines(self.money)
        self.buybacks = Buybacks(self.money)
        self.acted: list[Action] = []
        self.submissions = self.own_acts = self.counted = 0
        self.mark = 0

    # -- what happens -----------------------------------------------------------------------

    @rule(manner=st.sampled_from(MANNERS), place=few, fee=few)
    def fee(self, manner: str, place: int, fee: int) -> None:
        self.act(manner, "see_fee", place, fee)

    @rule(
        manner=st.sampled_from(MANNERS),
        place=few,
        how=st.sampled_from(("incentive", "dividends", "owner_cut")),
        alpha=few,
    )
    def earned(self, manner: str, place: int, how: str, alpha: int) -> None:
        self.act(manner, "see_earned", place, how, alpha)

    @rule(
        manner=st.sampled_from(MANNERS),
        kind=st.sampled_from(("price", "balance", "transfer", "burn", "epoch")),
        place=few,
        amount=few,
    )
    def outside(self, manner: str, kind: str, place: int, amount: int) -> None:
        self.act(manner, "see_nothing_moved", kind, place, amount)

    @rule(
        manner=st.sampled_from(MANNERS),
        deposits=st.lists(paid_amounts, max_size=3),
        fees=st.lists(few, max_size=2),
    )
    def block(self, manner: str, deposits: list[int], fees: list[int]) -> None:
        self.act(manner, "block", self.money.head + 1, tuple(deposits), tuple(fees))

    @rule(manner=st.sampled_from(MANNERS), back=st.integers(min_value=-1, max_value=3))
    def close(self, manner: str, back: int) -> None:
        self.act(manner, "close", self.money.head - back)

    @rule(manner=st.sampled_from(MANNERS), number=few, amount=paid_amounts)
    def payment(self, manner: str, number: int, amount: int) -> None:
        self.act(manner, "see_payment", number, amount)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30), hotkey=hotkeys)
    def consume(self, manner: str, place: int, hotkey: str) -> None:
        self.submissions += 1
        self.act(manner, "consume", self._payment(place), self.submissions, hotkey)

    @rule(
        manner=st.sampled_from(MANNERS), place=st.integers(0, 30), hotkey=hotkeys, odd=st.booleans()
    )
    def credit(self, manner: str, place: int, hotkey: str, odd: bool) -> None:
        number = self._payment(place)
        payment = self.money.payments.get(number)
        taken_by = payment.taken_by if payment else None
        submission = 1 if taken_by is None or (odd and place % 3 == 0) else taken_by
        self.act(manner, "credit", number, submission, hotkey)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30))
    def refund(self, manner: str, place: int) -> None:
        self.act(manner, "refund", self._payment(place))

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30))
    def expire(self, manner: str, place: int) -> None:
        self.act(manner, "expire", self._payment(place))

    @rule(
        manner=st.sampled_from(MANNERS),
        place=st.integers(0, 30),
        step=st.sampled_from(("ask", "refuse", "decide")),
    )
    def claim(self, manner: str, place: int, step: str) -> None:
        self.act(manner, "claim", self._payment(place), step)

    @rule(
        manner=st.sampled_from(MANNERS),
        reference=references,
        rao=st.integers(0, 1_000),
        usd=st.integers(1, 3),
        provider=providers,
    )
    def convert(self, manner: str, reference: str, rao: int, usd: int, provider: str) -> None:
        self.act(manner, "convert", reference, rao, usd, provider)

    @rule(manner=st.sampled_from(MANNERS), reference=references, usd=few, provider=providers)
    def contribute(self, manner: str, reference: str, usd: int, provider: str) -> None:
        self.act(manner, "contribute_dollars", reference, usd, provider)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30))
    def give(self, manner: str, place: int) -> None:
        number = self._payment(place)
        self.act(manner, "contribute_payment", f"gift {number}", number)

    @rule(
        manner=st.sampled_from(MANNERS),
        reference=references,
        asset=st.sampled_from((TAO, USD, ALPHA)),
        amount=st.integers(-3, 3),
        provider=providers,
    )
    def adjust(self, manner: str, reference: str, asset: str, amount: int, provider: str) -> None:
        self.act(manner, "adjust", reference, asset, amount, provider)

    @rule(
        manner=st.sampled_from(MANNERS),
        reference=references,
        provider=providers,
        paid_from=providers,
        usd=st.integers(0, 3),
    )
    def pay(self, manner: str, reference: str, provider: str, paid_from: str, usd: int) -> None:
        self.act(manner, "pay", reference, provider, paid_from, usd)

    @rule(
        manner=st.sampled_from(MANNERS),
        reference=references,
        how=st.sampled_from(("burned", "recycled")),
        alpha=st.integers(0, 3),
    )
    def destroy(self, manner: str, reference: str, how: str, alpha: int) -> None:
        self.act(manner, "destroy", reference, how, alpha)

    @rule(
        manner=st.sampled_from(MANNERS), request=few, max_rao=st.sampled_from((0, 90, 90, 90, 91))
    )
    def plan(self, manner: str, request: int, max_rao: int) -> None:
        self.act(manner, "plan", f"r{request}", max_rao)

    @rule(
        manner=st.sampled_from(MANNERS),
        place=st.integers(0, 30),
        step=st.sampled_from(
            ("approve", "send", "execute", "buy", "send_burn", "fail_burn", "burn", "fail")
        ),
        found=references,
        rao=st.integers(0, 95),
        alpha=few,
    )
    def buyback(self, manner: str, place: int, step: str, found: str, rao: int, alpha: int) -> None:
        """Any step of any buyback, in or out of turn; also of some that there are not."""
        number = place % (len(self.buybacks.known) + 2)
        self.act(
            manner, "buyback", step, number, *self._of_buyback(step, number, found, rao, alpha)
        )

    @rule(
        manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=5),
        place=st.integers(0, 30),
        found=references,
        rao=st.integers(1, 90),
        alpha=few,
    )
    def go_on_buying(
        self, manners: list[str], place: int, found: str, rao: int, alpha: int
    ) -> None:
        """What comes next of a buyback, some steps far."""
        if not self.buybacks.known:
            self.act("plainly", "plan", "r1", 90)
        number = 1 + place % len(self.buybacks.known)
        for manner in manners:
            step = self.buybacks.known[number].next_step(number % 2 == 0)
            details = self._of_buyback(step, number, found, rao, alpha)
            self.act(manner, "buyback", step, number, *details)

    def _of_buyback(
        self, step: str, number: int, found: str, rao: int, alpha: int
    ) -> tuple[Any, ...]:
        known = self.buybacks.known.get(number)
        if step == "approve":
            return ("one" if rao % 7 == 3 else "two",)
        if step == "send":
            return (rao,)
        if step in ("execute", "buy"):
            return (found, rao, alpha)
        if step == "burn":
            return (found, known.bought if known and known.bought else alpha)
        return ()

    @rule(
        manner=st.sampled_from(MANNERS),
        number=rentals,
        provider=providers,
        asked_for=st.none() | contests,
    )
    def ask(self, manner: str, number: int, provider: str, asked_for: UUID | None) -> None:
        self.act(manner, "rental", "request", number, provider, asked_for)

    @rule(
        manner=st.sampled_from(MANNERS),
        number=rentals,
        step=st.sampled_from(
            (*IN_USE, *IN_USE, "refuse", "start", "stop", "end", "book", "accept_bill")
        ),
        at=moments,
        price=prices,
        billing=billings,
        contest=contests,
    )
    def rent(
        self,
        manner: str,
        number: int,
        step: str,
        at: int,
        price: int,
        billing: tuple[int, int, str],
        contest: UUID,
    ) -> None:
        """Any step of any rental, in or out of turn."""
        details = self._of_rental(step, at, price, billing, contest)
        self.act(manner, "rental", step, number, *details)

    @rule(
        manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=6),
        number=rentals,
        at=moments,
        price=prices,
        billing=billings,
    )
    def go_on_renting(
        self, manners: list[str], number: int, at: int, price: int, billing: tuple[int, int, str]
    ) -> None:
        """What comes next of a rental, some steps far."""
        for manner in manners:
            known = self.machines.known.get(number)
            step = known.next_step() if known else "request"
            if step == "request":
                self.act(manner, "rental", step, number, self._provider(number), None)
            elif step == "bill":
                self._bill(manner, number, "inv", "a", price)
            else:
                details = self._of_rental(step, at, price, billing, CONTESTS[0])
                self.act(manner, "rental", step, number, *details)

    @staticmethod
    def _of_rental(
        step: str, at: int, price: int, billing: tuple[int, int, str], contest: UUID
    ) -> tuple[Any, ...]:
        details: dict[str, tuple[Any, ...]] = {
            "start": (at, price, *billing),
            "reprice": (price, at),
            "begin": (contest, at),
            "leave": (contest, at),
            "end": (at + 60,),
        }
        return details.get(step, ())

    @rule(
        manner=st.sampled_from(MANNERS),
        number=rentals,
        invoice=st.sampled_from(("inv", "later")),
        line=st.sampled_from(("a", "b")),
        billed=st.sampled_from((0, 5, 5, 5, 36_000)),
    )
    def bill(self, manner: str, number: int, invoice: str, line: str, billed: int) -> None:
        self._bill(manner, number, invoice, line, billed)

    def _bill(self, manner: str, number: int, invoice: str, line: str, billed: int) -> None:
        provider = self._provider(number)
        self.act(manner, "bill", number, invoice, f"{number}{line}", billed, provider)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 1_000))
    def again(self, manner: str, place: int) -> None:
        """Something that happened before is told once more, however long ago it was."""
        if self.acted:
            name, args = self.acted[place % len(self.acted)]
            self.act(manner, name, *args)

    # -- how it happens ---------------------------------------------------------------------

    def act(self, manner: str, name: str, *args: Any) -> None:
        """Let it happen to the ledger in that manner, and hold what came of it to the model."""
        if not self._may(name, args):
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
        elif name == "contribute_payment":
            args = (*args, self.money.payments[args[1]].amount_rao)
        getattr(desk, name)(ledger, *args)

    def _expected(self, name: str, args: tuple[Any, ...]) -> Outcome:
        """What the model makes of it."""
        step, details = name, args
        model: Any = self.money
        if name == "rental":
            model, step, details = self.machines, args[0], args[1:]
        elif name == "bill":
            model = self.machines
        elif name == "buyback":
            model, step, details = self.buybacks, args[0], args[1:]
        elif name == "plan":
            model = self.buybacks
        outcome: Outcome = getattr(model, step)(*details)
        return outcome

    def _may(self, name: str, args: tuple[Any, ...]) -> bool:
        """What only whoever calls the aggregates knows, and never lets happen."""
        if name not in ("consume", "refund", "contribute_payment"):
            return True
        payment = self.money.payments.get(args[1] if name == "contribute_payment" else args[0])
        if payment is None:
            return name != "contribute_payment"
        if name == "contribute_payment":
            return payment.given or (payment.taken_by is None and not payment.refunded)
        if payment.given:
            return False
        if name == "refund":
            return True
        # Less than the fee is refused by R5, and a submission is accepted once.
        return payment.amount_rao >= FEE_RAO and args[1] not in payment.used_by

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
        payments = self.money.payments.values()
        unclaimed = sum(
            one.amount_rao
            for one in payments
            if not (one.given or one.refunded or one.taken_by is not None)
        )
        held = self.money.balances
        assert held[UNCLAIMED, TAO] == -unclaimed
        assert held[CREDITS, TAO] == -FEE_RAO * sum(one.credit_of is not None for one in payments)
        seen = self.reading.execute("SELECT COUNT(*) FROM treasury_payments WHERE until IS NULL")
        assert seen.fetchone() == (len(payments),)

    def check_views(self) -> None:
        """Views that were folded step by step are those that are made anew, row by row."""
        Runner(self.engine, PROJECTIONS).catch_up()
        step_by_step = rows(self.engine)
        rebuild(self.engine, PROJECTIONS)
        assert rows(self.engine) == step_by_step

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

    def _payment(self, place: int) -> int:
        """One that was seen, or the sixth, which may not be."""
        known = [*self.money.payments, 6]
        return known[place % len(known)]

    @staticmethod
    def _provider(number: int) -> str:
        return "targon" if number % 2 else "lium"
