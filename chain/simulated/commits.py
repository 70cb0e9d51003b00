"""Which commits became known in a block, and in what order they are judged."""

from __future__ import annotations

from chain.commits import plain_commits
from chain.port import Block, Commit
from chain.simulated.world import WorldView


def commits_of(block: Block, netuid: int, state: WorldView) -> list[Commit]:
    """Reveals, before the block's extrinsics; then plain commits, the failed ones too (R9).

    ``state`` is the block's own: reveals are kept there, and only announced by their events.
    """
    return [*_reveals(block, netuid, state), *plain_commits(block, netuid)]


def _reveals(block: Block, netuid: int, state: WorldView) -> list[Commit]:
    announced = [
        str(event.attributes["who"])
        for event in block.events
        if (event.module, event.name) == ("Commitments", "CommitmentRevealed")
        and event.attributes["netuid"] == netuid
    ]
    commits = []
    for index, hotkey in enumerate(announced):
        # One commitment at a time, hence at most one reveal of a hotkey in a block: its newest.
        payload = bytes.fromhex(state.revealed(hotkey)[-1].payload.removeprefix("0x"))
        commits.append(Commit(hotkey, block.ref, index, "timelocked", payload))
    return commits
