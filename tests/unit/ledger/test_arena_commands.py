"""Opening arenas, adopting policies, pausing: what is refused and what changes nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ledger.application import Ledger, UnknownArenaError
from ledger.commands.arena import adopt_policy, open_arena, pause, resume
from ledger.decisions.arena import MAX_ACTOR_CHARS, MAX_REASON_CHARS, Paused, PolicyAdopted
from ledger.decisions.base import DecisionRefusedError
from ledger.facts import Context
from ledger.keys import ArenaKey
from ledger.policy import PolicyError
from ledger.queries.scope import find_arena
from ledger.queries.weights import paused_switches, policy_in_force
from ledger.store.logs import all_heads
from tests.unit.ledger.scenes import (
    ARENA,
    GENESIS,
    OPENED_AT,
    OTHER_ARENA,
    Scene,
    policy,
    treasury_of,
)

OTHER_RULES = policy(treasury=treasury_of(15))


def test_opening_an_arena_again_alike_changes_nothing(scene: Scene) -> None:
    scene.block()
    before = scene.log()
    Scene(scene.engine)
    assert scene.log() == before


def test_opening_an_open_arena_otherwise_is_refused(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="open already"):
        Scene(scene.engine, rules=policy("other"))


def test_whoever_opens_an_open_arena_alike_changes_nothing(scene: Scene) -> None:
    scene.block()
    before, state = scene.log(), scene.arena
    state.open(Context(ARENA, scene.head), "test", scene.rules, "somebody else", at_block=OPENED_AT)
    assert state.sink == []
    assert scene.log() == before
    with pytest.raises(DecisionRefusedError, match="open already"):
        state.open(Context(ARENA, scene.head), "test", scene.rules, "op", at_block=scene.head)


def test_a_name_that_another_chain_has_is_taken(scene: Scene) -> None:
    fork = ArenaKey("0x" + "99" * 32, ARENA.netuid)
    with pytest.raises(DecisionRefusedError, match=f"is here already, on the chain of .*{GENESIS}"):
        Scene(scene.engine, fork)
    with scene.engine.connect() as connection:
        assert [head.arena for head in all_heads(connection)] == [ARENA]
        assert find_arena(connection, "test", 14).arena == ARENA
    open_arena(
        scene.engine, fork, network="fork", at_block=OPENED_AT, policy=scene.rules, actor="op"
    )


@pytest.mark.parametrize("network", ["", "Finney", ".net", "two words", "a/b", "n" * 65])
def test_a_network_has_a_name_that_an_address_can_hold(engine: Engine, network: str) -> None:
    with pytest.raises(DecisionRefusedError, match="is no name of a network"):
        open_arena(engine, ARENA, network=network, at_block=1, policy=policy(), actor="op")


BAD_ACTORS = ("", "  ", "two\nlines", "a\x1b[2J", "a" * (MAX_ACTOR_CHARS + 1))


@pytest.mark.parametrize("actor", BAD_ACTORS, ids=repr)
def test_whoever_acts_has_a_visible_name_of_one_short_line(scene: Scene, actor: str) -> None:
    before = scene.log()
    for act in (
        lambda: open_arena(
            scene.engine, OTHER_ARENA, network="t", at_block=1, policy=OTHER_RULES, actor=actor
        ),
        lambda: adopt_policy(scene.ledger, policy("next"), from_block=scene.head, actor=actor),
        lambda: pause(scene.ledger, "emission", reason="x", actor=actor),
    ):
        with pytest.raises(DecisionRefusedError, match="whoever acts must be named"):
            act()
    assert scene.log() == before
    pause(scene.ledger, "emission", reason="x", actor="a" * MAX_ACTOR_CHARS)
    with pytest.raises(DecisionRefusedError, match="whoever acts must be named"):
        resume(scene.ledger, "emission", reason="x", actor=actor)


@pytest.mark.parametrize("reason", ["two\nlines", "\x07", "r" * (MAX_REASON_CHARS + 1)], ids=repr)
def test_a_reason_is_one_visible_line(scene: Scene, reason: str) -> None:
    with pytest.raises(DecisionRefusedError, match="must be one line of at most 500"):
        pause(scene.ledger, "emission", reason=reason, actor="op")
    pause(scene.ledger, "emission", reason="r" * MAX_REASON_CHARS, actor="op")
    with pytest.raises(DecisionRefusedError, match="must be one line of at most 500"):
        resume(scene.ledger, "emission", reason=reason, actor="op")


def test_blocks_end_where_the_chain_s_numbers_do(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="cannot start at block 4294967296"):
        adopt_policy(scene.ledger, policy("never"), from_block=2**32, actor="op")
    with pytest.raises(DecisionRefusedError, match="cannot open at block 4294967296"):
        open_arena(
            scene.engine, OTHER_ARENA, network="t", at_block=2**32, policy=OTHER_RULES, actor="op"
        )


def test_a_policy_made_in_code_passes_the_same_checks(scene: Scene) -> None:
    before = scene.log()
    with pytest.raises(PolicyError, match="no SS58 address"):
        adopt_policy(scene.ledger, policy(treasury="5Fake"), from_block=scene.head, actor="op")
    assert scene.log() == before


def test_two_arenas_of_a_chain_share_no_treasury(scene: Scene) -> None:
    with pytest.raises(DecisionRefusedError, match="no two arenas may share one"):
        Scene(scene.engine, OTHER_ARENA, policy(treasury=treasury_of(14)))
    Scene(scene.engine, OTHER_ARENA)
    stolen = policy("later", treasury=treasury_of(15))
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
