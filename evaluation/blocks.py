"""How a contest's scored prompts are cut into blocks, and in which order arms answer one.

A block is the unit that the interval rule resamples (:mod:`ledger.rules.interval`), so the cuts are
the same there and here.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

from ledger.contest_policy import ContestPolicy


def blocks_of(contest: ContestPolicy) -> tuple[range, ...]:
    """The places of the scored prompts of every block; those left over join the last block."""
    count = max(1, contest.prompts // contest.prompts_per_block)
    bounds = [block * contest.prompts_per_block for block in range(count)] + [contest.prompts]
    return tuple(range(start, end) for start, end in pairwise(bounds))


def block_label(block: int) -> str:
    """What the arrivals of a block are drawn under; the same for every arm."""
    return f"block {block}"


def arm_order(seed: int, block: int, arms: int) -> tuple[int, ...]:
    """The order in which ``arms`` arms answer a block, each named by its place in the plan.

    By SHA-256 over ``cacheon-order/1:<seed>:<block>:<arm>``, so that nobody knew it at commit time
    and every version of Python draws the same.
    """

    def drawn(arm: int) -> bytes:
        return hashlib.sha256(f"cacheon-order/1:{seed}:{block}:{arm}".encode()).digest()

    return tuple(sorted(range(arms), key=drawn))
