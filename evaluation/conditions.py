"""Whether the machine and the client were fit to measure; if not, the round is void (DOMAIN 4).

Pure, over what the evidence holds, so that it can be judged again from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from evaluation.blocks import blocks_of
from evaluation.client import Answer
from evaluation.gpu_strangers import all_strangers
from evaluation.gpu_work import work_drift_ppm
from evaluation.gpus import GpuProcess
from evaluation.lag import pooled_us
from evaluation.records import ArmRecord, BlockRecord
from ledger.codes import VoidCause
from ledger.contest_policy import ContestPolicy
from ledger.units import PPM

FLOOD_FACTOR: Final = 4
"""How many times the baseline's bytes for a token a server may send before it is to blame for a
client that could not keep up. Engines differ by names and blanks of their JSON, not by as much."""
SPARE_BYTES_PER_TOKEN: Final = 64
"""Room beyond it, for what is written in some more pieces or under longer headers."""
_KINDS: Final = ("bytes", "bytes of framing")


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How steady the round was; None is unknown, never zero.

    ``drift_ppm`` is the baseline's own drift, ``clock_drift_ppm`` that of the GPUs' clocks while
    the baseline worked, ``client_lag_p99_us`` the client's 99th percentile over all its blocks:
    what holds the client up under an entrant may be the entrant's doing, and voids nothing. The
    worst entrant's is ``entrants_lag_p99_us``, over all that was not set aside.

    ``strangers`` are processes that were seen on the GPUs and belong to no server of the round.
    They void nothing: what they take shows in the baseline's own drift.
    """

    drift_ppm: int | None = None
    clock_drift_ppm: int | None = None
    client_lag_p99_us: int | None = None
    entrants_lag_p99_us: int | None = None
    strangers: tuple[GpuProcess, ...] | None = None


def conditions_of(
    contest: ContestPolicy,
    before: Sequence[Answer],
    after: Sequence[Answer],
    baseline: Sequence[ArmRecord],
    entrants: Sequence[ArmRecord],
) -> Conditions:
    """The conditions of a round from its baseline's answers and the records of all its arms."""
    blocks, arms = [block for arm in baseline for block in arm.blocks], [*baseline, *entrants]
    lags = [
        client_lag_us([block for block in arm.blocks if not block.set_aside]) for arm in entrants
    ]
    return Conditions(
        drift_ppm=baseline_drift_ppm(contest, before, after),
        clock_drift_ppm=work_drift_ppm([(block.gpus, block.gpu_samples) for block in blocks]),
        client_lag_p99_us=client_lag_us(blocks),
        entrants_lag_p99_us=max((lag_us for lag_us in lags if lag_us is not None), default=None),
        strangers=all_strangers(
            [
                *(start.strangers for arm in arms for start in arm.starts),
                *(block.strangers for arm in arms for block in arm.blocks),
            ]
        ),
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


def client_lag_us(blocks: Sequence[BlockRecord]) -> int | None:
    """How late the client was over all these blocks: the worse of its timers' and its sends' 99th
    percentile, in microseconds. None where too little was seen of either."""
    beats = pooled_us(block.late_beats for block in blocks)
    sends = pooled_us(block.late_sends for block in blocks)
    return max((late_us for late_us in (beats, sends) if late_us is not None), default=None)


def too_late(blocks: Sequence[BlockRecord], who: str, contest: ContestPolicy) -> str | None:
    """One sentence where the client itself was too late in these blocks to be trusted."""
    lag_us = client_lag_us(blocks)
    if lag_us is None or lag_us <= contest.max_client_lag_us:
        return None
    return (
        f"the client was late by {lag_us} us (99th percentile) while it asked {who}; at most "
        f"{contest.max_client_lag_us} us can be trusted"
    )


def hopeless(blocks: Sequence[BlockRecord], of: int, contest: ContestPolicy) -> str | None:
    """One sentence where the baseline's blocks so far void the round however quiet the rest is,
    of ``of`` blocks like them in all."""
    quiet = [
        structs.replace(
            block,
            late_beats=((0, sum(samples for _, samples in block.late_beats)),),
            late_sends=((0, sum(samples for _, samples in block.late_sends)),),
        )
        for block in list(blocks[-1:]) * max(0, of - len(blocks))
    ]
    return too_late([*blocks, *quiet], "the baseline", contest)


def flooded(arm: ArmRecord, baseline: Sequence[ArmRecord]) -> str | None:
    """One sentence where the arm sent far more for a token than the baseline does, on the wire or
    around the text; None where it did not, or one of the two is unknown."""
    own, usual = _traffic([arm]), _traffic(baseline)
    if own is None or usual is None:
        return None
    for what, ours, theirs in zip(_KINDS, own[:2], usual[:2], strict=True):
        # ours / own tokens > FLOOD_FACTOR * theirs / usual tokens + SPARE, without a division
        most = FLOOD_FACTOR * theirs + SPARE_BYTES_PER_TOKEN * usual.tokens
        if ours * usual.tokens > most * own.tokens:
            return (
                f"the server sent {ours // own.tokens} {what} a token where the baseline needs "
                f"{theirs // usual.tokens}; up to {most // usual.tokens} are taken for honest"
            )
    return None


class _Traffic(NamedTuple):
    wire_bytes: int
    framing_bytes: int
    tokens: int


def _traffic(arms: Sequence[ArmRecord]) -> _Traffic | None:
    wire, payload, tokens = 0, 0, 0
    for block in (block for arm in arms for block in arm.blocks):
        if block.wire_bytes is not None:
            wire += block.wire_bytes
            payload += block.payload_bytes
            tokens += block.tokens
    # Fewer bytes on the wire than were read: nobody counted.
    return _Traffic(wire, wire - payload, tokens) if tokens and wire >= payload else None


def unfit(found: Conditions, contest: ContestPolicy) -> tuple[VoidCause, str] | None:
    """The cause and one sentence where the round's conditions void it; None where they do not."""
    lag_us, most_us = found.client_lag_p99_us, contest.max_client_lag_us
    if lag_us is not None and lag_us > most_us:
        return VoidCause.CLIENT_SATURATED, (
            f"the client was late by {lag_us} us (99th percentile) while it asked the baseline; "
            f"at most {most_us} us can be trusted, so ask fewer streams or use a faster host"
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
