"""Entitled against paid: what the vector in force gave, never the burn UID's part."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.application import Unit
from ledger.commands.arena import adopt_policy
from ledger.commands.block_facts import EpochPaid
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.policy import Policy, WeightPolicy
from ledger.queries.payout_sums import statement, totals
from ledger.queries.payouts import PayoutLine, all_payouts, payouts_page
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
            nonce=0,
            sent_after=head,
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


def test_a_coldkey_of_very_many_hotkeys_has_its_statement(scene: Scene) -> None:
    """One coldkey may own a whole subnet over the years, and be a hotkey itself."""
    many = 1_200
    hotkeys = tuple(f"H{number}" for number in range(many))
    coldkeys = ("whale",) * many
    amounts = tuple(range(1, many + 1))
    zeros = (0,) * many
    for _ in range(2):
        scene.block(epoch=EpochPaid(tuple(range(many)), hotkeys, coldkeys, amounts, zeros))
    scene.block(epoch=EpochPaid((0, 1), ("whale", "other"), ("whale", "else"), (7, 9), (0, 0)))
    found = scene.read(lambda scope: statement(scope, "whale"))
    # UID 0 burns: what H0 and the whale got there is withheld.
    assert found.paid_alpha == 2 * (sum(amounts) - 1)
    assert found.withheld_alpha == 2 * 1 + 7
    assert len(found.lines) == 2 * many + 1
    assert scene.read(lambda scope: totals(scope, "whale")).total == len(found.lines)


def test_pages_follow_each_other_without_gap_or_repetition(scene: Scene) -> None:
    for _ in range(5):
        epoch(scene, 1, 2, 3)
    for address in (None, "A", "cold-A", "nobody"):
        whole = scene.read(lambda scope, a=address: payouts_page(scope, address=a)).lines
        pieces: list[PayoutLine] = []
        after = None
        while True:
            page = scene.read(
                lambda scope, a=address, p=after: payouts_page(scope, address=a, after=p, limit=2)
            )
            if not page.lines:
                assert page.last is None
                break
            assert len(page.lines) <= 2
            pieces += page.lines
            after = page.last
        assert tuple(pieces) == whole
        assert len(whole) == {None: 15, "A": 5, "cold-A": 5, "nobody": 0}[address]
