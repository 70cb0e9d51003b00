"""What was sent so long ago that the node has thrown away its blocks never stops what is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.lookup import next_sending
from chain.orders import WeightsOrder
from chain.port import MORTAL_BLOCKS, ChainUnavailableError, PrunedStateError
from chain.publish import WeightPublisher
from ledger.observations import AlertRaised, WeightsReceipt
from ledger.rules.weights import Throne, WeightVector, compute_vector
from tests.pruning import PruningChain, pruning
from tests.unit.following.support import (
    NETUID,
    OPENS_AT,
    VALIDATOR,
    Following,
    follow,
    policy,
)

KEPT_BLOCKS = 10
"""How many blocks this node keeps; a real one 256."""


def late(place: Following) -> tuple[PruningChain, WeightPublisher]:
    """A node without the old blocks, and a publisher that has no other."""
    chain = place.chain

    def pruned(number: int) -> bool:
        return number < chain.finalized_head().number - KEPT_BLOCKS

    node, reader = pruning(chain, pruned)
    return node, WeightPublisher(reader, chain, place.ledger, validator_hotkey=VALIDATOR)


def pause(place: Following) -> WeightVector:
    block = place.chain.finalized_head().number
    throne = Throne("one", None, 0, None)
    return compute_vector(block, policy(), {"one": throne}, {}, burn_uid=0, emission_paused=True)


def alerts(place: Following) -> list[str]:
    found: list[str] = []
    place.ledger.newest(AlertRaised, where=lambda fact: bool(found.append(fact.kind)))
    return found


def lose(place: Following, *, taken: bool) -> None:
    place.chain.fail_next("send", ChainUnavailableError("the answer was lost"), after=taken)
    with pytest.raises(ChainUnavailableError):
        place.publish()


def first_receipt(place: Following) -> WeightsReceipt:
    found = place.ledger.newest(WeightsReceipt, where=lambda fact: fact.for_block == OPENS_AT)
    assert found is not None
    return found


def test_an_unused_nonce_proves_that_it_never_landed(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    lose(place, taken=False)
    place.advance(MORTAL_BLOCKS + KEPT_BLOCKS)
    answer = late(place)[1].publish(pause(place), policy().weights, burn_uid_eligible=True)
    assert answer.receipt is not None
    assert answer.receipt.success
    assert "nonce 0 was never used" in (first_receipt(place).error or "")
    assert "weights_outcome_unknown" not in alerts(place)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_used_nonce_leaves_it_unknown_and_a_pause_is_sent_all_the_same(
    tmp_path: Path, by_itself: bool
) -> None:
    place = follow(tmp_path, {})
    lose(place, taken=by_itself)
    if not by_itself:
        other = WeightsOrder(netuid=NETUID, uids=(1,), values=(65_535,), version_key=7)
        name = next_sending(place.chain, VALIDATOR)
        place.chain.send(place.chain.prepare(other, name))
    place.advance(MORTAL_BLOCKS + KEPT_BLOCKS)
    answer = late(place)[1].publish(pause(place), policy().weights, burn_uid_eligible=True)
    assert answer.receipt is not None
    assert answer.receipt.success
    assert "nobody knows what became of it" in (first_receipt(place).error or "")
    assert "weights_outcome_unknown" in alerts(place)


def test_one_that_may_still_land_is_never_given_up(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    lose(place, taken=False)
    place.advance(KEPT_BLOCKS + 5)
    with pytest.raises(PrunedStateError):
        late(place)[1].settle()
    assert place.ledger.newest(WeightsReceipt) is None


def test_what_landed_long_ago_is_read_back_without_its_block(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("validator_weights", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        place.publish()
    assert first_receipt(place).success
    for _ in range(201):
        place.chain.advance()
    node, publisher = late(place)
    publisher.settle()
    assert node.asked == []
    assert alerts(place) == []
