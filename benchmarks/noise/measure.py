"""``python -m benchmarks.noise.measure``: A/A runs of real reference servers on this machine.

In every round each server of ``KINDS`` is started anew, warmed up, asked the same prompts one at a
time and stopped before the next one starts, in an order that is shuffled per round: as in a contest
with ``order = interleaved`` and ``restart_each_block``. A kind that stands there twice meets itself
under another start in the same round. What was seen goes into ``benchmarks/data``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from benchmarks.measuring import tell
from benchmarks.noise.timings import (
    BASELINE,
    MEASURED,
    REFERENCE,
    Start,
    Timings,
    write_timings,
)
from evaluation.client import ChatRequest, ask, open_session
from evaluation.images import ImageRef, parse_image
from evaluation.prompts import prompts_for
from evaluation.reference import tokenizer
from evaluation.reference.image import reference_image_kinds, write_image
from evaluation.reference.model import DEFAULT_SEED, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.process import ProcessRunner
from evaluation.runners.reference import ReferenceImages
from ledger.contest_policy import ContestPolicy

KINDS: Final = (REFERENCE, REFERENCE, REFERENCE, BASELINE)
"""A start of each per round."""
CONTEST: Final = ContestPolicy(
    prompts=32, warmup_prompts=2, repeated_prompts=0, context_tokens=320, output_tokens=32
)
PROMPTS: Final = {REFERENCE: 32, BASELINE: 6}
"""How many of the prompts each kind is asked; the baseline, which only tells of drift, takes about
twenty times as long for one."""
SEED: Final = 14
_STARTUP_TIMEOUT_S: Final = 60.0
_PROMPT_TIMEOUT_S: Final = 60
_MODEL: Final = "cacheon-reference"


def main() -> int:
    """Measure and write the file; 0 when done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise.measure", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="starts of every server")
    parser.add_argument("--out", type=Path, default=MEASURED)
    parser.add_argument(
        "--nice", type=int, default=0, help="e.g. -15 on a machine shared with others"
    )
    asked = parser.parse_args()
    os.setpriority(os.PRIO_PROCESS, 0, asked.nice)  # the servers inherit it
    _favour_session(os.getpid())
    for timings in measured(asked.rounds):
        write_timings(timings, asked.out)  # whole rounds, also of a run that is cut short
    return 0


def measured(rounds: int) -> Iterator[Timings]:
    """A start of each of :data:`KINDS` on this machine, now, ``rounds`` times; what was seen so far
    after each round."""
    prompts = prompts_for(SEED, CONTEST, tokenizer)
    starts: dict[str, list[Start]] = defaultdict(list)
    shuffled = random.Random(SEED)  # noqa: S311 - the order of a measurement is no secret
    began_s = time.monotonic()
    loads: list[float] = []
    with tempfile.TemporaryDirectory(prefix="cacheon-aa-") as folder:
        model_dir, images = Path(folder, "model"), Path(folder, "images")
        save_model(init_weights(DEFAULT_SEED), model_dir)
        kinds = reference_image_kinds()
        known = {
            kind: parse_image(write_image(images, kind, kinds[kind].config()))
            for kind in sorted(set(KINDS))
        }
        runner = ProcessRunner(ReferenceImages(images, model_dir))
        for number in range(rounds):
            order = list(KINDS)
            shuffled.shuffle(order)
            for place, kind in enumerate(order):
                ready_ms, e2e_us = _one_start(
                    runner, known[kind], prompts.warmup, prompts.scored[: PROMPTS[kind]]
                )
                start = Start(round=number, place=place, ready_ms=ready_ms, e2e_us=e2e_us)
                starts[kind].append(start)
            loads.append(os.getloadavg()[0])
            tell(f"round {number + 1} of {rounds}, {time.monotonic() - began_s:.0f} s")
            yield _timings(starts, loads)


def _timings(starts: Mapping[str, Sequence[Start]], loads: Sequence[float]) -> Timings:
    host = {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "nice": str(os.getpriority(os.PRIO_PROCESS, 0)),
        # Anything above about 1 is work of others, which a contest would keep away.
        "load_least_median_most": f"{min(loads):.1f} {median(loads):.1f} {max(loads):.1f}",
    }
    return Timings(
        what="end-to-end time of each prompt in us, by kind of server, start and prompt",
        host=host,
        context_tokens=CONTEST.context_tokens,
        output_tokens=CONTEST.output_tokens,
        warmup_prompts=CONTEST.warmup_prompts,
        prompts_seed=SEED,
        starts={kind: tuple(runs) for kind, runs in sorted(starts.items())},
    )


def _one_start(
    runner: ProcessRunner, image: ImageRef, warmup: Sequence[str], scored: Sequence[str]
) -> tuple[int, tuple[int, ...]]:
    launched_s = time.monotonic()
    server = runner.launch(image, "aa")
    try:
        _favour_session(server.pid)
        server.wait_healthy(_STARTUP_TIMEOUT_S)
        ready_ms = round((time.monotonic() - launched_s) * 1_000)
        return ready_ms, asyncio.run(_walls_us(server.base_url, warmup, scored))
    finally:
        server.stop()


async def _walls_us(base_url: str, warmup: Sequence[str], scored: Sequence[str]) -> tuple[int, ...]:
    async with open_session() as session:
        answers = [
            await ask(session, base_url, _request(content), tokenizer)
            for content in (*warmup, *scored)
        ]
    return tuple(answer.wall_us for answer in answers[len(warmup) :])


def _request(content: str) -> ChatRequest:
    return ChatRequest(
        model=_MODEL,
        content=content,
        max_tokens=CONTEST.output_tokens,
        seed=SEED,
        timeout_s=_PROMPT_TIMEOUT_S,
    )


def _favour_session(pid: int) -> None:
    """Linux weighs sessions against each other before it looks at a process's own priority, and
    every server has a session of its own."""
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), encoding="ascii")


def _cpu() -> str:
    """The processor's name as Linux tells it, or what Python knows of it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
