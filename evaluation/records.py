"""What is recorded of an arm beside its answers: starts, blocks, machine time, images, GPUs."""

from __future__ import annotations

import msgspec

from evaluation.gpu_work import GpuSamples
from evaluation.gpus import GpuFacts, GpuProcess
from evaluation.lag import LateCounts
from evaluation.runners.port import ImageFacts


class BlockRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of prompts that a server answered.

    ``phase`` is ``prompts`` or ``repeats``; ``block`` counts from 0. ``place`` is the arm's place
    among all arms of the block, from 0. ``since_start_ms`` is when it began, since the contest did.
    The client's lag is in microseconds; None where the client measured none. ``late_beats`` and
    ``late_sends`` are all of it, to be pooled over blocks. ``wire_bytes`` is what came over the
    sockets, None where that is unknown, ``payload_bytes`` what of it was streamed text, ``tokens``
    how many were answered. ``gpus`` is right after the last answer, while the server still runs,
    ``gpu_samples`` while it answered; ``strangers`` are the processes on the GPUs then that are no
    server's of the contest, None where that is unknown. Evidence from before has neither.
    ``set_aside`` is true where the client was too late and all was asked once more.
    """

    phase: str
    block: int
    place: int
    since_start_ms: int
    prompts: int
    client_lag_p99_us: int | None = None
    client_lag_max_us: int | None = None
    client_lag_samples: int = 0
    late_beats: LateCounts = ()
    late_sends: LateCounts = ()
    wire_bytes: int | None = None
    payload_bytes: int = 0
    tokens: int = 0
    set_aside: bool = False
    gpus: GpuFacts = GpuFacts()
    gpu_samples: GpuSamples = GpuSamples()
    strangers: tuple[GpuProcess, ...] | None = None


class StartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the arm's server. ``ready_ms`` is from launch to healthy, None if it never was;
    ``exit_code`` the one it ended with by itself. ``strangers`` are as in :class:`BlockRecord`, at
    the moment before. ``engine_version`` is what the baseline's server says of itself, None where
    it says nothing, and of entrants, whose word would prove nothing."""

    first_block: int
    ready_ms: int | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    gpus_before: GpuFacts = GpuFacts()
    strangers: tuple[GpuProcess, ...] | None = None
    engine_version: str | None = None


class ArmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one arm that is neither an answer nor a verdict.

    ``gpu_ms`` is the machine time its servers used, starting included, in milliseconds times GPUs
    (of the machine where a server gets none).
    """

    arm: str
    image: ImageFacts | None
    gpu_ms: int
    starts: tuple[StartRecord, ...]
    blocks: tuple[BlockRecord, ...]

    def start_of(self, block: int) -> int:
        """Which of its starts answered a block: the last one that began there or before."""
        begun = [at for at, start in enumerate(self.starts) if start.first_block <= block]
        return begun[-1] if begun else 0
