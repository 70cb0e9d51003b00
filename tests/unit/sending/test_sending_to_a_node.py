"""What is sent to a node is what was ordered, lands once, and its fate is read from blocks only."""

from __future__ import annotations

import pytest

from chain.lookup import next_sending
from chain.orders import WeightsOrder
from tests.cassette import needs_cassette
from tests.unit.sending.support import VALIDATOR, growing

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
