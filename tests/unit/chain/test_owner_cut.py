"""The owner's cut, worked out of storage: to the unit, and not at all where it cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from chain.earnings import UNKNOWN, earned_of
from chain.node_owner_cut import CutState, cut_of, pending_since
from chain.port import Block, BlockRef, ChainUnavailableError, Epoch, EpochRow, PrunedStateError

OWNER, OWNER_COLD, TREASURY = "owner hot", "owner cold", "treasury"
BLOCK = Block(9, "0x09", "0x08", None, 293, (), ())


def test_a_blocks_cut_is_that_of_the_recorded_runtime() -> None:
    """Of one whole alpha a block, ``PendingOwnerCut`` of the recording grew by this."""
    assert cut_of(1_000_000_000, 11_796) == 179_995_422
    assert cut_of(0, 11_796) == cut_of(1_000_000_000, 0) == 0


def test_what_is_pending_shows_whether_every_block_emitted() -> None:
    own = cut_of(1_000_000_000, 11_796)
    assert pending_since(CutState(12 * own, 12, 11_796), own)
    assert not pending_since(CutState(7 * own, 12, 11_796), own)


class Node:
    """What :func:`earned_of` asks of a chain; ``cut`` may be an error to raise."""

    def __init__(self, owner: tuple[str, str] | None, cut: Any = 5) -> None:
        self._owner, self._cut = owner, cut
        self.asked: list[str] = []

    def subnet_owner(self, netuid: int, block_hash: str) -> tuple[str, str] | None:
        assert (netuid, block_hash) == (14, BLOCK.parent_hash)
        return self._owner

    def owner_cut(self, block: Block, netuid: int) -> int | None:
        self.asked.append("cut")
        if isinstance(self._cut, Exception):
            raise self._cut
        cut: int | None = self._cut
        return cut

    def balance_rao(self, address: str, block_hash: str) -> int:
        self.asked.append("balance")
        if str(self._cut) == "everything is down":
            raise ChainUnavailableError("everything is down")
        return 1


def earned(node: Any, *rows: tuple[str, str, int, int]) -> tuple[dict[str, int], list[Any]]:
    epoch = Epoch(
        BlockRef(9, "0x09"), tuple(EpochRow(uid, *row) for uid, row in enumerate(rows)), 2
    )
    alerts: list[tuple[str, str]] = []
    found = earned_of(node, 14, BLOCK, epoch, TREASURY, alerts)
    return {one.how: one.alpha for one in found}, alerts


def test_the_treasury_earns_what_its_hotkeys_were_paid() -> None:
    rows = [("a", TREASURY, 10, 1), ("b", "somebody", 100, 100), ("c", TREASURY, 20, 2)]
    node = Node((OWNER, OWNER_COLD))
    assert earned(node, *rows) == ({"incentive": 30, "dividends": 3}, [])
    assert node.asked == [], "another's cut is nobody's business here"


def test_incentive_of_the_subnets_owner_is_withheld_and_not_earned() -> None:
    own = Node((OWNER, TREASURY))
    assert earned(own, ("a", TREASURY, 10, 1), (OWNER, TREASURY, 20, 2)) == (
        {"incentive": 0, "dividends": 3, "owner_cut": 5},
        [],
    )
    by_hotkey = Node((OWNER, OWNER_COLD))
    assert earned(by_hotkey, (OWNER, TREASURY, 20, 2))[0]["incentive"] == 0


@pytest.mark.parametrize("cut", [None, ChainUnavailableError("no such storage item")])
def test_a_cut_that_cannot_be_told_is_an_alert_and_no_zero(cut: object) -> None:
    found, alerts = earned(Node((OWNER, TREASURY), cut), ("a", TREASURY, 0, 2))
    assert "owner_cut" not in found
    assert [kind for kind, _ in alerts] == [UNKNOWN]


def test_an_outage_is_no_answer() -> None:
    node = Node((OWNER, TREASURY), ChainUnavailableError("everything is down"))
    with pytest.raises(ChainUnavailableError, match="everything is down"):
        earned(node)


def test_without_the_subnets_owner_nobody_can_tell_what_was_staked() -> None:
    found, alerts = earned(Node(None), ("a", TREASURY, 10, 2))
    assert found == {"dividends": 2}
    assert [kind for kind, _ in alerts] == [UNKNOWN]
    assert earned(Node(None), ("a", "somebody", 10, 2))[1] == [], "not the treasury's affair"


def test_behind_a_gap_the_owner_after_the_block_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's state is gone; the block's own is there. The cut is then not known."""
    node = Node((OWNER, TREASURY), PrunedStateError("gone"))

    def owner(netuid: int, block_hash: str) -> tuple[str, str]:
        if block_hash == BLOCK.parent_hash:
            raise PrunedStateError("gone")
        assert (netuid, block_hash) == (14, BLOCK.hash)
        return OWNER, TREASURY

    monkeypatch.setattr(node, "subnet_owner", owner)
    found, alerts = earned(node, ("a", TREASURY, 10, 2))
    assert found == {"dividends": 2, "incentive": 0}
    assert [kind for kind, _ in alerts] == [UNKNOWN]
