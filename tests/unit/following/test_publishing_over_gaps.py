"""Weights and blocks that the log lacks: a recent gap keeps them back, an old one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.following import Follower
from api.publishing import Publishing, PublishView
from ledger.commands.arena import pause
from ledger.observations import AlertRaised
from tests.pruning import pruning
from tests.unit.following.support import (
    NETUID,
    NETWORK,
    OPENS_AT,
    VALIDATOR,
    Following,
    follow,
    policy,
)

LACKS = OPENS_AT + 2
LIMIT = policy().weights.max_ingest_lag_blocks


def with_gap(folder: Path) -> tuple[Following, Follower]:
    """An arena whose node lacks block :data:`LACKS`, read to the block after it."""
    place = follow(folder, {})
    _, reader = pruning(place.chain, lambda number: number == LACKS)
    follower = Follower(place.services, reader, NETWORK, NETUID)
    go_on(place, follower, 3)
    return place, follower


def go_on(place: Following, follower: Follower, blocks: int) -> None:
    for _ in range(blocks):
        place.chain.advance()
    follower.catch_up()


def look(place: Following, *, dry_run: bool = False) -> PublishView:
    return Publishing(
        place.services,
        place.publisher(),
        network=NETWORK,
        netuid=NETUID,
        validator_hotkey=VALIDATOR,
    ).look(dry_run=dry_run)


@pytest.mark.parametrize("dry_run", [True, False])
def test_blocks_that_are_missing_keep_weights_back_until_they_are_old(
    tmp_path: Path, dry_run: bool
) -> None:
    place, follower = with_gap(tmp_path)
    view = look(place, dry_run=dry_run)
    assert (view.send, view.alert, view.sent) == (False, "gap_open", None)
    assert f"the log lacks blocks {LACKS} to {LACKS}" in view.why
    alert = place.ledger.newest(AlertRaised, where=lambda fact: fact.kind == "gap_open")
    assert (alert is None) is dry_run
    go_on(place, follower, LIMIT - 1)
    assert look(place, dry_run=dry_run).alert == "gap_open"
    go_on(place, follower, 1)
    assert f"until block {place.ledger.head().effective_block}" in view.why
    assert look(place, dry_run=dry_run).send


def test_a_gap_that_was_filled_keeps_nothing_back(tmp_path: Path) -> None:
    place, _ = with_gap(tmp_path)
    Follower(place.services, place.chain, NETWORK, NETUID).catch_up()
    assert look(place).sent is not None


def test_a_pause_waits_for_no_gap(tmp_path: Path) -> None:
    place, _ = with_gap(tmp_path)
    pause(place.ledger, "emission", reason="exploit", actor="op")
    view = look(place)
    assert view.sent is not None
    assert view.sent.success
