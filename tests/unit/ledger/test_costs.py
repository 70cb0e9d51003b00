"""What contests and submissions cost: parted by GPU seconds, and unknown where it is not known."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import pytest

from ledger.codes import VoidCause
from ledger.commands import treasury as book
from ledger.commands.causes import after
from ledger.commands.contests import complete_contest, void_contest
from ledger.decisions.contest import Contest, SealedArm
from ledger.decisions.rental import Rental
from ledger.keys import NAMESPACE
from ledger.queries.costs import (
    ContestCost,
    RoundCost,
    SubmissionCost,
    UnknownCostError,
    contest_costs,
    round_cost,
    submission_cost,
    unused_usd_micros,
)
from ledger.queries.periods import closing_at
from tests.unit.ledger.scenes import FEE_RAO, Scene

USD = 10**6
HOUR = 3_600


def rented(scene: Scene, name: str, *uses: tuple[UUID, int, int]) -> None:
    """A machine of 36 dollars for an hour, so a cent a second, that worked for these contests."""

    def work(unit: Any) -> None:
        rental = unit.get(Rental, uuid5(NAMESPACE, name))
        rental.request(
            unit.context,
            provider="pods",
            tier="8x H200",
            max_usd_micros_per_hour=36 * USD,
            contest_id=None,
        )
        rental.start(
            after(unit, rental), instance=name, usd_micros_per_hour=36 * USD, started_at_s=0
        )
        for contest, from_s, to_s in uses:
            rental.begin_contest(after(unit, rental), contest, from_s)
            rental.end_contest(after(unit, rental), contest, to_s)
        rental.end(after(unit, rental), HOUR, "done")
        rental.book_cost(after(unit, rental), unit.block)

    scene.ledger.decide(work)


def sealed(scene: Scene, contest: UUID, **gpu_ms: int | None) -> None:
    """Seal the contest's evidence with the machine time of the baseline and of each hotkey."""

    def work(unit: Any) -> None:
        found = unit.get(Contest, contest)
        entrants = [(one.role, one.submission_id, one.hotkey) for one in found.plan.entrants]
        found.seal(
            after(unit, found),
            manifest_digest="sha256:00",
            url=None,
            calibration=None,
            client_lag_p99_us=None,
            drift_ppm=None,
            clock_drift_ppm=None,
            host=(),
            arms=tuple(
                SealedArm(
                    role=role,
                    submission_id=submission,
                    image="sha256:00",
                    fingerprint=None,
                    bytes=None,
                    gpu_ms=gpu_ms[hotkey],
                )
                for role, submission, hotkey in [("baseline", None, "baseline"), *entrants]
            ),
        )

    scene.ledger.decide(work)


@pytest.fixture
def pair(scene: Scene) -> tuple[UUID, UUID]:
    scene.register((1, "a", None), (2, "b", None))
    return scene.submit("a"), scene.submit("b")


def cost_of(scene: Scene, contest: UUID) -> ContestCost:
    found: list[ContestCost] = scene.read(contest_costs)
    return next(one for one in found if one.contest_id == str(contest))


def submitted(scene: Scene, submission: UUID) -> SubmissionCost:
    found: SubmissionCost = scene.read(submission_cost, str(submission))
    return found


def test_a_contest_is_parted_by_gpu_seconds(scene: Scene, pair: tuple[UUID, UUID]) -> None:
    one, two = pair
    contest = scene.plan(one, two)
    scene.measure(contest, {one: 500, two: 400})
    sealed(scene, contest, baseline=600, a=300, b=100)
    complete_contest(scene.ledger, contest)
    rented(scene, "one", (contest, 100, 200), (contest, 300, 400))
    cost = cost_of(scene, contest)
    assert (cost.usd_micros, cost.seconds, cost.basis) == (2 * USD, 200, "gpu_seconds")
    assert [arm.usd_micros for arm in cost.arms] == [1_200_000, 600_000, 200_000]
    assert [arm.hotkey for arm in cost.arms] == [None, "a", "b"]
    assert scene.read(unused_usd_micros) == 34 * USD


@pytest.mark.parametrize(
    "gpu_ms", [{"baseline": 600, "a": None, "b": 1}, {"baseline": 0, "a": 0, "b": 0}]
)
def test_where_machine_time_is_not_known_the_parts_are_equal_and_it_says_so(
    scene: Scene, pair: tuple[UUID, UUID], gpu_ms: dict[str, int | None]
) -> None:
    one, two = pair
    contest = scene.plan(one, two)
    scene.measure(contest, {one: 500, two: 400})
    sealed(scene, contest, **gpu_ms)
    rented(scene, "one", (contest, 0, 100))
    cost = cost_of(scene, contest)
    assert (cost.usd_micros, cost.basis) == (USD, "equal_parts")
    # What the floors leave is the baseline's.
    assert [arm.usd_micros for arm in cost.arms] == [333_334, 333_333, 333_333]


def test_a_contest_on_no_rented_machine_has_no_known_cost(
    scene: Scene, pair: tuple[UUID, UUID]
) -> None:
    contest = scene.contest({pair[0]: 500, pair[1]: 400})
    cost = cost_of(scene, contest)
    assert (cost.usd_micros, cost.seconds) == (None, None)
    assert {arm.usd_micros for arm in cost.arms} == {None}
    found = submitted(scene, pair[0])
    assert (found.cost_usd_micros, found.margin_usd_micros) == (None, None)


def test_void_attempts_cost_too_and_belong_to_their_round(
    scene: Scene, pair: tuple[UUID, UUID]
) -> None:
    first = scene.plan(*pair)
    void_contest(scene.ledger, first, cause=VoidCause.HOST_FAILED, detail="gone")
    second = scene.plan(*pair, attempt=2)
    scene.measure(second, {pair[0]: 500, pair[1]: 400})
    complete_contest(scene.ledger, second)
    rented(scene, "one", (first, 0, 300), (second, 300, 900))
    own = submitted(scene, pair[0])
    assert [part.status for part in own.parts] == ["void", "completed"]
    assert own.cost_usd_micros == 3 * USD
    later = scene.plan(scene.submit("a"))
    for contest in (first, second):
        found: RoundCost = scene.read(round_cost, str(contest))
        assert [one.contest_id for one in found.attempts] == [str(first), str(second)]
        assert [one.status for one in found.attempts] == ["void", "completed"]
        assert found.usd_micros == 9 * USD
    alone: RoundCost = scene.read(round_cost, str(later))
    assert (len(alone.attempts), alone.usd_micros) == (1, None)
    king = next(one for one in pair if submitted(scene, one).hotkey == scene.king())
    assert [part.role for part in submitted(scene, king).parts][1:] == ["challenger", "king"]
    assert submitted(scene, king).cost_usd_micros is None  # its defence is not booked yet


def test_a_round_of_which_a_part_is_not_known_is_not_known(
    scene: Scene, pair: tuple[UUID, UUID]
) -> None:
    first = scene.plan(*pair)
    void_contest(scene.ledger, first, cause=VoidCause.HOST_FAILED, detail="gone")
    second = scene.plan(*pair, attempt=2)
    rented(scene, "one", (second, 0, 300))
    found: RoundCost = scene.read(round_cost, str(first))
    assert [one.usd_micros for one in found.attempts] == [None, 3 * USD]
    assert found.usd_micros is None


def test_a_fee_stands_against_the_cost_at_the_price_of_its_period(
    scene: Scene, pair: tuple[UUID, UUID]
) -> None:
    contest = scene.plan(*pair)
    rented(scene, "one", (contest, 0, 300))
    before = submitted(scene, pair[0])
    assert (before.fee_rao, before.price, before.fee_usd_micros) == (FEE_RAO, None, None)
    assert before.margin_usd_micros is None

    def priced(dollars: int) -> None:
        book.observe_price(
            scene.ledger,
            usd_micros_per_tao=dollars * USD * 10**7,
            source="exchange",
            about_block=scene.block(),
        )

    priced(2)
    near = submitted(scene, pair[0])
    # The price of a later block is the nearest there is: 100 rao at 2 dollars for 100 rao.
    assert (near.price_of, near.fee_usd_micros, near.cost_usd_micros) == ("nearest", 2 * USD, USD)
    assert near.margin_usd_micros == USD
    priced(3)
    assert book.close_period(scene.ledger, scene.read(closing_at, scene.head), "ann")
    closed = submitted(scene, pair[0])
    assert (closed.price_of, closed.fee_usd_micros) == ("period", 3 * USD)
    assert closed.price is not None
    assert closed.price.source == "exchange"


def test_what_is_not_there_is_said(scene: Scene) -> None:
    scene.block()
    with pytest.raises(UnknownCostError, match="no contest 77 is in the log by block 11"):
        scene.read(round_cost, "77")
    with pytest.raises(UnknownCostError, match="no submission 77 is in the log"):
        scene.read(submission_cost, "77")
