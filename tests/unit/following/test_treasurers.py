"""Where the policy names treasurers, two of their keys sign, and anybody can check it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bittensor.keyfiles import Keypair

from chain.buyback import Desk
from chain.treasurers import check, holds, sign
from ledger.application import Unit
from ledger.commands.arena import adopt_policy
from ledger.commands.buybacks import approve_buyback, plan_buyback, treasurers_of
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import BuybackApproved, BuybackPlanned
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.policy import TreasuryPolicy, parse_policy_toml
from ledger.rules.buybacks import BuybackTerms, Signed, approval_text, plan_text
from tests.unit.following.support import (
    OPENS_AT,
    POLICY,
    TAO,
    TREASURY,
    VALIDATOR,
    Following,
    follow,
)

ANN, BOB, EVE = (Keypair.create_from_uri(f"//{name}") for name in ("Ann", "Bob", "Eve"))
SIGNED_RULES = POLICY + f'[treasury]\ntreasurers = ["{ANN.ss58_address}", "{BOB.ss58_address}"]\n'
TERMS = BuybackTerms("june", TAO, 10 * TAO, price=None, max_slippage_ppm=None)


def planned(place: Following) -> BuybackPlanned:
    signed = sign(ANN, plan_text(place.ledger.arena, TERMS, "ann"))
    return plan_buyback(place.ledger, TERMS, "ann", signed)


def approval(place: Following, key: Keypair, actor: str = "bob") -> Signed:
    return sign(key, approval_text(place.ledger.arena, 1, TERMS, actor))


def bought(place: Following) -> str:
    return Desk(place.chain, place.ledger, TREASURY, VALIDATOR).execute(1).status


def test_two_treasurers_sign_and_what_they_signed_stands_in_the_log(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    assert treasurers_of(place.ledger) == (ANN.ss58_address, BOB.ss58_address)
    planned(place)
    approve_buyback(place.ledger, 1, "bob", approval(place, BOB))
    assert bought(place) == "executed"
    plan, agreed = place.ledger.newest(BuybackPlanned), place.ledger.newest(BuybackApproved)
    assert plan is not None
    assert agreed is not None
    text = plan_text(place.ledger.arena, plan.terms, plan.actor)
    assert holds(text, Signed(plan.key or "", plan.signature or ""))
    text = approval_text(place.ledger.arena, 1, plan.terms, agreed.actor)
    assert holds(text, Signed(agreed.key or "", agreed.signature or ""))


def test_a_name_alone_neither_plans_nor_approves(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    with pytest.raises(DecisionRefusedError, match="must be signed by a treasurer"):
        plan_buyback(place.ledger, TERMS, "ann")
    planned(place)
    with pytest.raises(DecisionRefusedError, match="must be signed by a treasurer"):
        approve_buyback(place.ledger, 1, "bob")


@pytest.mark.parametrize("name", ["ann", "Ann", " ANN ", "ａｎｎ"])
def test_one_person_under_two_spellings_is_no_second_one(tmp_path: Path, name: str) -> None:
    place = follow(tmp_path, {})
    plan_buyback(place.ledger, TERMS, "ann")
    with pytest.raises(DecisionRefusedError, match="a second person must approve it"):
        approve_buyback(place.ledger, 1, name)


@pytest.mark.parametrize(("actor", "key"), [("Ann", BOB), ("bob", ANN)], ids=["name", "key"])
def test_an_approval_by_the_planner_that_is_in_the_log_sends_nothing(
    tmp_path: Path, actor: str, key: Keypair
) -> None:
    """Recorded by whatever does not ask the rule."""
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    planned(place)
    signed = approval(place, key, actor)

    def work(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.record(
            unit.context,
            BuybackApproved,
            f"buyback-approved:{unit.context.arena}:1",
            number=1,
            actor=actor,
            key=signed.key,
            signature=signed.signature,
        )

    place.ledger.decide(work)
    with pytest.raises(DecisionRefusedError, match="planned and approved by one person"):
        bought(place)
    assert place.chain.finalized_head().number == OPENS_AT


def test_the_same_key_under_another_name_is_no_second_one(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    planned(place)
    with pytest.raises(DecisionRefusedError, match="another must approve it"):
        approve_buyback(place.ledger, 1, "bob", approval(place, ANN))


def test_a_key_that_is_no_treasurers_counts_for_nothing(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    planned(place)
    with pytest.raises(DecisionRefusedError, match="no treasurer of the policy"):
        approve_buyback(place.ledger, 1, "bob", approval(place, EVE))


@pytest.mark.parametrize("what", ["plan", "approval"])
def test_a_signature_that_does_not_hold_buys_nothing(tmp_path: Path, what: str) -> None:
    """Somebody who writes to the database by other means forges an event, not a signature."""
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    forged = Signed(ANN.ss58_address, sign(EVE, "x").signature)

    def work(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        good = sign(ANN, plan_text(unit.context.arena, TERMS, "ann"))
        signed = forged if what == "plan" else good
        treasury.plan_buyback(unit.context, TAO, 10 * TAO, "ann", request="june", signed=signed)
        agreed = approval(place, BOB)
        if what == "approval":
            agreed = Signed(agreed.key, sign(EVE, "x").signature)
        treasury.approve_buyback(unit.context, 1, "bob", signed=agreed)

    place.ledger.decide(work)
    with pytest.raises(DecisionRefusedError, match=f"the signature of the {what} of buyback 1"):
        bought(place)


def test_treasurers_named_later_must_sign_before_anything_is_sent(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    plan_buyback(place.ledger, TERMS, "ann")
    approve_buyback(place.ledger, 1, "bob")
    rules = parse_policy_toml(SIGNED_RULES.replace('name = "test"', 'name = "signed"'))
    adopt_policy(place.ledger, rules, from_block=OPENS_AT + 1, actor="op")
    place.advance()
    with pytest.raises(DecisionRefusedError, match="not signed by two of the treasurers"):
        bought(place)


def test_a_treasurer_who_was_dropped_meanwhile_no_longer_counts(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    planned(place)
    approve_buyback(place.ledger, 1, "bob", approval(place, BOB))
    rules = msgspec.structs.replace(
        parse_policy_toml(SIGNED_RULES),
        name="without bob",
        treasury=TreasuryPolicy(treasurers=(ANN.ss58_address, EVE.ss58_address)),
    )
    adopt_policy(place.ledger, rules, from_block=OPENS_AT + 1, actor="op")
    place.advance()
    with pytest.raises(DecisionRefusedError, match="not signed by two of the treasurers"):
        bought(place)


def test_the_same_request_is_one_plan_however_often_it_is_made(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=SIGNED_RULES)
    first = planned(place)
    assert planned(place) == first
    moved = BuybackTerms("june", TAO, 11 * TAO, price=None, max_slippage_ppm=None)
    assert plan_buyback(place.ledger, moved, "ann") == first
    other = BuybackTerms("june", TAO + 1, 10 * TAO, price=None, max_slippage_ppm=None)
    with pytest.raises(DecisionRefusedError, match="request 'june' is buyback 1 already"):
        plan_buyback(place.ledger, other, "ann")


@pytest.mark.parametrize("request_id", ["", "1", "a b", "x" * 65, "é"])
def test_a_request_has_a_plain_name(tmp_path: Path, request_id: str) -> None:
    place = follow(tmp_path, {})
    terms = BuybackTerms(request_id, TAO, 10 * TAO, price=None, max_slippage_ppm=None)
    with pytest.raises(DecisionRefusedError, match="is no name of a request"):
        plan_buyback(place.ledger, terms, "ann")


@pytest.mark.parametrize("signature", ["", "0x", "0xzz", "0x" + "00" * 63, "0x" + "00" * 64])
def test_what_is_no_signature_never_holds(signature: str) -> None:
    assert not holds("text", Signed(ANN.ss58_address, signature))
    assert not holds("text", Signed("5nonsense", sign(ANN, "text").signature))
    with pytest.raises(DecisionRefusedError, match="the signature of it is not one of"):
        check("text", Signed(ANN.ss58_address, signature), "it")
