"""The generated year: exact, repeatable, and a log that everything accepts."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from benchmarks.year import ARENA, FEWEST_EVENTS, OPENED_AT, load_year, year
from benchmarks.year.mix import UIDS
from ledger.application import Ledger
from ledger.decisions.arena import Arena
from ledger.decisions.contest import Contest
from ledger.decisions.payment import Payment
from ledger.decisions.rental import Rental
from ledger.decisions.submission import Submission
from ledger.decisions.treasury import Treasury
from ledger.facts import Observation
from ledger.observations import EpochObserved
from ledger.projections.all import PROJECTIONS
from ledger.projections.payouts import payouts
from ledger.projections.runner import catch_up
from ledger.queries.scope import scope_at
from ledger.queries.weights import vector_view
from ledger.store.database import open_engine
from ledger.store.logs import head_of, read_log
from ledger.store.migrate import upgrade

EVENTS = 3_000
AGGREGATES = {
    "arena": Arena,
    "contest": Contest,
    "payment": Payment,
    "rental": Rental,
    "submission": Submission,
    "treasury": Treasury,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('year') / 'year.db'}")
    upgrade(engine)
    load_year(engine, EVENTS)
    catch_up(engine, PROJECTIONS)
    return engine


@pytest.mark.parametrize("events", [FEWEST_EVENTS, 1_001, EVENTS])
def test_a_year_has_exactly_the_events_asked_for(events: int) -> None:
    assert sum(1 for _ in year(events)) == events


def test_a_year_of_less_than_its_opening_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 300 events"):
        next(year(FEWEST_EVENTS - 1))


def test_the_same_seed_gives_the_same_year_and_another_seed_another() -> None:
    first = list(year(EVENTS, seed=1))
    assert first == list(year(EVENTS, seed=1))
    assert first != list(year(EVENTS, seed=2))


def test_a_longer_year_goes_on_where_a_shorter_one_ends() -> None:
    # All but its last few, which are bare blocks.
    short = list(year(EVENTS))[: EVENTS - 100]
    assert short == list(islice(year(2 * EVENTS), len(short)))


def test_the_log_takes_every_event_at_its_own_position_and_block(engine: Engine) -> None:
    facts = list(year(EVENTS))
    with engine.connect() as connection:
        head = head_of(connection, ARENA)
        assert head is not None
        logged = read_log(connection, head.log_id, after=0, limit=EVENTS + 1)
    assert [one.position for one in logged] == list(range(1, EVENTS + 1))
    assert [one.fact for one in logged] == facts
    assert head.position == EVENTS
    assert head.effective_block == facts[-1].effective_block > OPENED_AT


def test_every_epoch_pays_all_uids_in_the_views(engine: Engine) -> None:
    epochs = [fact for fact in year(EVENTS) if isinstance(fact, EpochObserved)]
    assert epochs
    with engine.connect() as connection:
        query = select(payouts.c.epoch_block, func.count()).where(payouts.c.uid.is_not(None))
        rows = connection.execute(query.group_by(payouts.c.epoch_block)).all()
    assert dict(map(tuple, rows)) == {epoch.block: UIDS for epoch in epochs}


def test_a_vector_can_be_asked_for_in_the_middle_of_the_year(engine: Engine) -> None:
    with engine.connect() as connection:
        head = head_of(connection, ARENA)
        assert head is not None
        middle = (OPENED_AT + head.effective_block) // 2
        view = vector_view(scope_at(connection, head, middle))
    assert view.block == middle
    assert sum(share.ppm for share in view.shares) == 1_000_000


def test_every_aggregate_is_rebuilt_from_its_events_with_versions_without_gap(
    engine: Engine,
) -> None:
    versions: Counter[tuple[str, UUID]] = Counter()
    for fact in year(EVENTS):
        if not isinstance(fact, Observation):
            owner = (fact.topic.split(".")[0], fact.originator_id)
            versions[owner] += 1
            assert fact.originator_version == versions[owner]
    assert {kind for kind, _ in versions} == set(AGGREGATES)
    ledger = Ledger(engine, ARENA)
    for (kind, identity), version in versions.items():
        assert ledger.load(AGGREGATES[kind], identity).version == version
