"""What a validator reads before and after it sets weights: compared, explained, how it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.port import ChainUnavailableError
from chain.simulated import Register, SetSubnetOwner, SetWeights, Transfer, account
from ledger.commands.arena import pause
from ledger.observations import EpochObserved
from ledger.queries.comparison import (
    Difference,
    ValidatorLine,
    compared,
    explained,
    weights_status,
)
from tests.unit.following.support import (
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    OWNER,
    TAO,
    VALIDATOR,
    Following,
    follow,
)


def lines(place: Following, block: int | None = None) -> list[ValidatorLine]:
    with place.services.at(NETWORK, NETUID, block) as scope:
        return compared(scope)


def test_a_published_vector_is_the_same_everywhere(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    receipt = place.publish()
    assert receipt is not None
    place.follower.catch_up()
    (line,) = lines(place)
    assert (line.validator_hotkey, line.uid, line.holds) == (VALIDATOR, 1, "same")
    assert line.on_chain_digest == line.submitted_digest == receipt.digest
    assert line.landed_block == line.last_update == receipt.block
    assert line.differences == ()
    assert lines(place, OPENS_AT)[0].holds == "same"  # sent and read back while it was the newest


def test_each_difference_is_named_by_uid(tmp_path: Path) -> None:
    other = SetWeights(hotkey=VALIDATOR, uids=(0, 2), values=(655, 65_535), version_key=7)
    place = follow(tmp_path, {OPENS_AT + 2: [other]})
    place.advance(3)
    (line,) = lines(place)
    assert line.holds == "differs"
    assert (line.submitted_for_block, line.submitted_digest) == (None, None)
    assert line.differences == (
        Difference(0, OWNER, 65_535, None, 655),
        Difference(2, account("miner"), 0, None, 65_535),
    )
    assert lines(place, OPENS_AT + 1) == []


def test_a_validator_that_is_paid_and_holds_nothing_is_named(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.advance(13)
    (line,) = lines(place)
    assert (line.validator_hotkey, line.uid, line.holds) == (VALIDATOR, 1, "nothing")
    epoch = place.ledger.newest(EpochObserved)
    assert epoch is not None
    assert line.seen_at_block == epoch.block
    assert line.differences == (Difference(0, OWNER, 65_535, None, 0),)
    assert lines(place, OPENS_AT) == []


def test_a_vector_nobody_read_back_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.fail_next("validator_weights", ChainUnavailableError("gone"))
    with pytest.raises(ChainUnavailableError):
        place.publish()
    (line,) = lines(place)
    assert (line.holds, line.on_chain_digest) == ("unknown", None)
    assert line.submitted_success is True
    place.follower.catch_up()
    assert lines(place)[0].holds == "same"


def test_a_validator_that_lost_its_weights_holds_nothing(tmp_path: Path) -> None:
    """It is replaced, and comes back: the chain forgot its weights, and the next epoch shows it."""
    script = {
        OPENS_AT + 1: [
            SetWeights(hotkey=VALIDATOR, uids=(0,), values=(65_535,), version_key=7),
            Transfer(source=MINER_COLD, destination=account("nc"), rao=TAO),
        ],
        OPENS_AT + 2: [Register(hotkey=account("n"), coldkey=account("nc"), replacing_uid=1)],
        OPENS_AT + 5: [Register(hotkey=VALIDATOR, coldkey=account("validator cold"))],
    }
    place = follow(tmp_path, script)
    place.advance(2)
    assert lines(place) == []  # it is no validator any more
    place.chain.advance_to(OPENS_AT + 12)
    place.follower.catch_up()
    (line,) = lines(place)
    assert (line.uid, line.holds, line.on_chain_digest) == (3, "nothing", None)


def test_shares_are_explained_in_words(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    with place.services.at(NETWORK, NETUID) as scope:
        (line,) = explained(scope)
    assert (line.uid, line.hotkey, line.share_ppm, line.u16) == (0, OWNER, 1_000_000, 65_535)
    assert line.why == ("100 % burned: track one has no king",)
    pause(place.ledger, "emission", reason="r", actor="op")
    with place.services.at(NETWORK, NETUID) as scope:
        assert explained(scope)[0].why == ("100 % burned: emission is paused",)


def test_the_status_says_what_holds_weights_back(tmp_path: Path) -> None:
    sold = SetSubnetOwner(hotkey=account("buyer"), coldkey=account("buyer cold"))
    place = follow(tmp_path, {OPENS_AT + 4: [sold]})
    receipt = place.publish()
    assert receipt is not None
    place.advance(4)
    pause(place.ledger, "evaluation", reason="r", actor="op")
    with place.services.at(NETWORK, NETUID) as scope:
        found = weights_status(scope, node_head=scope.block + 3)
    assert (found.last_safe_block, found.lag_blocks) == (found.head_block - 1, 3)
    assert (found.burn_uid_eligible, found.paused) == (False, {"evaluation": "r"})
    assert found.sent is not None
    assert found.landed == found.sent
    assert found.held is not None
    assert found.held.digest == receipt.digest == found.computed_digest
    assert [alert["kind"] for alert in found.alerts] == ["burn_uid_not_eligible"]
