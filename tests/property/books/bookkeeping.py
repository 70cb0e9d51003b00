"""Anything that moves money, in any order, told to the ledger and to a model beside it.

Every step is drawn: what happens, and how (:mod:`~tests.property.books.telling`). After each the
journal must hold what the model predicts, and every asset's postings must sum to zero.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid5

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ledger.keys import NAMESPACE
from tests.property.books.money import ALPHA, FEE_RAO, TAO, USD
from tests.property.books.paying import SENDER
from tests.property.books.telling import MANNERS, Told

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


class Books(Told):
    """The machine's rules: everything that can happen."""

    def __init__(self) -> None:
        super().__init__()
        self.submissions = 0

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
        payment = self.payments.known.get(number)
        taken_by = payment.taken_by if payment else None
        submission = 1 if taken_by is None or (odd and place % 3 == 0) else taken_by
        self.act(manner, "credit", number, submission, hotkey)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30), transfer=few)
    def refund(self, manner: str, place: int, transfer: int) -> None:
        """It went back, whether that was decided or not."""
        self.act(manner, "refund", self._payment(place), transfer)

    @rule(
        manners=st.lists(st.sampled_from(MANNERS), min_size=2, max_size=2),
        place=st.integers(0, 30),
        transfer=st.integers(1, 30),
    )
    def decide_and_refund(self, manners: list[str], place: int, transfer: int) -> None:
        """It is decided that it goes back, and it does."""
        number = self._payment(place)
        self.act(manners[0], "decide_refund", number)
        self.act(manners[1], "refund", number, transfer)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30), hotkey=hotkeys)
    def give_credit(self, manner: str, place: int, hotkey: str) -> None:
        self.act(manner, "give_credit", self._payment(place), hotkey)

    @rule(manner=st.sampled_from(MANNERS), place=st.integers(0, 30))
    def expire(self, manner: str, place: int) -> None:
        self.act(manner, "expire", self._payment(place))

    @rule(
        manner=st.sampled_from(MANNERS),
        place=st.integers(0, 30),
        claimant=st.sampled_from((SENDER, SENDER, SENDER, "somebody")),
        hotkey=st.none() | hotkeys,
        signed=st.integers(1, 3),
    )
    def claim(
        self, manner: str, place: int, claimant: str, hotkey: str | None, signed: int
    ) -> None:
        signature = f"{hotkey} {signed}"
        self.act(manner, "claim", self._payment(place), claimant, hotkey, signature)

    @rule(
        manner=st.sampled_from(MANNERS),
        place=st.integers(0, 30),
        decision=st.sampled_from(("refuse_claim", "grant_claim")),
    )
    def decide_claim(self, manner: str, place: int, decision: str) -> None:
        claimed = [number for number, known in self.payments.known.items() if known.claim]
        number = claimed[place % len(claimed)] if claimed else self._payment(place)
        self.act(manner, decision, number)

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
        self.act(manner, "give", self._payment(place))

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
            (*IN_USE, *IN_USE, "refuse", "create", "start", "stop", "end", "book", "accept_bill")
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

    # -- inside -----------------------------------------------------------------------------

    def _payment(self, place: int) -> int:
        """One that was seen, or the sixth, which may not be."""
        known = [*self.payments.known, 6]
        return known[place % len(known)]

    @staticmethod
    def _provider(number: int) -> str:
        return "targon" if number % 2 else "lium"
