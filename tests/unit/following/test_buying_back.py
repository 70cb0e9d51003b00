"""A buyback is planned by one, approved by another, and bought once, whatever is lost."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from chain.buyback import execute_buyback, settle_buyback
from chain.port import BlockRef, Chain, ChainUnavailableError
from chain.simulated import Transfer
from ledger.application import Unit
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import BuybackExecuted, BuybackFailed
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.queries.treasury import buybacks
from tests.unit.following.support import (
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    TAO,
    TREASURY,
    VALIDATOR,
    Following,
    follow,
)

HIGH_PRICE_RAO = 10 * TAO


def treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))


def planned(place: Following, max_price_rao: int = HIGH_PRICE_RAO) -> None:
    def work(unit: Unit) -> None:
        treasury(unit).plan_buyback(unit.context, TAO, max_price_rao, "ann")
        treasury(unit).approve_buyback(unit.context, 1, "bob")

    place.ledger.decide(work)


def burns_on_chain(place: Following) -> int:
    head = place.chain.finalized_head().number
    return sum(
        event.name == "AlphaBurned"
        for number in range(OPENS_AT, head + 1)
        for event in place.chain.block(number).events
    )


def test_it_is_bought_burned_and_matched_to_its_events(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    done = place.ledger.newest(BuybackExecuted)
    assert done is not None
    assert done.spent_rao == TAO
    assert done.burned_alpha == 20_000 * TAO * TAO // (1_001 * TAO)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert burns_on_chain(place) == 1
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in buybacks(scope)] == ["executed"]


def test_a_lost_answer_never_buys_twice(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def test_one_that_was_never_sent_is_sent_while_the_chain_stands_still(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert burns_on_chain(place) == 1


def test_one_that_did_not_land_is_sent_again_with_its_nonce(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    place.advance(3)
    assert not settle_buyback(place.chain, place.ledger, 1)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def test_one_whose_nonce_was_used_otherwise_is_given_up(tmp_path: Path) -> None:
    other = Transfer(source=TREASURY, destination=MINER_COLD, rao=1_000)
    place = follow(tmp_path, {OPENS_AT + 2: [other]})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    place.advance(3)
    assert settle_buyback(place.chain, place.ledger, 1)
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert "nonce" in failed.reason
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert burns_on_chain(place) == 0


def test_two_of_one_amount_never_share_an_extrinsic(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)

    def second(unit: Unit) -> None:
        treasury(unit).plan_buyback(unit.context, TAO, HIGH_PRICE_RAO, "ann")
        treasury(unit).approve_buyback(unit.context, 2, "bob")

    place.ledger.decide(second)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 2, amount_rao=TAO, hotkey=VALIDATOR)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert settle_buyback(place.chain, place.ledger, 2)
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in buybacks(scope)] == ["executed", "failed"]
    assert burns_on_chain(place) == 1


def test_a_node_that_is_behind_cannot_tell(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.advance(2)
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)

    class Behind:
        """The same chain, seen through a node that lags by three blocks."""

        def __getattr__(self, name: str) -> object:
            return getattr(place.chain, name)

        def finalized_head(self) -> BlockRef:
            return place.chain.block(OPENS_AT).ref

        def next_nonce(self, _address: str) -> int:
            return 0

    with pytest.raises(ChainUnavailableError, match="the node is at block"):
        settle_buyback(cast("Chain", Behind()), place.ledger, 1)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def test_a_price_above_the_limit_is_refused_and_recorded(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place, max_price_rao=1)
    execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert "SlippageTooHigh" in failed.reason
    assert burns_on_chain(place) == 0


def test_whoever_planned_it_cannot_approve_it(tmp_path: Path) -> None:
    place = follow(tmp_path, {})

    def work(unit: Unit) -> None:
        treasury(unit).plan_buyback(unit.context, TAO, HIGH_PRICE_RAO, "ann")
        treasury(unit).approve_buyback(unit.context, 1, "ann")

    with pytest.raises(DecisionRefusedError, match="second person"):
        place.ledger.decide(work)
    with pytest.raises(DecisionRefusedError, match="no buyback 1"):
        execute_buyback(place.chain, place.ledger, 1, amount_rao=TAO, hotkey=VALIDATOR)
