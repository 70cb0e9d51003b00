"""A buyback is planned by one, approved by another, and bought once, whatever is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from chain.buyback import Desk, HeldBackError
from chain.buyback_outcomes import buyback_of, settle_buyback
from chain.port import MORTAL_BLOCKS, BlockRef, Chain, ChainUnavailableError, SendRefusedError
from chain.simulated import BuyAndBurn, Transfer
from ledger.application import Unit
from ledger.commands.buybacks import approve_buyback, plan_buyback
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import Buyback, BuybackExecuted, BuybackFailed
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import AlertRaised
from ledger.queries.treasury import buybacks
from ledger.rules.buybacks import BuybackTerms, ObservedPrice
from ledger.units import Rao
from tests.unit.following.support import (
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    OWNER,
    OWNER_COLD,
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


def desk(place: Following, **changes: Any) -> Desk:
    return Desk(place.chain, place.ledger, **{"signer": TREASURY, "hotkey": VALIDATOR, **changes})


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
    desk(place).execute(1)
    done = place.ledger.newest(BuybackExecuted)
    assert done is not None
    assert done.spent_rao == TAO
    assert done.burned_alpha == 20_000 * TAO * TAO // (1_001 * TAO)
    desk(place).execute(1)
    assert burns_on_chain(place) == 1
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in buybacks(scope)] == ["executed"]


def test_a_lost_answer_never_buys_twice(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        desk(place).execute(1)
    desk(place).execute(1)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def test_one_that_was_never_sent_is_sent_while_the_chain_stands_still(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place).execute(1)
    desk(place).execute(1)
    assert burns_on_chain(place) == 1


def test_one_that_did_not_land_is_sent_again_with_its_nonce(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place).execute(1)
    place.advance(3)
    assert not settle_buyback(place.chain, place.ledger, 1)
    desk(place).execute(1)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def test_one_whose_nonce_was_used_otherwise_is_given_up(tmp_path: Path) -> None:
    other = Transfer(source=TREASURY, destination=MINER_COLD, rao=1_000)
    place = follow(tmp_path, {OPENS_AT + 2: [other]})
    planned(place)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place).execute(1)
    place.advance(3)
    assert settle_buyback(place.chain, place.ledger, 1)
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert "nonce" in failed.reason
    desk(place).execute(1)
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
        desk(place).execute(2)
    desk(place).execute(1)
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
        desk(place).execute(1)

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
    desk(place).execute(1)
    assert place.ledger.newest(BuybackExecuted) is not None
    assert burns_on_chain(place) == 1


def state(place: Following) -> Buyback:
    return buyback_of(place.ledger, 1)


def alerts(place: Following) -> list[str]:
    newest = place.ledger.newest(AlertRaised)
    return [] if newest is None else [newest.kind, newest.detail]


def test_a_price_above_the_limit_sends_nothing_and_raises_an_alert(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place, max_price_rao=TAO // 20 - 1)
    with pytest.raises(HeldBackError, match=r"costs 0\.050000000 TAO at block 100"):
        desk(place).execute(1)
    assert alerts(place)[0] == "buyback_price"
    assert state(place).status == "approved"
    assert place.chain.finalized_head().number == OPENS_AT


def test_what_the_chain_refused_stays_open_until_it_is_too_late_to_land(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place, max_price_rao=TAO // 20)  # the price now, which the purchase itself moves
    with pytest.raises(SendRefusedError, match=r"SlippageTooHigh.*up to block 163"):
        desk(place).execute(1)
    assert not settle_buyback(place.chain, place.ledger, 1)
    place.advance(MORTAL_BLOCKS)
    assert settle_buyback(place.chain, place.ledger, 1)
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert "too late to land" in failed.reason
    assert burns_on_chain(place) == 0


def test_a_purchase_that_lands_and_fails_is_recorded_so(tmp_path: Path) -> None:
    faster = BuyAndBurn(
        coldkey=OWNER_COLD, hotkey=OWNER, amount_rao=9 * TAO, max_price_rao=HIGH_PRICE_RAO
    )
    place = follow(tmp_path, {OPENS_AT + 1: [faster]})
    planned(place, max_price_rao=TAO // 20 + TAO // 5_000)
    assert desk(place).execute(1).status == "failed"
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert "SlippageTooHigh" in failed.reason


def test_nothing_is_sent_while_ingest_lags(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    place.chain.advance_to(OPENS_AT + 6)
    with pytest.raises(HeldBackError, match="ingest lags 6 blocks, 5 are allowed"):
        desk(place).execute(1)
    assert alerts(place)[0] == "ingest_lag"
    assert place.chain.finalized_head().number == OPENS_AT + 6
    place.follower.catch_up()
    assert desk(place).execute(1).status == "executed"


def test_nothing_is_sent_while_blocks_since_the_plan_are_missing(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.advance(3)
    planned(place)
    before = (OPENS_AT + 1, OPENS_AT + 2)
    since = (OPENS_AT + 2, OPENS_AT + 3)
    with pytest.raises(HeldBackError, match="the log lacks blocks 102 to 103"):
        desk(place, missing=[before, since]).execute(1)
    assert alerts(place)[0] == "gap_open"
    assert desk(place, missing=[before]).execute(1).status == "executed"


def test_another_wallet_than_the_treasurys_is_refused_before_anything(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    with pytest.raises(DecisionRefusedError, match=r"the wallet's coldkey is .* the treasury is"):
        desk(place, signer=MINER_COLD).execute(1)
    assert state(place).status == "approved"


def test_more_than_the_treasury_holds_is_refused_before_anything(tmp_path: Path) -> None:
    place = follow(tmp_path, {})

    def work(unit: Unit) -> None:
        treasury(unit).plan_buyback(unit.context, 10 * TAO, HIGH_PRICE_RAO, "ann")
        treasury(unit).approve_buyback(unit.context, 1, "bob")

    place.ledger.decide(work)
    with pytest.raises(DecisionRefusedError, match=r"holds 10\.000000000 TAO at block 100"):
        desk(place).execute(1)
    assert state(place).status == "approved"


def test_without_a_hotkey_it_is_bought_on_the_subnet_owners(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    planned(place)
    found = desk(place, hotkey=None).execute(1)
    assert found.sent is not None
    assert found.sent.hotkey == OWNER


def test_whoever_planned_it_cannot_approve_it(tmp_path: Path) -> None:
    place = follow(tmp_path, {})

    def work(unit: Unit) -> None:
        treasury(unit).plan_buyback(unit.context, TAO, HIGH_PRICE_RAO, "ann")
        treasury(unit).approve_buyback(unit.context, 1, "ann")

    with pytest.raises(DecisionRefusedError, match="second person"):
        place.ledger.decide(work)
    with pytest.raises(DecisionRefusedError, match="no buyback 1"):
        desk(place).execute(1)


def test_the_limit_follows_a_price_that_fell_since_the_plan_down(tmp_path: Path) -> None:
    """Else whoever sees the purchase coming could take the difference."""
    place = follow(tmp_path, {})
    dearer = ObservedPrice(TAO // 10, OPENS_AT, place.chain.finalized_head().hash)
    terms = BuybackTerms("june", TAO, TAO // 10 + TAO // 200, dearer, 50_000)
    plan_buyback(place.ledger, terms, "ann")
    approve_buyback(place.ledger, 1, "bob")
    now = TAO // 20
    assert f"at no more than {Rao(now * 105 // 100)} per alpha" in desk(place).rehearse(1)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        desk(place).execute(1)
    done = desk(place).execute(1)
    assert done.status == "executed"
    assert done.sent is not None
    assert done.sent.max_price_rao == now * 105 // 100
