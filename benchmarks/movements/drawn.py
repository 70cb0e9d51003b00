"""A treasury's movements, drawn: payments, credits, conversions, rentals, bills, buybacks, alpha.

Every movement is one fact that moves money. The facts come from the aggregates themselves, so that
keys and versions are what the program would record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Final

from benchmarks.year.memory import LedgerInMemory
from benchmarks.year.mix import ARENA, PROVIDER, RENTAL_USD_MICROS_PER_HOUR
from benchmarks.year.world import block_hash, made_hash
from chain.simulated.accounts import account
from ledger.application import Unit
from ledger.books.postings import MONEY_FACTS
from ledger.decisions.payment import Payment
from ledger.decisions.rental import Rental
from ledger.decisions.treasury import Treasury
from ledger.facts import Fact
from ledger.keys import natural_id, payment_id, treasury_id
from ledger.observations import AlphaEarned, NetworkFeeSeen
from ledger.policies import load
from ledger.policy import parse_policy_toml
from ledger.units import ALPHA_UNITS_PER_ALPHA, RAO_PER_TAO

SEED: Final = 14
OPENED_AT: Final = 1
FEE_RAO: Final = 100_000_000
USD_MICROS_PER_TAO: Final = 300_000_000
RAO_PER_ALPHA: Final = 25_000_000
_TREASURY: Final = account("treasury")
_SENDERS: Final = 256
_BILLS_LATER: Final = "lium"
"""A provider that is owed, beside the one that is paid in advance."""

MIX: Final = {
    "_pay": 44,
    "_network_fee": 6,
    "_earn": 4,
    "_rent": 3,
    "_convert": 2,
    "_credit": 1,
    "_settle": 1,
    "_buy_back": 1,
    "_destroy": 1,
    "_contribute": 1,
    "_adjust": 1,
    "_refund": 1,
}
"""How often each happens, of their sum; a payment is two movements, seen and consumed, one that
earns a credit is four, and a rental is two where the bill differs from the meter."""
_CONTESTS: Final = 500
"""So many contests share the rentals, each with an account of its own."""


def movements(amount: int, seed: int = SEED) -> tuple[list[Fact], Iterator[Fact]]:
    """The facts that open the arena, and those that move money so many times.

    Among the latter are those that a movement rests on and that move nothing themselves: a rental's
    start, a buyback's approval.
    """
    drawn = _Drawn(seed)
    opening = drawn.opening()
    return opening, _until(drawn, amount)


def _until(drawn: _Drawn, amount: int) -> Iterator[Fact]:
    moved = 0
    while moved < amount:
        for fact in drawn.next():
            if moved == amount:
                return
            moved += type(fact) in MONEY_FACTS
            yield fact


class _Drawn:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  drawn movements, not a secret
        self._ledger = LedgerInMemory(ARENA)
        self._numbers = count(1)
        self._senders = [account(f"sender-{number}") for number in range(_SENDERS)]

    def opening(self) -> list[Fact]:
        """The arena opens; all that follows happens at its first block."""
        policy = parse_policy_toml(load("phase3"))
        self._ledger.decide(
            lambda unit: unit.arena.open(
                unit.context, "movements", policy, "bench", at_block=OPENED_AT
            ),
            opening_at=OPENED_AT,
        )
        return self._ledger.taken()

    def next(self) -> list[Fact]:
        """The facts of one more happening."""
        (name,) = self._random.choices(list(MIX), list(MIX.values()))
        happen: Callable[[Unit, int], None] = getattr(self, name)
        number = next(self._numbers)
        self._ledger.decide(lambda unit: happen(unit, number))
        return self._ledger.taken()

    def _see(self, unit: Unit, number: int, amount_rao: int) -> Payment:
        payment = unit.get(Payment, payment_id(ARENA.genesis, block_hash(number), 1))
        payment.see(
            unit.context,
            f"payment:{ARENA.genesis}:{block_hash(number)}:1",
            block=number,
            block_hash=block_hash(number),
            extrinsic_index=1,
            extrinsic_hash=made_hash("payment", number),
            sender=self._random.choice(self._senders),
            treasury=_TREASURY,
            amount_rao=amount_rao,
            outer_call="Utility.batch_all",
            remarks=(),
        )
        self._ledger.forget([payment.id])
        return payment

    def _pay(self, unit: Unit, number: int) -> None:
        overpaid = self._random.choice([0, 0, 0, self._random.randrange(FEE_RAO)])
        payment = self._see(unit, number, FEE_RAO + overpaid)
        hotkey = self._random.choice(self._senders)
        payment.consume(unit.context, natural_id("submission", number), hotkey, FEE_RAO)

    def _credit(self, unit: Unit, number: int) -> None:
        """The infrastructure fails a submission, and the same hotkey submits again."""
        payment = self._see(unit, number, FEE_RAO)
        hotkey = self._random.choice(self._senders)
        failed = natural_id("submission", number)
        payment.consume(unit.context, failed, hotkey, FEE_RAO)
        payment.credit(unit.context, failed, hotkey, "pull_failed")
        payment.consume(unit.context, natural_id("resubmission", number), hotkey, FEE_RAO)

    def _refund(self, unit: Unit, number: int) -> None:
        payment = self._see(unit, number, self._random.randrange(1, FEE_RAO))
        sent = made_hash("refund", number)
        payment.decide_refund(unit.context, "bench", "nobody claimed it")
        payment.refund(unit.context, number, sent, f"out:{ARENA}:{sent}:0")

    def _network_fee(self, unit: Unit, number: int) -> None:
        unit.observe(
            NetworkFeeSeen,
            f"fee:{ARENA}:{block_hash(number)}:1",
            block=number,
            block_hash=block_hash(number),
            extrinsic_index=1,
            payer=_TREASURY,
            fee_rao=self._random.randrange(100_000, 200_000),
        )

    def _earn(self, unit: Unit, number: int) -> None:
        how = self._random.choice(["owner_cut", "owner_cut", "incentive", "dividends"])
        unit.observe(
            AlphaEarned,
            f"alpha-earned:{ARENA}:{number}:{how}",
            block=number,
            block_hash=block_hash(number),
            coldkey=_TREASURY,
            how=how,
            alpha=self._random.randrange(1, 100 * ALPHA_UNITS_PER_ALPHA),
        )

    def _destroy(self, unit: Unit, number: int) -> None:
        self._book(
            unit,
            "destroy_alpha",
            number,
            how=self._random.choice(["burned", "recycled"]),
            alpha=self._random.randrange(1, ALPHA_UNITS_PER_ALPHA),
            netuid=ARENA.netuid,
            reason="drawn",
        )

    def _settle(self, unit: Unit, number: int) -> None:
        self._book(
            unit,
            "pay",
            number,
            provider=_BILLS_LATER,
            paid_from=PROVIDER,
            usd_micros=self._random.randrange(1, 500_000_000),
            invoice=f"inv-{number}",
        )

    def _adjust(self, unit: Unit, number: int) -> None:
        self._book(
            unit,
            "adjust",
            number,
            asset=self._random.choice(["TAO", "USD", "ALPHA"]),
            amount=self._random.randrange(-1_000_000, 1_000_000) or 1,
            provider=PROVIDER,
            reason="drawn",
        )

    def _convert(self, unit: Unit, number: int) -> None:
        sold = self._random.randrange(RAO_PER_TAO, 3 * RAO_PER_TAO)
        self._book(
            unit,
            "convert",
            number,
            sold_rao=sold,
            bought_usd_micros=sold * USD_MICROS_PER_TAO // RAO_PER_TAO,
            usd_micros_per_tao=USD_MICROS_PER_TAO,
            provider=PROVIDER,
            source="exchange",
        )

    def _contribute(self, unit: Unit, number: int) -> None:
        dollars = self._random.random() < 0.5
        self._book(
            unit,
            "contribute",
            number,
            asset="USD" if dollars else "TAO",
            amount=self._random.randrange(1, 500_000_000),
            provider=PROVIDER if dollars else None,
            contributor="somebody",
        )

    def _book(self, unit: Unit, booking: str, number: int, /, **content: Any) -> None:
        treasury = unit.get(Treasury, treasury_id(ARENA))
        reference = made_hash(booking, number)
        book = getattr(treasury, booking)
        book(unit.context, reference=reference, about_block=number, actor="bench", **content)

    def _rent(self, unit: Unit, number: int) -> None:
        """A machine serves two contests and stands idle in between; some bills are corrected."""
        rental = unit.get(Rental, natural_id("rental", number))
        price = RENTAL_USD_MICROS_PER_HOUR
        later = self._random.random() < 0.5
        rental.request(
            unit.context,
            provider=_BILLS_LATER if later else PROVIDER,
            tier="8xH200",
            max_usd_micros_per_hour=price,
            contest_id=None,
        )
        started = number * 12
        ended = started + self._random.randrange(600, 7_200)
        rental.start(
            unit.context,
            instance=f"pod-{number}",
            usd_micros_per_hour=price,
            started_at_s=started,
            step_s=60,
            step_usd_micros=10_000,
            settlement="payable" if later else "prepaid",
        )
        for place, (began, done) in enumerate(((100, 300), (400, 600))):
            contest = natural_id("contest", (number + place) % _CONTESTS)
            rental.begin_contest(unit.context, contest, started + began)
            rental.end_contest(unit.context, contest, started + done)
        rental.end(unit.context, ended, "done")
        rental.book_cost(unit.context, number)
        if self._random.random() < 0.5 and rental.cost is not None:
            billed = rental.cost.cost_usd_micros + self._random.randrange(1, 1_000_000)
            rental.match_invoice(unit.context, "inv", str(number), billed)
            rental.accept_bill(unit.context, "as billed", "bench", number)
        self._ledger.forget([rental.id])

    def _buy_back(self, unit: Unit, number: int) -> None:
        treasury = unit.get(Treasury, treasury_id(ARENA))
        amount = self._random.randrange(RAO_PER_TAO, 10 * RAO_PER_TAO)
        planned = treasury.plan_buyback(unit.context, amount, RAO_PER_ALPHA, "one").number
        treasury.approve_buyback(unit.context, planned, "two")
        treasury.send_buyback(unit.context, planned, amount, planned)
        treasury.execute_buyback(
            unit.context,
            planned,
            block=number,
            block_hash=block_hash(number),
            extrinsic_index=1,
            extrinsic_hash=made_hash("burn", number),
            netuid=ARENA.netuid,
            spent_rao=amount,
            burned_alpha=amount * ALPHA_UNITS_PER_ALPHA // RAO_PER_ALPHA,
            about_block=number,
        )
