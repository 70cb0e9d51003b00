"""What a rented machine must cost, counted second by second, and who must bear it (DOMAIN 3)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from tests.property.books.money import USD, Money, Outcome, owed, prepaid

EXPENSE: Final = "expenses:gpu_rental"


@dataclass
class Machine:
    """One rental as we know it. Times are Unix seconds, dollars millionths."""

    provider: str
    asked_for: UUID | None
    """The contest it was asked for."""
    refused: bool = False
    created: bool = False
    started_at: int | None = None
    prices: list[tuple[int, int]] = field(default_factory=list)
    step_s: int = 1
    coin: int = 1
    settlement: str = "prepaid"
    contest: tuple[UUID, int] | None = None
    used: list[tuple[UUID, int, int]] = field(default_factory=list)
    asked_to_stop: bool = False
    ended_at: int | None = None
    cost: int | None = None
    bills: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Started, and not ended."""
        return self.started_at is not None and self.ended_at is None

    @property
    def source(self) -> str:
        """Where its money comes from."""
        return (prepaid if self.settlement == "prepaid" else owed)(self.provider)

    def next_step(self) -> str:
        """What comes next where everything goes well."""
        if self.started_at is None:
            return "start"
        if self.ended_at is None:
            return "end"
        if self.cost is None:
            return "book"
        return "accept_bill" if self.bills else "bill"


class Machines:
    """All rentals by number, over the same :class:`Money`."""

    def __init__(self, money: Money) -> None:
        self.money = money
        self.known: dict[int, Machine] = {}

    def request(self, number: int, provider: str, asked_for: UUID | None) -> Outcome:
        """Before the call."""
        if number in self.known:
            return "same"
        self.known[number] = Machine(provider, asked_for)
        return "done"

    def refuse(self, number: int) -> Outcome:
        """The provider had none, as far as we know."""
        machine = self.known.get(number)
        if machine is None or machine.created:
            return "refused"
        before, machine.refused = machine.refused, True
        return "same" if before else "done"

    def create(self, number: int) -> Outcome:
        """There is a machine, also where there seemed to be none; nothing is metered yet."""
        machine = self.known.get(number)
        if machine is None:
            return "refused"
        if machine.created:
            return "same"
        machine.created, machine.refused = True, False
        return "done"

    def start(
        self, number: int, at: int, price: int, step_s: int, coin: int, settlement: str
    ) -> Outcome:
        """The meter runs; also of one that the provider seemed to have refused."""
        machine = self.known.get(number)
        if machine is None:
            return "refused"
        if machine.started_at is not None:
            return "same"
        machine.created, machine.refused = True, False
        machine.started_at, machine.prices = at, [(at, price)]
        machine.step_s, machine.coin, machine.settlement = step_s, coin, settlement
        return "done"

    def reprice(self, number: int, price: int, at: int) -> Outcome:
        """Another price from then on, or from the last change on where that was later."""
        machine = self.known.get(number)
        if machine is None or not machine.runs:
            return "refused"
        since, before = machine.prices[-1]
        if before == price:
            return "same"
        machine.prices.append((max(at, since), price))
        return "done"

    def begin(self, number: int, contest: UUID, at: int) -> Outcome:
        """One contest at a time, and none any more on a machine that was asked to stop."""
        machine = self.known.get(number)
        if machine is None or not machine.runs:
            return "refused"
        if machine.contest is not None:
            return "same" if machine.contest[0] == contest else "refused"
        if machine.asked_to_stop:
            return "refused"
        free = max([machine.started_at or 0, *(until for _, _, until in machine.used)])
        machine.contest = (contest, max(at, free))
        return "done"

    def leave(self, number: int, contest: UUID, at: int) -> Outcome:
        """The contest is done with it."""
        machine = self.known.get(number)
        if machine is None or machine.contest is None or machine.contest[0] != contest:
            return "same"
        since = machine.contest[1]
        machine.used.append((contest, since, max(at, since)))
        machine.contest = None
        return "done"

    def stop(self, number: int) -> Outcome:
        """Every try to stop it is a fact, also of one that is listed though it ended."""
        machine = self.known.get(number)
        if machine is None:
            return "refused"
        machine.asked_to_stop = True
        return "done"

    def end(self, number: int, at: int) -> Outcome:
        """It is gone, also where nobody stated its price; a contest that had it is done with it."""
        machine = self.known.get(number)
        if machine is None or not machine.created:
            return "refused"
        if machine.ended_at is not None:
            return "same"
        if at < (machine.started_at or 0):
            return "refused"
        if machine.contest is not None:
            self.leave(number, machine.contest[0], at)
        machine.ended_at = at
        return "done"

    def book(self, number: int) -> Outcome:
        """Its cost, once."""
        machine = self.known.get(number)
        if machine is None or machine.started_at is None or machine.ended_at is None:
            return "refused"
        if machine.cost is not None:
            return "same"
        machine.cost = cost = cost_of(machine)
        for contest, part in borne(machine, cost).items():
            self.money.move(USD, part, source=machine.source, target=contest)
        return "done"

    def bill(self, number: int, invoice: str, line: str, billed: int, provider: str) -> Outcome:
        """A line of an invoice, matched to the machine where that is one of ours."""
        seen = self.money.observe(f"invoice {provider} {invoice} {line}", number, billed)
        machine = self.known.get(number)
        if seen == "conflict" or machine is None:
            return seen
        known = machine.bills.get((invoice, line))
        machine.bills[invoice, line] = billed
        return seen if known == billed else "done"

    def accept_bill(self, number: int) -> Outcome:
        """What was billed is what it cost; the difference is no contest's."""
        machine = self.known.get(number)
        if machine is None or machine.cost is None or not machine.bills:
            return "refused"
        difference = sum(machine.bills.values()) - machine.cost
        if not difference:
            return "same"
        machine.cost += difference
        self.money.move(USD, difference, source=machine.source, target=EXPENSE)
        return "done"


def cost_of(machine: Machine) -> int:
    """Every begun second at its price, in whole steps and coins."""
    assert machine.started_at is not None
    assert machine.ended_at is not None
    start, end = machine.started_at, machine.ended_at
    billed = end - start
    while billed % machine.step_s:
        billed += 1
    known = [(since, price) for since, price in machine.prices if since <= end]
    total = 0  # millionths times seconds
    for second in range(start, start + billed):
        total += [price for since, price in known if since <= second][-1]
    coins = 0
    while coins * machine.coin * 3_600 < total:
        coins += 1
    return coins * machine.coin


def borne(machine: Machine, cost: int) -> dict[str, int]:
    """By account of expense: each contest its seconds' part, rounded down; the rest nobody's."""
    assert machine.started_at is not None
    assert machine.ended_at is not None
    if not machine.used and machine.asked_for is not None:
        return {f"{EXPENSE}:{machine.asked_for}": cost}
    seconds = Counter(
        contest
        for contest, since, until in machine.used
        for second in range(since, until)
        if second < machine.ended_at
    )
    whole = machine.ended_at - machine.started_at
    parts = {f"{EXPENSE}:{contest}": cost * own // whole for contest, own in seconds.items()}
    parts[EXPENSE] = cost - sum(parts.values())
    return parts
