"""Whether the machine and the client were fit to measure; if not, the round is void (DOMAIN 4).

Pure, over what the evidence holds, so that it can be judged again from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evaluation.blocks import blocks_of
from evaluation.client import Answer
from evaluation.gpus import clock_drift_ppm
from evaluation.records import ArmRecord, BlockRecord
from ledger.codes import VoidCause
from ledger.contest_policy import ContestPolicy
from ledger.units import PPM


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How steady the round was; None is unknown, never zero.

    ``drift_ppm`` is the baseline's own drift, ``clock_drift_ppm`` that of the GPUs' clocks while
    the baseline worked, ``client_lag_p99_us`` the worst block's 99th percentile over all arms.
    """

    drift_ppm: int | None = None
    clock_drift_ppm: int | None = None
    client_lag_p99_us: int | None = None


def conditions_of(
    contest: ContestPolicy,
    before: Sequence[Answer],
    after: Sequence[Answer],
    baseline: Sequence[ArmRecord],
    entrants: Sequence[ArmRecord],
) -> Conditions:
    """The conditions of a round from its baseline's answers and the records of all its arms."""
    blocks = [block for arm in baseline for block in arm.blocks]
    lags = [
        block.client_lag_p99_us
        for arm in (*baseline, *entrants)
        for block in arm.blocks
        if block.client_lag_p99_us is not None
    ]
    return Conditions(
        drift_ppm=baseline_drift_ppm(contest, before, after),
        clock_drift_ppm=clock_drift_ppm([block.gpus for block in blocks]),
        client_lag_p99_us=max(lags, default=None),
    )


def baseline_drift_ppm(
    contest: ContestPolicy, before: Sequence[Answer], after: Sequence[Answer]
) -> int | None:
    """How much of the slower half's time a token the faster half saves; None where unknown.

    The halves are the baseline before and after in a bracketed order, its first and its last blocks
    in an interleaved one (of an odd number the middle one is left out). A baseline that ran once
    tells nothing of itself.
    """
    if contest.order == "bracketed":
        return _apart_ppm(before, after)
    if contest.order != "interleaved":
        return None
    blocks = [places for places in blocks_of(contest) if places.stop <= len(before)]
    half = len(blocks) // 2
    if half == 0:
        return None
    first = before[: blocks[half - 1].stop]
    last = before[blocks[-half].start : blocks[-1].stop]
    return _apart_ppm(first, last)


def _apart_ppm(one: Sequence[Answer], other: Sequence[Answer]) -> int | None:
    per_token_ns = []
    for half in (one, other):
        tokens = sum(len(answer.tokens) for answer in half)
        if tokens == 0:
            return None
        per_token_ns.append(sum(answer.wall_us for answer in half) * 1_000 // tokens)
    slower, faster = max(per_token_ns), min(per_token_ns)
    return (slower - faster) * PPM // slower if slower else 0


def saturated(block: BlockRecord, arm: str, contest: ContestPolicy) -> str | None:
    """One sentence where the client itself was too late in this block to be trusted."""
    lag_us = block.client_lag_p99_us
    if lag_us is None or lag_us <= contest.max_client_lag_us:
        return None
    return (
        f"the client was late by {lag_us} us (99th percentile) while it asked the {arm} the "
        f"{block.phase} of block {block.block}; at most {contest.max_client_lag_us} us can be "
        "trusted, so ask fewer streams or use a faster host"
    )


def unfit(found: Conditions, contest: ContestPolicy) -> tuple[VoidCause, str] | None:
    """The cause and one sentence where the round's conditions void it; None where they do not."""
    lag_us, most_us = found.client_lag_p99_us, contest.max_client_lag_us
    if lag_us is not None and lag_us > most_us:
        return VoidCause.CLIENT_SATURATED, (
            f"the client was late by {lag_us} us (99th percentile) in a block; at most "
            f"{most_us} us can be trusted"
        )
    for what, drift_ppm in (
        ("the baseline's own time", found.drift_ppm),
        ("the GPUs' clock under the baseline", found.clock_drift_ppm),
    ):
        if drift_ppm is not None and drift_ppm > contest.max_drift_ppm:
            return VoidCause.DRIFTED, (
                f"{what} drifted by {drift_ppm} ppm while the round ran; at most "
                f"{contest.max_drift_ppm} ppm can be measured through"
            )
    return None
