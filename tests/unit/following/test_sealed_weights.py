"""Sealed weights: nobody can look into them, so an extrinsic's hash says which vector it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.orders import WeightsOrder
from chain.port import (
    Block,
    Call,
    ChainUnavailableError,
    Extrinsic,
    Prepared,
    Sending,
    ValidatorWeights,
)
from chain.weights_due import RETRY_BLOCKS
from ledger.observations import AlertRaised, WeightsReadBack, WeightsReceipt, WeightsSubmitted
from ledger.rules.weights import Throne, WeightVector, compute_vector
from tests.unit.following.support import (
    MINER,
    NETUID,
    OPENS_AT,
    VALIDATOR,
    Following,
    follow,
    policy,
)


class Sealing:
    """The chain of ``place`` made to hide weights until ``revealed``."""

    def __init__(self, place: Following, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("chain.publish.REVEAL_WAIT_BLOCKS", 5)
        self.revealed = False
        chain = place.chain
        prepare, block, shown = chain.prepare, chain.block, chain.validator_weights

        def weights(netuid: int, block_hash: str, *more: Any) -> Sequence[ValidatorWeights]:
            return shown(netuid, block_hash, *more) if self.revealed else []

        def sealing(*asked: Any) -> Prepared:
            return replace(prepare(*asked), sealed=True)

        def hiding(number: int) -> Block:
            found = block(number)
            return replace(found, extrinsics=tuple(_sealed(item) for item in found.extrinsics))

        patch.setattr(chain, "prepare", sealing)
        patch.setattr(chain, "block", hiding)
        patch.setattr(chain, "validator_weights", weights)


def _sealed(extrinsic: Extrinsic) -> Extrinsic:
    if extrinsic.call.name != "SubtensorModule.set_weights":
        return extrinsic
    args = {"netuid": extrinsic.call.args["netuid"], "commit": "0x5a", "reveal_round": 9}
    call = Call("SubtensorModule", "commit_timelocked_weights", args)
    return replace(extrinsic, call=call)


@pytest.fixture
def place(tmp_path: Path) -> Following:
    return follow(tmp_path, {})


@pytest.fixture
def sealing(place: Following, monkeypatch: pytest.MonkeyPatch) -> Sealing:
    return Sealing(place, monkeypatch)


def vector_of(king: str | None, block: int = OPENS_AT, *, paused: bool = False) -> WeightVector:
    throne = Throne("one", king, 500_000 if king else None, None)
    return compute_vector(
        block, policy(), {"one": throne}, {MINER: 2}, burn_uid=0, emission_paused=paused
    )


def send(place: Following, vector: WeightVector) -> WeightsReceipt | None:
    published = place.publisher().publish(vector, policy().weights, burn_uid_eligible=True)
    return published.receipt


def lose(place: Following, *, taken: bool) -> None:
    error = ChainUnavailableError("the answer was lost")
    place.chain.fail_next("send", error, after=taken)


def receipts(place: Following) -> dict[str, bool]:
    """By digest, whether it landed."""
    found: dict[str, bool] = {}
    place.ledger.newest(
        WeightsReceipt, where=lambda fact: found.setdefault(fact.digest, fact.success) is None
    )
    return found


def alerts(place: Following) -> list[str]:
    found: list[str] = []
    place.ledger.newest(AlertRaised, where=lambda fact: bool(found.append(fact.kind)))
    return found


def test_sealed_weights_are_read_back_when_they_are_revealed(
    place: Following, sealing: Sealing
) -> None:
    receipt = place.publish()
    assert receipt is not None
    assert receipt.success
    place.chain.advance()
    place.publisher().settle()
    assert place.ledger.newest(WeightsReadBack) is None
    sealing.revealed = True
    place.publisher().settle()
    held = place.ledger.newest(WeightsReadBack)
    assert held is not None
    assert (held.digest, held.block) == (receipt.digest, OPENS_AT + 2)
    assert alerts(place) == []


@pytest.mark.usefixtures("sealing")
def test_sealed_weights_that_are_never_revealed_are_an_alert_once(place: Following) -> None:
    place.publish()
    for _ in range(5):
        place.publisher().settle()
        assert alerts(place) == []
        place.chain.advance()
    place.publisher().settle()
    place.publisher().settle()
    assert alerts(place) == ["weights_not_held"]


@pytest.mark.usefixtures("sealing")
@pytest.mark.parametrize("former_landed", [True, False])
def test_one_sealed_extrinsic_confirms_one_of_two_vectors_of_its_nonce(
    place: Following, former_landed: bool
) -> None:
    king, pause = vector_of(MINER), vector_of(None, paused=True)
    lose(place, taken=False)
    with pytest.raises(ChainUnavailableError):
        send(place, king)
    if former_landed:  # it lay in a pool, and is taken while the second is on its way
        sent = place.ledger.newest(WeightsSubmitted)
        assert sent is not None
        first = _prepared_again(place, sent)
        lose(place, taken=False)
        with pytest.raises(ChainUnavailableError):
            send(place, pause)
        place.chain.send(first)
    else:
        assert (answer := send(place, pause)) is not None
        assert answer.success
    place.publisher().settle()
    assert receipts(place) == {king.digest: former_landed, pause.digest: not former_landed}


def _prepared_again(place: Following, sent: WeightsSubmitted) -> Prepared:
    assert sent.nonce is not None
    assert sent.sent_after is not None
    order = WeightsOrder(
        netuid=NETUID, uids=sent.uids, values=sent.values, version_key=sent.version_key
    )
    found = place.chain.prepare(order, Sending(VALIDATOR, sent.nonce, sent.sent_after))
    assert found.hash == sent.sealed_hash
    return found


@pytest.mark.usefixtures("sealing")
def test_sealed_weights_without_an_answer_are_sent_anew_as_another_intent_and_once(
    place: Following,
) -> None:
    lose(place, taken=False)
    with pytest.raises(ChainUnavailableError):
        send(place, vector_of(MINER))
    assert send(place, vector_of(MINER)) is None  # its one extrinsic may be on its way
    for _ in range(RETRY_BLOCKS):
        place.chain.advance()
    assert send(place, vector_of(MINER, OPENS_AT + RETRY_BLOCKS - 1)) is None
    answer = send(place, vector_of(MINER, OPENS_AT + RETRY_BLOCKS))
    assert answer is not None
    assert answer.success
    sent = place.ledger.newest(WeightsSubmitted)
    assert sent is not None
    assert (sent.for_block, sent.nonce) == (OPENS_AT + RETRY_BLOCKS, 0)
