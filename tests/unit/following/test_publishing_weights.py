"""Weights are sent when due, once, with a receipt for every intent, whatever is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.lookup import next_sending
from chain.orders import WeightsOrder
from chain.port import MORTAL_BLOCKS, ChainUnavailableError, SendRefusedError
from chain.simulated import SetSubnetOwner, account
from ledger.application import Unit
from ledger.observations import (
    AlertRaised,
    WeightsReadBack,
    WeightsReceipt,
    WeightsSubmitted,
    WeightsSubmittedV1,
)
from ledger.queries.weights import policy_in_force, sent_vectors, vector_in_force
from tests.unit.following.support import NETUID, NETWORK, OPENS_AT, VALIDATOR, Following, follow


def set_weights_on_chain(place: Following) -> int:
    head = place.chain.finalized_head().number
    return sum(
        extrinsic.call.name == "SubtensorModule.set_weights"
        for number in range(OPENS_AT, head + 1)
        for extrinsic in place.chain.block(number).extrinsics
    )


def test_the_first_vector_is_sent_received_and_read_back(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    receipt = place.publish()
    assert receipt is not None
    assert receipt.success
    held = place.ledger.newest(WeightsReadBack)
    assert held is not None
    assert held.digest == receipt.digest
    assert set_weights_on_chain(place) == 1


def test_an_unchanged_vector_is_sent_again_only_when_stale(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.publish()
    place.advance(18)  # one more block holds the weights themselves
    assert place.publish() is None
    place.advance(1)
    receipt = place.publish()
    assert receipt is not None
    assert receipt.success
    sent = place.ledger.newest(WeightsSubmitted)
    assert sent is not None
    assert "blocks old" in sent.reason


def test_a_lost_answer_is_looked_up_and_never_sent_twice(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=True)
    with pytest.raises(ChainUnavailableError):
        place.publish()
    place.publisher().settle()
    receipt = place.ledger.newest(WeightsReceipt)
    assert receipt is not None
    assert receipt.success
    assert receipt.block == OPENS_AT + 1
    place.follower.catch_up()
    assert place.publish() is None
    assert set_weights_on_chain(place) == 1


def test_an_intent_that_was_never_sent_is_sent_while_the_chain_stands_still(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        place.publish()
    receipt = place.publish()
    assert receipt is not None
    assert receipt.success
    assert set_weights_on_chain(place) == 1


def test_an_intent_that_never_landed_gets_a_receipt_that_says_so(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        place.publish()
    place.advance(MORTAL_BLOCKS - 2)
    place.publisher().settle()
    assert place.ledger.newest(WeightsReceipt) is None  # it may still land
    place.advance(1)
    place.publisher().settle()
    receipt = place.ledger.newest(WeightsReceipt)
    assert receipt is not None
    assert not receipt.success
    assert receipt.block is None
    again = place.publish()
    assert again is not None
    assert again.success


def test_a_refusal_of_the_chain_is_a_fact(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("send", SendRefusedError("SubtensorModule.MaxWeightExceeded"))
    receipt = place.publish()
    assert receipt is not None
    assert not receipt.success
    assert "MaxWeightExceeded" in (receipt.error or "")
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line.success for line in sent_vectors(scope)] == [False]


def test_nothing_is_sent_while_the_burn_uid_is_not_the_owners(tmp_path: Path) -> None:
    owner = SetSubnetOwner(hotkey=account("new owner"), coldkey=account("new owner cold"))
    place = follow(tmp_path, {OPENS_AT + 2: [owner]})
    place.advance(3)
    assert place.publish() is None
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert alert.kind == "burn_uid_not_eligible"
    assert set_weights_on_chain(place) == 0


def test_nothing_is_sent_while_nobody_knows_whose_the_burn_uid_is(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    with place.services.at(NETWORK, NETUID) as scope:
        vector, rules = vector_in_force(scope), policy_in_force(scope).weights
    published = place.publisher().publish(vector, rules, burn_uid_eligible=None)
    assert published.receipt is None
    assert published.outlook.alert == "burn_uid_not_eligible"
    assert "is not known to belong to the subnet's owner" in published.outlook.why
    assert place.ledger.newest(WeightsSubmitted) is None
    assert set_weights_on_chain(place) == 0


@pytest.mark.parametrize("lags", [True, False])
def test_what_keeps_weights_back_for_many_blocks_is_one_alert(tmp_path: Path, lags: bool) -> None:
    owner = SetSubnetOwner(hotkey=account("new owner"), coldkey=account("new owner cold"))
    place = follow(tmp_path, {} if lags else {OPENS_AT + 2: [owner]})
    for _ in range(6 if lags else 3):
        place.chain.advance()
    for _ in range(4):
        place.chain.advance()
        if not lags:
            place.follower.catch_up()
        assert place.publish() is None
    kind = "ingest_lag" if lags else "burn_uid_not_eligible"
    raised: list[str] = []
    place.ledger.newest(AlertRaised, where=lambda fact: bool(raised.append(fact.kind)))
    # Ingest tells of the burn UID in its own words first.
    assert raised.count(kind) == (1 if lags else 2)


def test_an_intent_that_cannot_be_sent_again_is_waited_for_without_an_alert(
    tmp_path: Path,
) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        place.publish()
    place.chain.fail_next("prepare", SendRefusedError("the rate limit is 100"))
    assert place.publish() is None
    assert place.ledger.newest(AlertRaised) is None
    assert place.ledger.newest(WeightsReceipt) is None


def test_nothing_is_sent_while_ingest_lags(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    for _ in range(6):
        place.chain.advance()
    assert place.publish() is None
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert alert.kind == "ingest_lag"
    assert set_weights_on_chain(place) == 0


@pytest.mark.parametrize("landed", [True, False])
def test_an_intent_of_a_program_that_knew_no_nonce_is_found_by_its_values(
    tmp_path: Path, landed: bool
) -> None:
    place = follow(tmp_path, {})
    with place.services.at(NETWORK, NETUID) as scope:
        vector = vector_in_force(scope)

    def note(unit: Unit) -> None:
        unit.observe(
            WeightsSubmittedV1,
            f"weights-sent:{unit.context.arena}:{VALIDATOR}:{OPENS_AT}",
            for_block=OPENS_AT,
            validator_hotkey=VALIDATOR,
            uids=vector.uids,
            hotkeys=tuple("" for _ in vector.uids),
            shares_ppm=tuple(share for _, share in vector.shares),
            values=vector.values,
            digest=vector.digest,
            version_key=7,
            reason="first vector",
        )

    place.ledger.decide(note)
    if landed:
        order = WeightsOrder(netuid=NETUID, uids=vector.uids, values=vector.values, version_key=7)
        sending = next_sending(place.chain, VALIDATOR)
        place.chain.send(place.chain.prepare(order, sending))
    else:
        place.chain.advance()
    place.publisher().settle()
    receipt = place.ledger.newest(WeightsReceipt)
    assert receipt is not None
    assert receipt.fact_key == f"weights-receipt:{place.ledger.arena}:{VALIDATOR}:{OPENS_AT}"
    assert receipt.success is landed
    assert set_weights_on_chain(place) == (1 if landed else 0)
    assert place.publish() is None  # that block's vector had its try
