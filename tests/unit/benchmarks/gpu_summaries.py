"""A/A summaries with times that a test chooses."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.summary import ArmTimes, BlockTimes, Plan, Summary
from evaluation.conditions import Conditions
from evaluation.gpu_lines import GpuLine
from ledger.gate_policy import GatePolicy

READY_MS, WARMUP_MS = 60_000, 5_000
GPU = GpuLine(
    index=0,
    uuid="GPU-1",
    name="H100",
    driver="1",
    least_mhz=1_700,
    greatest_mhz=1_980,
    celsius_before=40,
    celsius_after=55,
    greatest_celsius=60,
    memory_mib=81_559,
    used_mib=70_000,
    held_back=("power limit",),
)


def summary(
    name: str, e2e_us: NDArray[Any], *, restart: bool = True, gpus: int = 1, **fields: Any
) -> Summary:
    """A run whose arm ``a`` took ``e2e_us[a, b, p]`` for prompt ``p`` of block ``b``."""
    arms, blocks, per_block = e2e_us.shape
    plan = Plan(
        order="interleaved",
        restart_each_block=restart,
        streams=per_block,
        prompts=blocks * per_block,
        prompts_per_block=per_block,
        context_tokens=64,
        output_tokens=8,
        gpus=gpus,
        start_together=False,
        ask_logprobs=True,
    )
    starts = blocks if restart else 1
    walls_us = e2e_us.max(axis=2)
    told = Summary(
        name=name,
        what="aa",
        about="",
        manifest_digest="sha256:" + "1" * 64,
        track="t",
        model="m",
        engine="e",
        host={},
        plan=plan,
        gates=GatePolicy(),
        status="completed",
        void="",
        conditions=Conditions(),
        gpus=(GPU,),
        strangers=None,
        arms=tuple(
            ArmTimes(
                arm=f"arm-{arm}",
                name=f"copy {arm}",
                image="i",
                ready_ms=(READY_MS,) * starts,
                gpu_ms=gpus * (starts * (READY_MS + WARMUP_MS) + int(walls_us[arm].sum()) // 1_000),
                repeats_ms=0,
                blocks=tuple(
                    BlockTimes(
                        block=block,
                        start=block if restart else 0,
                        tokens=8 * per_block,
                        wall_us=int(walls_us[arm, block]),
                        e2e_us=tuple(int(us) for us in e2e_us[arm, block]),
                    )
                    for block in range(blocks)
                ),
            )
            for arm in range(arms)
        ),
        verdicts=(),
        steps=(),
        king=None,
    )
    return msgspec.structs.replace(told, **fields)


def drawn(
    arms: int,
    blocks: int,
    per_block: int,
    *,
    start: float = 0.0,
    block: float = 0.0,
    prompt: float = 0.0,
    restart: bool = True,
    seed: int = 1,
) -> NDArray[Any]:
    """Times of about 10 s whose logarithms spread by these, and by far more from block to block."""
    chance = np.random.default_rng(seed)
    logs = np.log(10_000_000) + chance.normal(0, 0.5, size=(1, blocks, per_block))
    logs = logs + chance.normal(0, start, size=(arms, blocks if restart else 1, 1))
    logs = logs + chance.normal(0, block, size=(arms, blocks, 1))
    logs = logs + chance.normal(0, prompt, size=(arms, blocks, per_block))
    return np.rint(np.exp(logs)).astype(np.int64)
