"""Weights on a runtime of today: bittensor's own choice of the call, and never other values.

The recorded runtime has no such calls, so here the SDK builds on a chain whose answers are written
down; what it hands to the codec is what is looked at.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from chain.node_calls import compose
from chain.orders import WeightsOrder
from chain.port import SendRefusedError
from tests.unit.sending.support import VALIDATOR

ORDER = WeightsOrder(netuid=2, uids=(0, 2, 3), values=(65_535, 30_001, 7), version_key=9)


class Composed(NamedTuple):
    """A call as the SDK asks the codec for it."""

    function: str
    params: dict[str, Any]


class Answers:
    """A subnet as bittensor's ``SetWeights`` asks about it."""

    def __init__(self, **changes: Any) -> None:
        self.values: dict[str, Any] = {
            "Uids": 1,
            "CommitRevealWeightsEnabled": False,
            "WeightsSetRateLimit": 100,
            "LastUpdate": [0, 400],
            "MinAllowedWeights": 1,
            "MaxWeightsLimit": 65_535,
            "SubnetEpochConsensus": "Yuma",
            "Tempo": 360,
            "RevealPeriodEpochs": 1,
            "LastEpochBlock": 400,
            "PendingEpochAt": 0,
            "SubnetEpochIndex": 3,
            "BlocksSinceLastStep": 100,
            **changes,
        }

    async def query(self, _module: str, name: str, _params: Any = None, **_more: Any) -> Any:
        return self.values[name]

    async def block_number(self) -> int:
        return 500

    async def block_hash(self, _block: int) -> str:
        return "0x" + "00" * 32

    async def block_time(self) -> float:
        return 12.0

    async def compose(self, call: Any) -> Composed:
        _module, function, params = call
        return Composed(str(function), dict(params))


def made(**changes: Any) -> Composed:
    found: Composed = asyncio.run(compose(Answers(**changes), ORDER, VALIDATOR, sdk_weights=True))
    return found


def test_plain_weights_keep_every_value() -> None:
    function, params = made()
    assert function == "set_mechanism_weights"
    assert (params["netuid"], params["mecid"], params["version_key"]) == (2, 0, 9)
    assert (tuple(params["dests"]), tuple(params["weights"])) == (ORDER.uids, ORDER.values)


def test_a_subnet_with_commit_reveal_gets_sealed_weights() -> None:
    function, params = made(CommitRevealWeightsEnabled=True)
    assert function == "commit_timelocked_mechanism_weights"
    assert len(params["commit"]) > 0
    assert params["reveal_round"] > 0


@pytest.mark.parametrize("sealed", [False, True])
def test_weights_that_the_sdk_would_clip_are_refused(sealed: bool) -> None:
    with pytest.raises(SendRefusedError, match="would change the weights"):
        made(MaxWeightsLimit=32_768, CommitRevealWeightsEnabled=sealed)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"Uids": None}, "is not registered"), ({"LastUpdate": [0, 450]}, "rate limit is 100")],
)
def test_what_the_sdk_does_not_build_is_refused_in_its_words(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(SendRefusedError, match=words):
        made(**change)
