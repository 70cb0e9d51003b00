"""Weights that the chain does not take: an alert, and tries further and further apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.port import SendRefusedError
from chain.weights_due import (
    MAX_PAUSE_RETRY_BLOCKS,
    MAX_RETRY_BLOCKS,
    PAUSE_RETRY_BLOCKS,
    RETRY_BLOCKS,
    why_due,
)
from chain.weights_log import WeightsLog
from ledger.observations import AlertRaised
from ledger.rules.weights import Throne, WeightVector, compute_vector
from tests.unit.following.support import MINER, OPENS_AT, VALIDATOR, Following, follow, policy


def vector_at(block: int, *, paused: bool) -> WeightVector:
    throne = Throne("one", MINER, 500_000, None)
    return compute_vector(
        block, policy(), {"one": throne}, {MINER: 2}, burn_uid=0, emission_paused=paused
    )


def fail(place: Following, *, paused: bool) -> int:
    """Let the newest block's vector fail; gives that block."""
    head = place.ledger.head().effective_block
    place.chain.fail_next("send", SendRefusedError("MaxWeightExceeded"))
    vector = vector_at(head, paused=paused)
    answer = place.publisher().publish(vector, policy().weights, burn_uid_eligible=True)
    assert answer.receipt is not None
    assert not answer.receipt.success
    return head


def wait_of(place: Following, head: int, *, paused: bool) -> int:
    """How many blocks after ``head`` the vector is due again."""
    log = WeightsLog(place.ledger, VALIDATOR)
    for blocks in range(1, 2 * MAX_RETRY_BLOCKS):
        vector = vector_at(head + blocks, paused=paused)
        if not isinstance(why_due(log, vector, policy().weights), str):
            return blocks
    pytest.fail("it is never due again")


@pytest.mark.parametrize(
    ("paused", "first", "longest"),
    [
        (False, RETRY_BLOCKS, MAX_RETRY_BLOCKS),
        (True, PAUSE_RETRY_BLOCKS, MAX_PAUSE_RETRY_BLOCKS),
    ],
)
def test_each_failure_doubles_the_wait_up_to_a_limit(
    tmp_path: Path, paused: bool, first: int, longest: int
) -> None:
    place = follow(tmp_path, {})
    waits = []
    for _ in range(8):
        waits.append(wait_of(place, fail(place, paused=paused), paused=paused))
        place.advance(waits[-1])
    assert waits == [min(longest, first * 2**number) for number in range(8)]
    assert waits[-1] == longest


def test_a_pause_does_not_wait_for_what_failed_before_it(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    for _ in range(3):
        head = fail(place, paused=False)
        place.advance(4 * RETRY_BLOCKS)
    assert wait_of(place, head, paused=True) == PAUSE_RETRY_BLOCKS


def test_a_failure_is_an_alert(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    assert fail(place, paused=False) == OPENS_AT
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, "MaxWeightExceeded" in alert.detail) == ("weights_failed", True)
