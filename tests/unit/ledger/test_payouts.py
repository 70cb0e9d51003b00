"""Entitled against paid: what the vector in force gave, never the burn UID's part."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.application import Unit
from ledger.commands.arena import adopt_policy
from ledger.commands.blocks import EpochPaid
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.policy import Policy, WeightPolicy
from ledger.queries.payouts import all_payouts
from tests.unit.ledger.scenes import Scene, policy

HOTKEYS = ("owner", "A", "B")


def burning(uid: int) -> Policy:
    return msgspec.structs.replace(policy(f"burns-{uid}"), weights=WeightPolicy(burn_uid=uid))


def send(scene: Scene, shares_ppm: dict[int, int]) -> None:
    """A vector with these shares by UID, landed in this block; its values do not matter here."""
    head = scene.head

    def work(unit: Unit) -> None:
        both: dict[str, Any] = {"for_block": head, "validator_hotkey": "V", "digest": "sha256:0"}
        unit.observe(
            WeightsSubmitted,
            f"weights-sent:{unit.context.arena}:V:{head}",
            **both,
            uids=tuple(shares_ppm),
            hotkeys=tuple(HOTKEYS[uid] for uid in shares_ppm),
            shares_ppm=tuple(shares_ppm.values()),
            values=tuple(1 for _ in shares_ppm),
            version_key=1,
            reason="results changed",
        )
        unit.observe(
            WeightsReceipt,
            f"weights-receipt:{unit.context.arena}:V:{head}",
            **both,
            block=head,
            extrinsic_hash=None,
            success=True,
            error=None,
        )

    scene.ledger.decide(work)


def epoch(scene: Scene, *incentive_alpha: int) -> dict[str, tuple[int, int, int]]:
    """Entitled, paid and withheld by hotkey in a new epoch."""
    coldkeys = tuple(f"cold-{hotkey}" for hotkey in HOTKEYS)
    number = scene.block(epoch=EpochPaid((0, 1, 2), HOTKEYS, coldkeys, incentive_alpha, (0, 0, 0)))
    return {
        line.hotkey: (line.entitled_alpha, line.paid_alpha, line.withheld_alpha)
        for line in scene.read(all_payouts)
        if line.epoch_block == number
    }


def test_the_burn_uid_s_share_entitles_nobody_also_after_the_burn_uid_changed(
    scene: Scene,
) -> None:
    adopt_policy(scene.ledger, burning(1), from_block=scene.head + 4, actor="op")
    scene.block()
    send(scene, {0: 600_000, 2: 400_000})
    assert epoch(scene, 600, 0, 400) == {"owner": (0, 0, 600), "B": (400, 400, 0)}

    while scene.head < 14:
        scene.block()
    # The policy burns UID 1 by now; the chain still pays by the vector that burned UID 0.
    assert epoch(scene, 600, 0, 400) == {"owner": (0, 0, 600), "B": (400, 400, 0)}

    send(scene, {1: 700_000, 0: 100_000, 2: 200_000})
    after = epoch(scene, 100, 700, 200)
    assert after == {"A": (0, 0, 700), "owner": (100, 100, 0), "B": (200, 200, 0)}


def test_a_hotkey_that_comes_to_the_burn_uid_later_is_not_entitled_to_what_it_burned(
    scene: Scene,
) -> None:
    send(scene, {0: 600_000, 2: 400_000})
    coldkeys = ("cold-B", "cold-owner")
    number = scene.block(epoch=EpochPaid((0, 2), ("B", "owner"), coldkeys, (600, 400), (0, 0)))
    lines = {line.hotkey: line for line in scene.read(all_payouts) if line.epoch_block == number}
    assert lines["owner"].entitled_alpha == 0  # its part of the vector was the burned one
    assert lines["owner"].paid_alpha == 400
    assert (lines["B"].paid_alpha, lines["B"].withheld_alpha) == (0, 600)
