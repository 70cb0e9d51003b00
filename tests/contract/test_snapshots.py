"""Snapshots are a cache: with and without them an aggregate loads the same."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from sqlalchemy import Engine, select, text

from ledger.application import Ledger
from ledger.commands.arena import pause, resume
from ledger.decisions import payment, treasury
from ledger.decisions.arena import Arena
from ledger.decisions.base import Aggregate
from ledger.decisions.contest import Contest
from ledger.decisions.payment import Payment
from ledger.decisions.proof import Proof
from ledger.decisions.rental import Rental
from ledger.decisions.rental_budget import RentalBudget
from ledger.decisions.submission import Submission
from ledger.decisions.treasury import Treasury
from ledger.facts import UPCASTERS, Fact, Observation
from ledger.keys import arena_id, treasury_id
from ledger.store.database import BUSY_TIMEOUT_S, open_engine
from ledger.store.schema import snapshots
from ledger.store.snapshots import SNAPSHOT_EVERY, decode_state, encode_state, form_of, state_type
from tests.contract.stores import migrated_url, quick_engine
from tests.property.season import Action, Season, actions
from tests.property.test_views_of_a_season import FULL, quick
from tests.unit.ledger.scenes import ARENA, Scene

KINDS: dict[str, type[Aggregate]] = {
    **{"arena": Arena, "contest": Contest, "payment": Payment, "proof": Proof},
    **{"rental": Rental, "rental_budget": RentalBudget, "submission": Submission},
    "treasury": Treasury,
}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.application.SNAPSHOT_EVERY", 2)


def state(aggregate: Aggregate) -> dict[str, Any]:
    own = {
        name: getattr(aggregate, name) for name in state_type(type(aggregate)).__struct_fields__[2:]
    }
    return own | {"id": aggregate.id, "version": aggregate.version, "last": aggregate.last}


def replayed(scene: Scene) -> dict[UUID, Aggregate]:
    """Every aggregate of the log, by nothing but its facts."""
    found: dict[UUID, Aggregate] = {}
    for logged in scene.log():
        fact: Fact = logged.fact
        if not isinstance(fact, Observation):
            kind = KINDS[fact.topic.partition(".")[0]]
            found.setdefault(fact.originator_id, kind(fact.originator_id)).take(fact)
    return found


def loaded(engine: Engine, wanted: dict[UUID, Aggregate]) -> dict[UUID, Aggregate]:
    """The same aggregates as a program loads them that remembers nothing."""
    fresh = open_engine(engine.url.render_as_string(hide_password=False))
    try:
        ledger = Ledger(fresh, ARENA)
        return {identity: ledger.load(type(one), identity) for identity, one in wanted.items()}
    finally:
        fresh.dispose()


def must_be_equal(found: dict[UUID, Aggregate], wanted: dict[UUID, Aggregate]) -> None:
    assert {key: state(one) for key, one in found.items()} == {
        key: state(one) for key, one in wanted.items()
    }


def kept(engine: Engine) -> dict[UUID, tuple[str, int]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(snapshots.c.originator_id, snapshots.c.form, snapshots.c.version)
        )
        return {row[0]: (row[1], row[2]) for row in rows}


def test_every_kind_of_aggregate_loads_the_same_with_and_without_snapshots(
    engine: Engine, often: None
) -> None:
    season = Season(Scene(engine))
    for action in FULL:
        season.play(action)
    wanted = replayed(season.scene)
    rows = kept(engine)
    assert {type(wanted[identity]) for identity in rows} == set(KINDS.values())
    for identity, (form, version) in rows.items():
        assert form == form_of(type(wanted[identity]))
        assert 0 < version <= wanted[identity].version
    must_be_equal(loaded(engine, wanted), wanted)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM snapshots"))
    must_be_equal(loaded(engine, wanted), wanted)
    assert kept(engine)  # a long replay leaves one behind


def test_a_snapshot_of_another_program_is_passed_over_and_replaced(
    engine: Engine, often: None
) -> None:
    scene = Scene(engine)
    for number in range(4):
        pause(scene.ledger, "emission", reason="x", actor=str(number))
        resume(scene.ledger, "emission", reason="y", actor="op")
    wanted = replayed(scene)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE snapshots SET form = 'of another program', version = 1000, state = :junk"),
            {"junk": b"\0"},
        )
    must_be_equal(loaded(engine, wanted), wanted)
    assert kept(engine)[arena_id(ARENA)] == (form_of(Arena), 9)


def test_a_program_with_another_state_has_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Payment):
        STATE_VERSION = 2

    class Grown(Payment):
        note: str = ""

    class Alone(Payment):
        BESIDE = ()

    class Beside(Payment):
        BESIDE = (*Payment.BESIDE, treasury)

    kinds = (Payment, Other, Grown, Alone, Beside, Treasury)
    assert len({form_of(kind) for kind in kinds}) == len(kinds)


def test_a_payments_facts_in_other_modules_are_of_its_form() -> None:
    """Whoever changes how an old credit is read makes earlier snapshots unreadable."""
    of_it = {payment.__name__, *(module.__name__ for module in Payment.BESIDE)}
    steps = {topic: step.__module__ for topic, step in UPCASTERS.items()}
    assert {where for topic, where in steps.items() if topic.startswith("payment.")} <= of_it
    assert "ledger.decisions.credits" in steps.values()


def test_loading_replays_what_came_after_the_snapshot(engine: Engine) -> None:
    scene = Scene(engine)
    identity = treasury_id(ARENA)
    for number in range(103):
        scene.ledger.decide(
            lambda unit, n=number: unit.get(Treasury, identity).adjust(  # type: ignore[misc]
                unit.context,
                reference=f"r{n}",
                asset="TAO",
                amount=n,
                provider=None,
                reason="test",
                about_block=unit.block,
                actor="op",
            )
        )
    assert kept(engine)[identity][1] == 100
    wanted = {identity: replayed(scene)[identity]}
    must_be_equal(loaded(engine, wanted), wanted)


def test_a_database_that_takes_no_snapshot_fails_no_command(
    engine: Engine, often: None, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE snapshots"))
    with caplog.at_level(logging.WARNING):
        pause(scene.ledger, "emission", reason="x", actor="op")
    assert "emission" in scene.ledger.arena_state().paused
    assert "no snapshot of" in caplog.text


@quick
@given(actions(max_size=15))
def test_whatever_happened_a_state_is_read_back_as_it_was(drawn: list[Action]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = quick_engine(Path(folder))
        season = Season(Scene(engine))
        for action in drawn:
            season.play(action)
        for identity, aggregate in replayed(season.scene).items():
            data = encode_state(aggregate)
            back = decode_state(type(aggregate), identity, aggregate.version, data)
            assert state(back) == state(aggregate)
        engine.dispose()


@pytest.mark.usefixtures("often")
def test_a_state_that_cannot_be_kept_fails_no_command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_aggregate: Aggregate) -> bytes:
        msg = "an integer is too large"
        raise OverflowError(msg)

    ledger = Scene(engine).ledger
    monkeypatch.setattr("ledger.store.snapshots.encode_state", failing)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            pause(ledger, "emission", reason=str(number), actor="op")
            resume(ledger, "emission", reason=str(number), actor="op")
    assert "an integer is too large" in caplog.text
    assert ledger.load(Arena, arena_id(ARENA)).version == 9


def test_no_load_waits_for_a_snapshot_to_be_kept(tmp_path: Path) -> None:
    """Another process holds SQLite's write lock: reading goes on as if there were no snapshots."""
    engine = open_engine(migrated_url("sqlite", tmp_path))
    ledger = Scene(engine).ledger
    for number in range(SNAPSHOT_EVERY):
        pause(ledger, "emission", reason=str(number), actor="op")
        resume(ledger, "emission", reason=str(number), actor="op")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM snapshots"))
    other = open_engine(engine.url.render_as_string())
    with engine.connect() as holder:
        holder.exec_driver_sql("ROLLBACK")
        holder.exec_driver_sql("BEGIN IMMEDIATE")
        fresh = Ledger(other, ARENA)
        assert fresh.load(Arena, arena_id(ARENA)).version == 2 * SNAPSHOT_EVERY + 1
        holder.exec_driver_sql("ROLLBACK")
    with engine.connect() as connection:
        assert connection.execute(select(snapshots)).first() is None
    with other.connect() as connection:  # it waits again where it has to
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == BUSY_TIMEOUT_S * 1_000
    other.dispose()
    engine.dispose()
