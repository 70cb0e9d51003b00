"""A statement by period reads sums that lie at the periods' ends, whenever those were closed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event, select

from ledger.application import Unit
from ledger.commands.block_facts import EpochPaid, OwnerChange
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.projections import rows as projection_rows
from ledger.projections import runner
from ledger.projections.all import PROJECTIONS
from ledger.projections.payout_ends import end_sums, ends
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import catch_up
from ledger.queries.payout_sums import PayoutPeriod, by_period
from ledger.queries.payouts import payouts_page
from ledger.queries.ranges import Range, treasury_ranges
from ledger.queries.scope import Scope
from tests.unit.ledger.scenes import OPENED_AT, OTHER_ARENA, Scene
from tests.unit.ledger.test_payouts_to_others import epoch, late_epoch, price, send

ALPHA = 1_000_000_000


def close(scene: Scene, to_block: int) -> None:
    """Close a period."""

    def work(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.close_period(unit.context, to_block, OPENED_AT, "op")

    scene.ledger.decide(work)


def added_up(scope: Scope, address: str, within: Range | None = None) -> list[tuple[Any, ...]]:
    """The same from the lines, one by one: period, bounds, and sums that are not nothing."""
    first, last = within or (-1, scope.block)
    lines = payouts_page(scope, address=address, within=within).lines
    found = []
    for number, start, end, _ in treasury_ranges(scope):
        bounds = (max(first, start), min(last, end))
        own = [line for line in lines if bounds[0] < line.epoch_block <= bounds[1]]
        if own and start < last and end > first:
            unpriced = [line for line in own if line.price_rao is None]
            sums = [
                sum(getattr(line, name) for line in own)
                for name in ("entitled_alpha", "paid_alpha", "withheld_alpha", "dividends_alpha")
            ]
            alpha = sum(line.paid_alpha + line.dividends_alpha for line in unpriced)
            value = None if alpha else sum(line.paid_rao or 0 for line in own)
            found.append((number, *bounds, len(own), *sums, value, alpha))
    return found


def told(periods: list[PayoutPeriod]) -> list[tuple[Any, ...]]:
    """What :func:`added_up` says."""
    return [
        (
            *(one.period, one.from_block, one.to_block, one.total),
            *(one.entitled_alpha, one.paid_alpha, one.withheld_alpha, one.dividends_alpha),
            *(one.paid_rao, one.unpriced_alpha),
        )
        for one in periods
    ]


def by_lines_and_by_ends(scope: Scope, *addresses: str) -> None:
    """Both ways of each address, of all epochs and of parts that cut periods."""
    middle = (OPENED_AT + scope.block) // 2
    for address in addresses:
        for within in (None, (-1, middle), (middle, scope.block), (OPENED_AT + 1, middle + 1)):
            assert told(by_period(scope, address, within)) == added_up(scope, address, within)


def asked_of_lines(engine: Engine, scene: Scene, address: str) -> list[int]:
    """The blocks whose sums a statement by period added up from lines, after the last closing."""
    catch_up(engine, PROJECTIONS)
    said: list[Any] = []

    def note(_c: object, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if "payouts_epochs" in sql and "placed" in sql:
            said.append(parameters)

    event.listen(engine, "before_cursor_execute", note)
    scene.read(by_period, address)
    event.remove(engine, "before_cursor_execute", note)
    (parameters,) = said
    blocks = next(one for one in parameters if isinstance(one, str) and one.startswith("["))
    found: list[int] = msgspec.json.decode(blocks, type=list[int])
    return found


def kept(engine: Engine) -> tuple[list[Any], list[Any]]:
    """The ends that are summed, and the accounts' sums at them."""
    with engine.connect() as connection:
        return (
            [tuple(row) for row in connection.execute(select(ends).order_by(*ends.primary_key))],
            [
                tuple(row)
                for row in connection.execute(select(end_sums).order_by(*end_sums.primary_key))
            ],
        )


def summed_ends(scene: Scene) -> list[int]:
    catch_up(scene.engine, PROJECTIONS)
    return [row[-1] for row in kept(scene.engine)[0]]


def test_an_end_is_summed_when_the_next_epoch_comes_and_then_read_in_one_row(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    for amount in (70, 35, 7):
        epoch(scene, (1, "A", amount), (2, "B", 30))
    first = scene.head
    close(scene, first)
    assert summed_ends(scene) == []
    assert asked_of_lines(scene.engine, scene, "A") == [OPENED_AT, first]
    by_lines = scene.read(by_period, "A")
    scene.block()
    epoch(scene, (1, "A", 1), (2, "C", 2))
    assert summed_ends(scene) == [OPENED_AT, first]
    assert asked_of_lines(scene.engine, scene, "A") == [scene.head]
    assert scene.read(by_period, "A")[:1] == by_lines
    assert scene.read(by_period, "A", at=first) == by_lines
    close(scene, scene.head)
    epoch(scene, (1, "A", 5))
    assert summed_ends(scene) == [OPENED_AT, first, scene.head - 1]
    scene.read(by_lines_and_by_ends, "A", "B", "C", "cold-A")
    # B got nothing in the second period, and C nothing in the first: A alone has a row of both.
    assert len(kept(scene.engine)[1]) == 4
    assert [one.period for one in scene.read(by_period, "B")] == [1]
    assert [one.period for one in scene.read(by_period, "C")] == [2]


def test_a_period_closed_long_after_its_end_is_summed_at_its_end(scene: Scene) -> None:
    send(scene, {1: ("A", 500_000), 2: ("B", 500_000)})
    price(scene, 3 * ALPHA, scene.head)
    for amount in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120):
        epoch(scene, (1, "A", amount), (2, "B", amount))
        if amount % 30 == 0:
            price(scene, amount * ALPHA, scene.head)
    start = scene.head - 12
    close(scene, start + 3)
    close(scene, start + 4)
    close(scene, start + 9)
    before = scene.read(by_period, "A")
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, start + 3, start + 4, start + 9]
    assert asked_of_lines(scene.engine, scene, "A") == [scene.head]
    found = scene.read(by_period, "A")
    assert [one.paid_alpha for one in found] == [60, 40, 350, 331]
    assert found[:-1] == before[:-1]
    scene.read(by_lines_and_by_ends, "A", "B")


def test_a_period_that_ended_before_the_first_epoch_may_be_closed_behind_it(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    scene.block()
    empty = scene.head
    epoch(scene, (1, "A", 7), (2, "B", 5))
    close(scene, empty)
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, empty]
    assert kept(scene.engine)[1] == []
    close(scene, scene.head)
    epoch(scene, (1, "A", 2))
    summed_ends(scene)  # by a runner that remembers nothing of B
    assert [(one.period, one.paid_alpha) for one in scene.read(by_period, "B")] == [(2, 5)]
    scene.read(by_lines_and_by_ends, "A", "B")


def test_a_price_that_comes_after_the_closing_still_values_the_period_s_last_epoch(
    scene: Scene,
) -> None:
    send(scene, {1: ("A", 1_000_000)})
    epoch(scene, (1, "A", 7))
    end = scene.head
    close(scene, end)
    assert scene.read(by_period, "A")[0].paid_rao is None
    price(scene, 2 * ALPHA, end)
    assert scene.read(by_period, "A")[0].paid_rao == 14
    scene.block()
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, end]
    assert scene.read(by_period, "A")[0].paid_rao == 14
    scene.read(by_lines_and_by_ends, "A")


def test_an_epoch_read_late_does_not_end_the_time_of_the_newest_one_s_price(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    price(scene, ALPHA, OPENED_AT)
    scene.block()
    empty = scene.head
    scene.block()
    epoch(scene, (1, "A", 7))
    newest = scene.head
    close(scene, empty)
    scene.block()
    late_epoch(scene, newest - 1, (1, "A", 5))
    assert summed_ends(scene) == []
    price(scene, 2 * ALPHA, newest)
    epoch(scene, (1, "A", 1))
    close(scene, scene.head)
    epoch(scene, (1, "A", 3))
    assert summed_ends(scene) == [OPENED_AT, empty, scene.head - 1]
    assert [one.paid_rao for one in scene.read(by_period, "A")] == [7 * 2 + 5 + 1 * 2, 3 * 2]
    scene.read(by_lines_and_by_ends, "A")


def test_an_epoch_read_late_counts_in_the_period_that_was_closed_and_summed(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    scene.block()
    scene.block()
    epoch(scene, (1, "A", 7))
    end = scene.head
    close(scene, end)
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, end]
    late_epoch(scene, end - 1, (1, "A", 5))
    late_epoch(scene, end - 2, (1, "new", 6))
    close(scene, scene.head)
    epoch(scene, (1, "A", 2))
    assert [one.paid_alpha for one in scene.read(by_period, "A")] == [12, 1, 2]
    assert [one.paid_alpha for one in scene.read(by_period, "new")] == [6]
    scene.read(by_lines_and_by_ends, "A", "new")


def test_an_epoch_read_late_is_not_taken_from_sums_that_it_is_not_in(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    epoch(scene, (1, "A", 7))
    end = scene.head
    scene.block()
    epoch(scene, (1, "A", 10))
    late_epoch(scene, end + 1, (1, "A", 100))
    close(scene, end)
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, end]
    assert [one.paid_alpha for one in scene.read(by_period, "A")] == [7, 111]
    scene.read(by_lines_and_by_ends, "A")


def test_an_epoch_of_the_closing_s_own_block_may_be_read_behind_it(scene: Scene) -> None:
    send(scene, {1: ("A", 1_000_000)})
    epoch(scene, (1, "A", 7))
    scene.block()
    end = scene.head
    close(scene, end)
    late_epoch(scene, end, (1, "A", 5))  # not late: no other block came
    assert summed_ends(scene) == [OPENED_AT]
    assert [one.paid_alpha for one in scene.read(by_period, "A")] == [12]
    epoch(scene, (1, "A", 1))
    assert summed_ends(scene) == [OPENED_AT, end]
    assert [one.paid_alpha for one in scene.read(by_period, "A")] == [12, 1]


def test_the_ends_of_one_arena_are_not_those_of_another(scene: Scene) -> None:
    other = Scene(scene.engine, OTHER_ARENA)
    for one, unit in ((scene, 1), (other, 100)):
        epoch(one, (1, "A", unit), (2, "B", 5 * unit))
        close(one, one.head)
    first = scene.head
    assert other.head == first
    other.block()  # its rows lie behind those of the first arena
    for one, unit in ((scene, 2), (other, 200)):
        epoch(one, (1, "A", unit), (2, "B", 5 * unit))
    close(scene, scene.head)
    close(other, other.head)
    epoch(other, (1, "A", 400))
    for _ in range(10):
        scene.block()
    # Of the first arena the newest end is not summed yet, and lies before the other's, which is.
    assert [one.paid_alpha for one in scene.read(by_period, "A")] == [1, 2]
    assert [one.paid_alpha for one in other.read(by_period, "A")] == [100, 200, 400]
    for one in (scene, other):
        one.read(by_lines_and_by_ends, "A", "B", "cold-A")


def test_a_coldkey_has_what_its_hotkeys_got_while_they_were_its_own(scene: Scene) -> None:
    scene.register((1, "H", None), (2, "K", None))
    send(scene, {1: ("H", 500_000), 2: ("K", 500_000)})
    epoch(scene, (1, "H", 10), (2, "K", 20))
    close(scene, scene.head)
    scene.block(owners=(OwnerChange("H", "cold-H", "cold-K"),))
    scene.block(epoch=EpochPaid((1, 2), ("H", "K"), ("cold-K",) * 2, (100, 200), (0, 0)))
    close(scene, scene.head)
    scene.register((1, "X", "H"))  # the UID is another's
    epoch(scene, (1, "X", 1_000), (2, "K", 2_000))
    close(scene, scene.head)
    epoch(scene, (1, "X", 10_000), (2, "K", 20_000))
    assert [one.paid_alpha for one in scene.read(by_period, "cold-K")] == [20, 300, 2_000, 20_000]
    assert [one.paid_alpha for one in scene.read(by_period, "cold-H")] == [10]
    assert [one.paid_alpha for one in scene.read(by_period, "H")] == [10, 100, 0, 0]
    assert [one.paid_alpha for one in scene.read(by_period, "X")] == [1_000, 10_000]
    assert scene.read(by_period, "nobody") == []
    scene.read(by_lines_and_by_ends, "cold-H", "cold-K", "H", "K", "X", "cold-X")


def story(scene: Scene) -> None:
    """Accounts that come, go and come back, and closings at once, late, and two at a time."""
    send(scene, {1: ("A", 500_000), 2: ("B", 500_000)})
    for number in range(40):
        hotkeys = ("A", "B") if number < 10 else ("A", "C") if number < 30 else ("A", "B")
        epoch(scene, (1, hotkeys[0], number + 1), (2, hotkeys[1], 2 * number))
        if number % 7 == 3:
            price(scene, number * ALPHA, scene.head)
        if number in {5, 20, 33}:
            close(scene, scene.head)
        if number in {12, 27, 31}:  # at the last one B is back, and had nothing in the period
            close(scene, scene.head - 5)
        catch_up(scene.engine, PROJECTIONS)


@pytest.mark.parametrize("things", [projection_rows.MAX_KEPT_THINGS, 0, 2])
@pytest.mark.parametrize("page", [1, 30, runner.PAGE])
def test_whatever_a_runner_remembers_the_same_ends_are_summed(
    scene: Scene, page: int, things: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    story(scene)
    expected = kept(scene.engine)
    assert len(expected[0]) == 7
    assert len(expected[1]) > 12
    monkeypatch.setattr(runner, "PAGE", page)
    monkeypatch.setattr(projection_rows, "MAX_KEPT_THINGS", things)
    rebuild(scene.engine, PROJECTIONS)
    assert kept(scene.engine) == expected
    for block in range(OPENED_AT + 1, scene.head, 9):
        scene.read(by_lines_and_by_ends, "A", "B", "C", "cold-A", at=block)
    scene.read(by_lines_and_by_ends, "A", "B", "C", "cold-A")
