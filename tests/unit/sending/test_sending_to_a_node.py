"""What is sent to a node is what was ordered, lands once, and its fate is read from blocks only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain.lookup import look_up, next_sending
from chain.node_calls import compose
from chain.orders import (
    BurnOrder,
    CommitOrder,
    FeeOrder,
    Order,
    StakeBurnOrder,
    StakeOrder,
    WeightsOrder,
)
from chain.port import MORTAL_BLOCKS, Sending, SendRefusedError
from tests.cassette import needs_cassette
from tests.unit.sending.support import COLDKEY, TAO, TREASURY, VALIDATOR, growing

pytestmark = [needs_cassette, pytest.mark.cassette]

WEIGHTS = WeightsOrder(netuid=2, uids=(0, 2), values=(65_535, 655), version_key=0)


def test_weights_land_with_the_hash_that_was_known_before() -> None:
    with growing() as place:
        sending = next_sending(place.reader, VALIDATOR.ss58_address)
        prepared = place.writer.prepare(WEIGHTS, sending)
        assert place.node.submitted == []
        receipt = place.writer.send(prepared)
        assert receipt.success
        assert receipt.extrinsic_hash == prepared.hash
        assert receipt.block.number == 78
        assert [event.name for event in receipt.events] == [
            "WeightsSet",
            "TransactionFeePaid",
            "ExtrinsicSuccess",
        ]
        held = place.reader.validator_weights(2, receipt.block.hash)
        assert [row.weights for row in held if row.hotkey == VALIDATOR.ss58_address] == [
            ((0, 65_535), (2, 655))
        ]
        assert place.reader.next_nonce(VALIDATOR.ss58_address) == 1
        assert place.writer.weights_terms(2, VALIDATOR.ss58_address).last_update == 78


HOTKEY = VALIDATOR.ss58_address
REMARK = "cacheon:5G1nn5LVeAFnPb1p7NuAtXpRpydHUJDau2wftvkmesTPU9p4:sha256:" + "ab" * 32
PAYLOAD = b'{"image":"ghcr.io/a/b","digest":"sha256:' + b"ab" * 32 + b'"}'
ORDERS: list[tuple[Order, str, list[str]]] = [
    (
        FeeOrder(destination=TREASURY.ss58_address, amount_rao=100_000_000, remark=REMARK),
        COLDKEY.ss58_address,
        ["Transfer", "ItemCompleted", "ItemCompleted", "BatchCompleted"],
    ),
    (
        StakeOrder(netuid=2, hotkey=HOTKEY, amount_rao=TAO, max_price_rao=10 * TAO),
        COLDKEY.ss58_address,
        ["StakeAdded"],
    ),
    (
        BurnOrder(netuid=2, hotkey=HOTKEY, amount_alpha=12_345),
        COLDKEY.ss58_address,
        ["AlphaBurned"],
    ),
    (CommitOrder(netuid=2, payload=PAYLOAD), HOTKEY, ["Commitment"]),
    (CommitOrder(netuid=2, payload=PAYLOAD, reveal_in_blocks=50), HOTKEY, ["TimelockCommitment"]),
]


@pytest.mark.parametrize(("order", "signer", "events"), ORDERS)
def test_every_order_becomes_the_runtime_s_call_and_is_recognised(
    order: Order, signer: str, events: list[str]
) -> None:
    with growing() as place:
        assert place.writer.offers(type(order))
        sending = next_sending(place.reader, signer)
        receipt = place.writer.send(place.writer.prepare(order, sending))
        assert receipt.success
        names = [event.name for event in receipt.events]
        assert [name for name in names if name in events] == events
        found = look_up(place.reader, sending).landed
        assert found is not None
        assert found.carries(order)
        assert not any(found.carries(other) for other, _, _ in ORDERS if other is not order)


def test_a_plain_commit_that_was_sent_is_read_as_it_was_written() -> None:
    with growing() as place:
        order = CommitOrder(netuid=2, payload=PAYLOAD)
        sending = next_sending(place.reader, HOTKEY)
        receipt = place.writer.send(place.writer.prepare(order, sending))
        block = place.reader.block(receipt.block.number)
        (commit,) = place.reader.commits(block, 2)
        assert (commit.hotkey, commit.payload) == (HOTKEY, PAYLOAD)


def test_what_the_runtime_has_no_call_for_is_refused_before_anything_is_signed() -> None:
    with growing() as place:
        order = StakeBurnOrder(netuid=2, hotkey=HOTKEY, amount_rao=TAO, max_price_rao=TAO)
        assert not place.writer.offers(StakeBurnOrder)
        sending = next_sending(place.reader, COLDKEY.ss58_address)
        with pytest.raises(SendRefusedError, match=r"has no call SubtensorModule\.add_stake_burn"):
            place.writer.prepare(order, sending)


def test_a_key_that_is_not_opened_signs_nothing() -> None:
    with growing() as place:
        with pytest.raises(SendRefusedError, match="no opened wallet holds the key"):
            place.writer.prepare(WEIGHTS, Sending(TREASURY.ss58_address, 0, 77))
        assert place.node.submitted == []


@pytest.mark.parametrize("change", [{"values": (65_535, 656)}, {"uids": (0, 3)}, {"netuid": 3}])
def test_what_a_library_changed_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    async def composed_otherwise(substrate: Any, order: Any, *rest: Any, **more: Any) -> Any:
        return await compose(substrate, replace(order, **change), *rest, **more)

    monkeypatch.setattr("chain.node_writer.compose", composed_otherwise)
    with growing() as place:
        sending = next_sending(place.reader, HOTKEY)
        with pytest.raises(SendRefusedError, match="is not the WeightsOrder that was asked for"):
            place.writer.prepare(WEIGHTS, sending)


def test_what_was_signed_cannot_land_after_its_last_block() -> None:
    with growing(final_s=0.05) as place:
        sending = next_sending(place.reader, HOTKEY)
        prepared = place.writer.prepare(WEIGHTS, sending)
        place.node.grow(MORTAL_BLOCKS - 1)
        assert place.node.head == sending.last_block
        with pytest.raises(SendRefusedError, match="ancient birth block"):
            place.writer.send(prepared)
        with pytest.raises(SendRefusedError, match="it is too late"):
            place.writer.prepare(WEIGHTS, sending)
        assert not look_up(place.reader, sending).may_still_land
        place.node.grow(1)
        with pytest.raises(SendRefusedError, match="bad signature"):
            place.writer.send(prepared)  # a new cycle of the era has begun, with another block


def test_what_was_signed_can_land_in_its_last_block() -> None:
    with growing() as place:
        sending = next_sending(place.reader, HOTKEY)
        prepared = place.writer.prepare(WEIGHTS, sending)
        place.node.grow(MORTAL_BLOCKS - 2)
        assert place.writer.send(prepared).block.number == sending.last_block


def test_a_sealed_order_is_refused_where_the_sdk_does_not_write_the_runtime_s_form() -> None:
    with growing() as place:
        place.node.put("SubtensorModule", "CommitRevealWeightsEnabled", [2], True)
        place.node.put("SubtensorModule", "RevealPeriodEpochs", [2], 1)
        with pytest.raises(SendRefusedError, match="in a form of an older runtime"):
            place.writer.prepare(WEIGHTS, next_sending(place.reader, HOTKEY))


def test_the_terms_of_a_subnet_that_hides_weights_say_until_when_they_are_hidden() -> None:
    with growing() as place:
        place.node.put("SubtensorModule", "CommitRevealWeightsEnabled", [2], True)
        place.node.put("SubtensorModule", "RevealPeriodEpochs", [2], 1)
        terms = place.writer.weights_terms(2, HOTKEY)
        assert (terms.commit_reveal, terms.reveal_blocks) == (True, 3 * 13)  # tempo 12
        assert (terms.uid, terms.permit, terms.last_update) == (1, True, 45)
