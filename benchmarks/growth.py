"""What an operation costs after a whole year of events, over what it costs after its first days.

Two databases, one with a hundredth of the other's events; every repetition asks the one and then
the other, so that a noisy machine is as noisy for both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from statistics import median
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, func, select

from benchmarks.measuring import RUN, CannotMeasureError, tell, timed
from benchmarks.registry import Measurement, benchmark
from benchmarks.year import ARENA, OPENED_AT, Year, loaded_year
from benchmarks.year.world import Tick
from ledger.application import Ledger
from ledger.commands.alerts import raise_alert
from ledger.commands.blocks import record_block
from ledger.decisions.arena import Arena
from ledger.decisions.base import Aggregate
from ledger.decisions.contest import Contest, ContestPlanned
from ledger.decisions.payment import Payment, PaymentSeen
from ledger.decisions.rental import Rental, RentalRequested
from ledger.decisions.submission import CommitSeen, Submission
from ledger.decisions.treasury import Treasury
from ledger.facts import Fact
from ledger.keys import arena_id, treasury_id
from ledger.projections.all import PROJECTIONS
from ledger.projections.payouts import accounts, payouts
from ledger.projections.rebuilding import rebuild
from ledger.queries import payout_sums
from ledger.queries import payouts as payout_queries
from ledger.queries.scope import Scope, scope_at
from ledger.queries.weights import vector_view
from ledger.store.logs import LogHead, head_of
from ledger.store.schema import events

SHORTER: Final = 100
REPETITIONS: Final = 200
"""Of each read on each database, in each round."""
APPENDS: Final = 40
"""Fewer, because the shorter log must not grow by much."""
PAGE_LINES: Final = 100

_HIGHEST: Final = 1.5

Operation = Callable[[], float]
"""Does something once; the seconds it took."""


# -- the two databases ----------------------------------------------------------------------------


def _years() -> tuple[Year, Year]:
    """The long log and the short one."""
    return loaded_year(RUN.events), loaded_year(RUN.events // SHORTER)


@lru_cache(maxsize=2)
def _with_views(events_of_it: int) -> Year:
    held = loaded_year(events_of_it)
    tell(f"building the views of {events_of_it:,} events")
    rebuild(held.engine, PROJECTIONS)
    return held


def _years_with_views() -> tuple[Year, Year]:
    return _with_views(RUN.events), _with_views(RUN.events // SHORTER)


def _measured(
    what: str, operations: dict[str, tuple[Operation, Operation]], repetitions: int = REPETITIONS
) -> Measurement:
    """The ratio of the operation that grew most; the note has all of them.

    In each round an operation's cost is the median of its repetitions, and the ratio that counts is
    the median over the rounds.
    """
    ratios: dict[str, list[float]] = {name: [] for name in operations}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in operations}
    for number in range(RUN.rounds + 1):
        for name, (on_long, on_short) in operations.items():
            long_s, short_s = _round(on_long, on_short, repetitions, swapped=bool(number % 2))
            if number:  # the first round only warms up
                ratios[name].append(long_s / short_s)
                costs[name].append((long_s, short_s))
        tell(f"round {number} of {RUN.rounds} of {what}")
    found = {name: median(values) for name, values in ratios.items()}
    told = ", ".join(f"{name} {found[name]:.2f} ({_costs(costs[name])})" for name in operations)
    return Measurement(
        max(found.values()),
        RUN.rounds,
        f"{what} with {RUN.events:,} events over {RUN.events // SHORTER:,}: {told}; the one that "
        f"grew most counts; medians of {RUN.rounds} rounds of {repetitions} interleaved "
        "repetitions",
    )


def _round(
    on_long: Operation, on_short: Operation, repetitions: int, *, swapped: bool
) -> tuple[float, float]:
    long_s: list[float] = []
    short_s: list[float] = []
    for repetition in range(repetitions):
        if swapped ^ bool(repetition % 2):
            short_s.append(on_short())
            long_s.append(on_long())
        else:
            long_s.append(on_long())
            short_s.append(on_short())
    return median(long_s), median(short_s)


def _costs(seconds: list[tuple[float, float]]) -> str:
    long_s, short_s = (median(side) for side in zip(*seconds, strict=True))
    return f"{long_s * 1e6:,.0f} against {short_s * 1e6:,.0f} us"


# -- append ---------------------------------------------------------------------------------------


@benchmark(
    "cost of one durable command at 1,000,000 events over its cost at 10,000",
    goal=_HIGHEST,
    better="lower",
)
def growth_append() -> Measurement:
    """Recording a block, which also asks the arena for its fee policy; and noting an alert."""
    long, short = _years()
    return _measured(
        "a durable append by a running process",
        {
            "a block": (_block_after_block(long), _block_after_block(short)),
            "an alert": (_alert_after_alert(long), _alert_after_alert(short)),
        },
        APPENDS,
    )


def _block_after_block(held: Year) -> Operation:
    ledger = held.ledger()

    def record() -> float:
        facts = Tick(ledger.head().effective_block + 1).facts()
        return timed(lambda: record_block(ledger, facts))

    return record


def _alert_after_alert(held: Year) -> Operation:
    ledger, numbers = held.ledger(), count(1)
    return lambda: timed(lambda: raise_alert(ledger, f"growth-{next(numbers)}", "one more"))


# -- load -----------------------------------------------------------------------------------------


@benchmark(
    "cost of loading an aggregate, with nothing of it in memory, at 1,000,000 events over 10,000",
    goal=_HIGHEST,
    better="lower",
)
def growth_load() -> Measurement:
    """Each kind, as a process that has just started loads it."""
    long, short = _years()
    kinds = (Arena, Treasury, Submission, Payment, Contest, Rental)
    return _measured(
        "loading one aggregate",
        {kind.__name__.lower(): (_load(long, kind), _load(short, kind)) for kind in kinds},
    )


_FIRST_FACTS: Final[dict[type[Aggregate], type[Fact]]] = {
    Submission: CommitSeen,
    Payment: PaymentSeen,
    Contest: ContestPlanned,
    Rental: RentalRequested,
}


def _load(held: Year, kind: type[Aggregate]) -> Operation:
    identity = _identity(held, kind)

    if not held.ledger().load(kind, identity).version:
        raise CannotMeasureError(_missing(held, kind))

    def load() -> float:
        fresh = _forgetful(held)
        return timed(lambda: fresh.load(kind, identity))

    return load


def _forgetful(held: Year) -> Ledger:
    """A ledger that has seen nothing of the database yet.

    What a process remembers hangs on its engine. This one is new, and shares connections and
    compiled statements with the old one: so what is timed is the load, and nothing around it.
    """
    return Ledger(held.engine.execution_options(), ARENA)


def _identity(held: Year, kind: type[Aggregate]) -> UUID:
    """The arena's and its treasury's own; of the others one from the middle of history."""
    if kind is Arena:
        return arena_id(ARENA)
    if kind is Treasury:
        return treasury_id(ARENA)
    query = (
        select(events.c.originator_id)
        .where(events.c.topic == _FIRST_FACTS[kind].topic, events.c.position > held.events // 2)
        .order_by(events.c.position)
        .limit(1)
    )
    with held.engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found is None:
        raise CannotMeasureError(_missing(held, kind))
    return UUID(str(found))


def _missing(held: Year, kind: type[Aggregate]) -> str:
    return f"a year's first {held.events:,} events have no {kind.__name__.lower()}; measure more"


# -- reads at a block -----------------------------------------------------------------------------


@benchmark(
    "cost of the weight vector at a block in the middle of history at 1,000,000 events over 10,000",
    goal=_HIGHEST,
    better="lower",
)
def growth_weights() -> Measurement:
    """What ``weights --at-block`` asks, on an open connection."""
    long, short = _years_with_views()
    with long.engine.connect() as one, short.engine.connect() as other:
        return _measured("the weights in mid-history", {"a vector": (_vector(one), _vector(other))})


def _vector(connection: Connection) -> Operation:
    head = _head(connection)
    middle = (OPENED_AT + head.effective_block) // 2
    return lambda: timed(lambda: vector_view(scope_at(connection, head, middle)))


@benchmark(
    "cost of the statement of one hotkey of 256 at 1,000,000 events, a year, over 10,000",
    goal=_HIGHEST,
    better="lower",
)
def statement_year() -> Measurement:
    """Its sums, by period too, with values in TAO; of all epochs, and of the first half of them."""
    long, short = _years_with_views()
    with long.engine.connect() as one, short.engine.connect() as other:
        on_long, on_short = _statements(one), _statements(other)
        return _measured("a statement", {name: (on_long[name], on_short[name]) for name in on_long})


def _statements(connection: Connection) -> dict[str, Operation]:
    head = _head(connection)
    _, _, hotkey, coldkey = _middle_payout(connection)
    middle = (OPENED_AT + head.effective_block) // 2

    def summed(address: str, within: tuple[int, int] | None = None) -> Operation:
        return lambda: timed(
            lambda: payout_sums.totals(scope_at(connection, head, None), address, within)
        )

    def periods(address: str) -> Operation:
        return lambda: timed(
            lambda: payout_sums.by_period(scope_at(connection, head, None), address)
        )

    return {
        "a hotkey's sums": summed(hotkey),
        "its first half's": summed(hotkey, (-1, middle)),
        "by period": periods(hotkey),
        "a coldkey's by period": periods(coldkey),
    }


@benchmark(
    f"cost of a page of {PAGE_LINES} payouts at 1,000,000 events over 10,000",
    goal=_HIGHEST,
    better="lower",
)
def growth_payouts() -> Measurement:
    """The first page and one from the middle: of everybody, of a hotkey and of a coldkey.

    Of the lines alone; ``statement_year`` has a statement's sums.
    """
    if not hasattr(payout_queries, "payouts_page"):
        msg = "payouts cannot be asked for page by page yet; it needs payouts_page"
        raise CannotMeasureError(msg)
    long, short = _years_with_views()
    with long.engine.connect() as one, short.engine.connect() as other:
        on_long, on_short = _pages(one), _pages(other)
        return _measured(
            "a page of payouts", {name: (on_long[name], on_short[name]) for name in on_long}
        )


def _pages(connection: Connection) -> dict[str, Operation]:
    head = _head(connection)
    position, line, hotkey, coldkey = _middle_payout(connection)

    def page(address: str | None, after: tuple[int, int] | None) -> Operation:
        def ask() -> object:
            scope: Scope = scope_at(connection, head, None)
            return payout_queries.payouts_page(
                scope, address=address, after=after, limit=PAGE_LINES
            )

        return lambda: timed(ask)

    return {
        "everybody's first": page(None, None),
        "everybody's in the middle": page(None, (position, line)),
        "a hotkey's first": page(hotkey, None),
        "a hotkey's in the middle": page(hotkey, (position, line)),
        "a coldkey's first": page(coldkey, None),
        "a coldkey's in the middle": page(coldkey, (position, line)),
    }


def _middle_payout(connection: Connection) -> tuple[int, int, str, str]:
    """Place, hotkey and coldkey of a validator's payout from the middle; it stays all year."""
    last = connection.execute(select(func.max(payouts.c.position))).scalar_one()
    query = (
        select(payouts.c.position, payouts.c.line, accounts.c.hotkey, accounts.c.coldkey)
        .join(accounts, accounts.c.number == payouts.c.account)
        .where(accounts.c.log_id == 1)
        .where(payouts.c.log_id == 1, payouts.c.position >= last // 2, payouts.c.uid == 1)
        .order_by(payouts.c.position, payouts.c.line)
        .limit(1)
    )
    position, line, hotkey, coldkey = connection.execute(query).one()
    return position, line, hotkey, coldkey


def _head(connection: Connection) -> LogHead:
    head = head_of(connection, ARENA)
    if head is None:
        msg = f"there is no log of {ARENA}: the figure is worth nothing"
        raise AssertionError(msg)
    return head
