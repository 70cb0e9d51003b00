"""The example policy documents are readable and say what DOMAIN 4 and 5 say."""

from __future__ import annotations

import pytest

from ledger import policies
from ledger.policy import BlockRamp, KingTakesAll, PolicyError, ScorePool, parse_policy_toml


def test_there_are_three_and_each_can_be_adopted() -> None:
    assert policies.names() == ("phase1", "phase2", "phase3")
    digests = {parse_policy_toml(policies.load(name)).digest() for name in policies.names()}
    assert len(digests) == 3


def test_each_holds_the_emission_of_its_phase() -> None:
    found = [
        track.emission
        for name in policies.names()
        for track in parse_policy_toml(policies.load(name)).tracks.values()
    ]
    assert found == [KingTakesAll(), ScorePool(), BlockRamp()]


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(PolicyError, match="there are: phase1, phase2, phase3"):
        policies.load("../policy")
