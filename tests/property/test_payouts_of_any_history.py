"""Whatever happens to UIDs, vectors, prices, late epochs and periods, closed at once or late:
statements are what a small, plain reckoning of the same history says, at any block, by any stretch
and by period; and views that were folded piece by piece are those of a rebuild."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from ledger.commands.block_facts import EpochPaid
from ledger.projections.all import PROJECTIONS
from ledger.projections.payouts import PayoutsProjection
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import catch_up
from ledger.queries.payout_sums import PayoutSums, by_period, totals
from ledger.queries.payouts import PayoutLine, payouts_page
from ledger.queries.scope import Scope
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import Scene
from tests.unit.ledger.test_payouts_by_period import by_lines_and_by_ends, close
from tests.unit.ledger.test_payouts_to_others import Vector, land, late_epoch, price, submit

HOTKEYS = ("owner", "A", "B", "C", "D")
OPENED_AT = 10
WHOLE = 1_000_000_000

Holders = dict[int, str]


@dataclass
class Told:
    """A history as it was told, and the statements that follow from it, without any cleverness."""

    vectors: list[tuple[int, int, Vector]] = field(default_factory=list)
    """Landed block, block it was computed for, and what it gave to whom."""
    prices: list[tuple[int, int]] = field(default_factory=list)
    epochs: dict[int, tuple[Holders, tuple[int, ...]]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    """Of closed periods."""

    def in_force(self, block: int) -> Vector:
        landed = [one for one in self.vectors if one[0] < block]
        return max(landed, key=lambda one: one[:2])[2] if landed else {}

    def statement(self, hotkey: str, block: int) -> tuple[int, int, int, int, int]:
        """Entitled, paid, withheld, misdirected and lost of a hotkey in one epoch."""
        holders, incentive = self.epochs[block]
        got = dict(zip(holders, incentive, strict=True))
        vector = {uid: named for uid, named in self.in_force(block).items() if uid and named[1]}
        entitled = sum(
            floor(Fraction(ppm, 1_000_000) * sum(incentive))
            for named, ppm in vector.values()
            if named == hotkey
        )
        mine = [uid for uid, holder in holders.items() if holder == hotkey]
        paid = sum(got[uid] for uid in mine if uid != 0)
        stray = sum(got[uid] for uid in mine if uid in vector and vector[uid][0] != hotkey)
        lost = sum(
            got[uid]
            for uid, (named, _) in vector.items()
            if named == hotkey and uid in holders and holders[uid] != hotkey
        )
        return entitled, paid, sum(got[uid] for uid in mine if uid == 0), stray, lost

    def value(self, alpha: int, block: int) -> int | None:
        known = [(about, rao) for about, rao in self.prices if about <= block]
        return floor(Fraction(alpha * max(known)[1], WHOLE)) if known else None


def _shares(weights: list[int]) -> list[int]:
    total = sum(weights) or 1
    shares = [weight * 1_000_000 // total for weight in weights]
    return [1_000_000 - sum(shares[1:]), *shares[1:]]


ACTIONS = st.one_of(
    st.tuples(
        st.just("send"),
        st.permutations(HOTKEYS),
        st.lists(st.integers(0, 9), min_size=4, max_size=4),
        st.booleans(),
    ),
    st.tuples(
        st.just("epoch"),
        st.permutations(HOTKEYS),
        st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
        st.integers(1, 9),
    ),
    st.tuples(st.just("price"), st.integers(1, 10**10)),
    st.tuples(
        st.just("late"),
        st.permutations(HOTKEYS),
        st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
        st.integers(0, 10**6),
    ),
    st.tuples(st.just("close"), st.integers(0, 12)),
    st.tuples(st.just("fold")),
)


def play(scene: Scene, told: Told, actions: list[tuple]) -> None:  # type: ignore[type-arg]  # drawn
    for number, action in enumerate(actions):
        what = action[0]
        if what == "send":
            _, order, weights, lands = action
            vector = dict(enumerate(zip(order[:4], _shares(weights), strict=True)))
            sent, landed = submit(scene, vector, digest=f"sha256:{number}"), scene.head
            land(scene, sent, landed if lands else None, digest=f"sha256:{number}")
            if lands:
                told.vectors.append((landed, sent, vector))
            scene.block()
        elif what == "price":
            if all(about != scene.head for about, _ in told.prices):
                price(scene, action[1], scene.head)
                told.prices.append((scene.head, action[1]))
        elif what == "epoch":
            _, order, incentive, times = action
            for _ in range(times):
                holders = order[:4]
                coldkeys = tuple(f"cold-{hotkey}" for hotkey in holders)
                paid = EpochPaid((0, 1, 2, 3), tuple(holders), coldkeys, tuple(incentive), (0,) * 4)
                block = scene.block(epoch=paid)
                told.epochs[block] = (dict(enumerate(holders)), tuple(incentive))
        elif what == "close":
            end = scene.head - action[1]
            if end > max(told.ends, default=OPENED_AT):
                close(scene, end)
                told.ends.append(end)
        elif what == "fold":
            catch_up(scene.engine, PROJECTIONS)
        else:
            _, order, incentive, place = action
            free = [at for at in range(OPENED_AT + 1, scene.head) if at not in told.epochs]
            if free:
                block = free[place % len(free)]
                late_epoch(scene, block, *zip(range(4), order[:4], incentive, strict=True))
                told.epochs[block] = (dict(enumerate(order[:4])), tuple(incentive))


def amounts(found: PayoutSums | PayoutLine) -> tuple[int, ...]:
    return (
        found.entitled_alpha,
        found.paid_alpha,
        found.withheld_alpha,
        found.misdirected_alpha,
        found.lost_alpha,
    )


@settings(max_examples=10, deadline=None)
@given(st.lists(ACTIONS, min_size=2, max_size=18), st.integers(0, 10**6), st.integers(0, 10**6))
def test_statements_are_what_a_plain_reckoning_says(
    actions: list[tuple],  # type: ignore[type-arg]  # drawn
    one: int,
    other: int,
) -> None:
    told = Told()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(quick_engine(Path(folder)))
        play(scene, told, actions)
        scene.read(lambda scope: compare(scope, told, sorted((one, other))))
        block = OPENED_AT + one % (scene.head - OPENED_AT + 1)
        scene.read(lambda scope: by_lines_and_by_ends(scope, *HOTKEYS, "cold-A"), at=block)
        folded = rows_of(scene.engine)
        rebuild(scene.engine, PROJECTIONS)
        assert rows_of(scene.engine) == folded
        scene.engine.dispose()


def rows_of(engine: Engine) -> list[list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in PayoutsProjection.tables
        ]


def compare(scope: Scope, told: Told, drawn: list[int]) -> None:
    start, end = sorted(number % (scope.block + 1) for number in drawn)
    for hotkey in HOTKEYS:
        lines = payouts_page(scope, address=hotkey).lines
        said = {line.epoch_block: line for line in lines}
        for block in told.epochs:
            expected = told.statement(hotkey, block)
            assert (amounts(said[block]) if block in said else (0,) * 5) == expected
            if block in said:
                assert said[block].paid_rao == told.value(said[block].paid_alpha, block)
        for within in (None, (start, end)):
            first, last = within or (-1, scope.block)
            inside = [block for block in told.epochs if first < block <= last]
            found = totals(scope, hotkey, within)
            each = [told.statement(hotkey, block) for block in inside]
            assert amounts(found) == (tuple(map(sum, zip(*each, strict=True))) or (0,) * 5)
            paid = {block: told.statement(hotkey, block)[1] for block in inside}
            unknown = sum(alpha for block, alpha in paid.items() if told.value(0, block) is None)
            assert found.unpriced_alpha == unknown
            value = sum(told.value(alpha, block) or 0 for block, alpha in paid.items())
            assert found.paid_rao == (None if unknown else value)
        bounds = list(pairwise((-1, *((OPENED_AT, *told.ends) if told.ends else ()), scope.block)))
        numbers = [None, *range(1, len(told.ends) + 1), None] if told.ends else [None]
        expected = []
        for number, (first, last) in zip(numbers, bounds, strict=True):
            each = [amounts(line) for block, line in said.items() if first < block <= last]
            if each:
                expected.append((number, *map(sum, zip(*each, strict=True))))
        periods = by_period(scope, hotkey)
        assert [(one.period, *amounts(one)) for one in periods] == expected
