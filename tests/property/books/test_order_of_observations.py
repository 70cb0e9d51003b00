"""The same observations in another order, and some of them twice, come to the same books."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.projections.journal import JournalProjection
from ledger.projections.runner import catch_up
from ledger.queries.scope import scope_at
from ledger.queries.treasury import account_balances
from tests.contract.stores import quick_engine
from tests.property.books import desk
from tests.unit.ledger.scenes import ARENA, OPENED_AT, policy

few = st.integers(min_value=1, max_value=9)
amounts = st.integers(min_value=1, max_value=10**12)
providers = st.sampled_from(("targon", "lium"))
RENTALS = (1, 2)

observations = st.one_of(
    st.tuples(st.just("see_payment"), few, amounts),
    st.tuples(st.just("see_fee"), few, amounts),
    st.tuples(
        st.just("see_earned"),
        few,
        st.sampled_from(("incentive", "dividends", "owner_cut")),
        amounts,
    ),
    st.tuples(
        st.just("see_nothing_moved"),
        st.sampled_from(("price", "balance", "transfer", "burn", "epoch")),
        few,
        amounts,
    ),
    st.tuples(
        st.just("bill"),
        st.sampled_from((*RENTALS, 3)),
        st.just("inv"),
        st.sampled_from(("a", "b", "c", "d")),
        amounts,
        st.just("targon"),
    ),
    st.tuples(st.just("contribute_dollars"), few.map("gift {}".format), amounts, providers),
    st.tuples(st.just("convert"), few.map("sale {}".format), amounts, amounts, providers),
)


def what_it_is(observed: tuple[Any, ...]) -> tuple[Any, ...]:
    """What it cannot be twice with another content."""
    match observed:
        case ("bill", _, invoice, line, _, provider):
            return ("bill", invoice, line, provider)
        case ("see_earned" | "see_nothing_moved" as kind, first, second, *_):
            return (kind, first, second)
        case (kind, first, *_):
            return (kind, first)
    raise AssertionError(observed)


@st.composite
def two_orders(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Some observations, and the same ones shuffled, each of the two with repetitions."""
    seen = draw(st.lists(observations, min_size=2, max_size=14, unique_by=what_it_is))
    again = st.lists(st.sampled_from(seen), max_size=5)
    one, other = (draw(st.permutations(seen)) + draw(again) for _ in range(2))
    return one, other


def balances_after(told: list[Any]) -> Any:
    """The journal's balances of an arena that was told so, and what two rentals came to cost."""
    with tempfile.TemporaryDirectory(prefix="order-") as folder:
        engine = quick_engine(Path(folder))
        open_arena(engine, ARENA, network="test", at_block=OPENED_AT, policy=policy(), actor="op")
        ledger = Ledger(engine, ARENA)
        for number in RENTALS:
            desk.rental(ledger, "request", number, "targon", None)
            desk.rental(ledger, "start", number, 0, 3_600, 1, 1, "prepaid")
            desk.rental(ledger, "end", number, 60)
            desk.rental(ledger, "book", number)
        for name, *args in told:
            getattr(desk, name)(ledger, *args)
        billed = {args[0] for name, *args in told if name == "bill"}
        for number in billed.intersection(RENTALS):
            desk.rental(ledger, "accept_bill", number)
        catch_up(engine, [JournalProjection()])
        with engine.connect() as connection:
            found = account_balances(scope_at(connection, ledger.head(), None))
        engine.dispose()
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(two_orders())
def test_observations_in_any_order_come_to_the_same_books(orders: tuple[Any, Any]) -> None:
    one, other = orders
    assert balances_after(one) == balances_after(other)
