"""An epoch of before the arena opened is folded under the policy it opened with."""

from __future__ import annotations

from typing import Any

from ledger.observations import EpochObserved
from ledger.projections.emissions import emissions
from tests.unit.ledger.scenes import OPENED_AT, Scene, block_hash


def test_an_epoch_before_the_opening_stops_no_view(scene: Scene) -> None:
    def see(unit: Any) -> None:
        for block in (OPENED_AT - 1, OPENED_AT):
            unit.observe(
                EpochObserved,
                f"epoch:{unit.context.arena}:{block}",
                block=block,
                block_hash=block_hash(block),
                uids=(1,),
                hotkeys=("a",),
                coldkeys=("cold",),
                incentive_alpha=(7,),
                dividends_alpha=(0,),
            )

    scene.ledger.decide(see)
    found = scene.read(lambda scope: scope.rows(emissions))
    assert [(row["epoch_block"], row["miner_incentive_alpha"]) for row in found] == [
        (OPENED_AT - 1, 7),
        (OPENED_AT, 7),
    ]
    assert len({row["phase"] for row in found}) == 1
    assert [row["pool_ppm"] for row in found] == [None, None]  # nobody sat on a throne
