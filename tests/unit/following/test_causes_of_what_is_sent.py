"""What is sent to the chain names why: the decision behind a vector, the approval of a buyback."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.buyback import Desk
from chain.buyback_outcomes import settle_buyback
from chain.port import MORTAL_BLOCKS, SendRefusedError
from ledger.application import Unit
from ledger.commands.arena import pause
from ledger.decisions.treasury import Treasury
from ledger.facts import Fact
from ledger.keys import treasury_id
from ledger.observations import WeightsReadBack
from ledger.queries.why import why
from tests.unit.following.support import (
    NETUID,
    NETWORK,
    TAO,
    TREASURY,
    VALIDATOR,
    Following,
    follow,
)


def topics(place: Following, fact: Fact | None) -> list[str]:
    assert fact is not None
    with place.services.at(NETWORK, NETUID) as scope:
        return [found.topic for found in why(scope, fact.fact_key)]


def buy(place: Following, max_price_rao: int) -> Fact | None:
    def plan(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        planned = treasury.plan_buyback(unit.context, TAO, max_price_rao, "ann")
        unit.because(planned)
        treasury.approve_buyback(unit.context, 1, "bob")

    place.ledger.decide(plan)
    try:
        Desk(place.chain, place.ledger, TREASURY, VALIDATOR).execute(1)
    except SendRefusedError:
        place.advance(MORTAL_BLOCKS)
        settle_buyback(place.chain, place.ledger, 1)
    return place.ledger.load(Treasury, treasury_id(place.ledger.arena)).last


def test_what_the_chain_holds_is_walked_back_to_the_decision_behind_it(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.publish()
    way = ["seen.weights_on_chain.v2", "seen.weights_receipt.v1", "seen.weights_submitted.v2"]
    assert topics(place, place.ledger.newest(WeightsReadBack)) == [*way, "arena.opened.v1"]
    pause(place.ledger, "emission", reason="exploit", actor="op")
    place.advance(20)
    place.publish()
    assert topics(place, place.ledger.newest(WeightsReadBack)) == [*way, "arena.paused.v1"]


@pytest.mark.parametrize(
    ("ending", "max_price_rao"), [("executed", 10 * TAO), ("failed", TAO // 20)]
)
def test_a_buyback_is_walked_back_to_who_planned_it(
    tmp_path: Path, ending: str, max_price_rao: int
) -> None:
    place = follow(tmp_path, {})
    ended = buy(place, max_price_rao)
    steps = [f"{ending}.v1", "sent.v2", "approved.v2", "planned.v2"]
    assert topics(place, ended) == [f"treasury.buyback_{step}" for step in steps]
