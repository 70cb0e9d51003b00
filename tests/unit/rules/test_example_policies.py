"""The example policy documents are readable and say what DOMAIN 4 and 5 say."""

from __future__ import annotations

import pytest

from ledger import policies
from ledger.policy import (
    BlockRamp,
    KingTakesAll,
    PolicyError,
    ScoreInterval,
    ScorePool,
    parse_policy_toml,
)

PHASES = ("phase1", "phase2", "phase3")


def test_there_are_the_phases_and_our_own_rule_and_each_can_be_adopted() -> None:
    assert policies.names() == ("interval", *PHASES)
    digests = {parse_policy_toml(policies.load(name)).digest() for name in policies.names()}
    assert len(digests) == 4


def test_each_holds_the_emission_of_its_phase() -> None:
    found = [
        track.emission
        for name in PHASES
        for track in parse_policy_toml(policies.load(name)).tracks.values()
    ]
    assert found == [KingTakesAll(), ScorePool(), BlockRamp()]


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(PolicyError, match="there are: interval, phase1, phase2, phase3"):
        policies.load("../policy")


def test_our_own_rule_restarts_every_server_in_every_block() -> None:
    (track,) = parse_policy_toml(policies.load("interval")).tracks.values()
    contest = track.contest
    assert (contest.order, contest.restart_each_block) == ("interleaved", True)
    assert isinstance(track.scoring, ScoreInterval)
    assert track.scoring.error_of == "round"
