"""Opening arenas, adopting policies, pausing: what is refused and what changes nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ledger.application import Ledger, UnknownArenaError
from ledger.commands.arena import adopt_policy, open_arena, pause, resume
from ledger.decisions.arena import Paused, PolicyAdopted
from ledger.decisions.base import DecisionRefusedError
from ledger.queries.weights import paused_switches, policy_in_force
from tests.unit.ledger.scenes import ARENA, OPENED_AT, OTHER_ARENA, Scene, policy


def test_opening_an_arena_again_alike_changes_nothing(scene: Scene) -> None:
    scene.block()
    before = scene.log()
    Scene(scene.engine)
    assert scene.log() == before


def test_opening_an_open_arena_otherwise_is_refused(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="open already"):
        Scene(scene.engine, rules=policy("other"))


def test_two_arenas_of_a_chain_share_no_treasury(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="no two arenas may share one"):
        Scene(scene.engine, OTHER_ARENA, policy(treasury="treasury-14"))
    Scene(scene.engine, OTHER_ARENA)
    stolen = policy("later", treasury="treasury-15")
    with pytest.raises(DecisionRefusedError, match="no two arenas may share one"):
        adopt_policy(scene.ledger, stolen, from_block=scene.head, actor="op")


def test_an_arena_cannot_open_before_block_zero(engine: Engine) -> None:
    with pytest.raises(DecisionRefusedError, match="block -1"):
        open_arena(engine, ARENA, network="t", at_block=-1, policy=policy(), actor="op")


def test_an_unknown_arena_is_named_as_such(engine: Engine) -> None:
    with pytest.raises(UnknownArenaError, match="is unknown in this database"):
        Ledger(engine, ARENA).head()
    with pytest.raises(UnknownArenaError):
        pause(Ledger(engine, ARENA), "emission", reason="x", actor="op")


def test_a_policy_in_the_past_is_refused(scene: Scene) -> None:
    scene.block()
    with pytest.raises(DecisionRefusedError, match="a policy never changes the past"):
        adopt_policy(scene.ledger, policy("late"), from_block=OPENED_AT, actor="op")


def test_a_policy_is_in_force_from_its_first_block(scene: Scene) -> None:
    adopt_policy(scene.ledger, policy("next"), from_block=scene.head + 2, actor="op")
    scene.block()
    assert scene.read(policy_in_force).name == "test"
    scene.block()
    assert scene.read(policy_in_force).name == "next"
    assert scene.read(policy_in_force, at=scene.head - 1).name == "test"


def test_adopting_the_same_again_is_no_fact_and_going_back_is_one(scene: Scene) -> None:
    first, second, block = policy("one"), policy("two"), scene.head + 1
    for rules in (first, first, second, first):
        adopt_policy(scene.ledger, rules, from_block=block, actor="op")
    assert len(scene.facts(PolicyAdopted)) == 3
    assert scene.arena.policy_at(block).name == "one"


def test_a_policy_does_not_drop_a_track_with_a_king(scene: Scene) -> None:
    scene.contest({scene.submit("A"): 400})
    with pytest.raises(DecisionRefusedError, match="which has a king"):
        adopt_policy(scene.ledger, policy("x", tracks=("other",)), from_block=99, actor="op")


def test_pausing_twice_is_one_fact_and_names_its_reason(scene: Scene) -> None:
    for reason in ("exploit", "again"):
        pause(scene.ledger, "emission", reason=reason, actor="op")
    assert len(scene.facts(Paused)) == 1
    assert scene.read(paused_switches) == {"emission": "exploit"}
    resume(scene.ledger, "emission", reason="fixed", actor="op")
    assert scene.read(paused_switches) == {}


def test_a_pause_without_a_reason_is_refused(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="without a reason"):
        pause(scene.ledger, "evaluation", reason=" ", actor="op")
