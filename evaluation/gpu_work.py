"""What the machine's GPUs did while a block ran: sampled by one child, read when the block is over.

One ``nvidia-smi -lms`` writes a row a GPU into a file while the client asks; it is started, and has
said its first rows, before the first prompt is sent, and nothing of it is read before the last
answer is here. So the client neither spawns nor reads anything while it takes times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median_high
from typing import IO, Final

import msgspec

from evaluation.answers import printable
from evaluation.gpus import (
    GPU_FIELDS,
    Gpu,
    GpuFacts,
    clock_drift_ppm,
    greatest,
    read_gpus,
    sunk_ppm,
)
from evaluation.runners import guard

SAMPLE_MS: Final = 2_000
"""One row a GPU so often: five of a block of 10 s, and next to nothing for the machine."""
MAX_SAMPLED_BYTES: Final = 4 * 2**20
"""Rows of one block that are read: some two hours of eight GPUs. What comes later is left out."""
MIN_WORKING_SAMPLES: Final = 2
"""Fewer samples under work say nothing of a block's clock: one alone may be of its ramp."""
_FIRST_ROW_S: Final = 10.0
"""How long its first row is waited for; a driver without persistence needs a second or two."""
_POLL_S: Final = 0.01
_END_S: Final = 5.0


class GpuWork(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU over a stretch; ``working`` of its ``samples`` were taken while it had work.

    Clocks are of those alone, in MHz; the median is the higher one of two. Everything else is the
    greatest of all samples: degrees Celsius, milliwatts, MiB. ``clock_reasons`` is the union of the
    bit masks of why its clock was what it was. What was never known is None.
    """

    uuid: str
    samples: int
    working: int
    least_mhz: int | None
    median_mhz: int | None
    greatest_mhz: int | None
    greatest_celsius: int | None
    greatest_power_mw: int | None
    greatest_memory_mib: int | None
    clock_reasons: int | None


class GpuSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs over a stretch; None where nothing was sampled, and ``unknown`` says why."""

    gpus: tuple[GpuWork, ...] | None = None
    unknown: str = "not sampled"


class Sampling:
    """A stretch that is sampled until :meth:`end`, which is to be called whatever happens."""

    def __init__(
        self, child: subprocess.Popen[bytes] | None, rows: IO[bytes] | None, unknown: str = ""
    ) -> None:
        self._child, self._rows, self._unknown = child, rows, unknown

    def end(self) -> GpuSamples:
        """End the child and summarise what it wrote; never raises for what it did or wrote."""
        child, rows = self._child, self._rows
        self._child = self._rows = None
        if child is None or rows is None:
            return GpuSamples(unknown=self._unknown or "it was ended already")
        try:
            exited = child.poll()
            child.kill()
            child.wait(_END_S)
            rows.seek(0)
            text = rows.read(MAX_SAMPLED_BYTES).decode(errors="replace")
        except (OSError, subprocess.SubprocessError) as error:
            return _unknown(f"nvidia-smi could not be ended or read: {error}")
        finally:
            rows.close()
        try:
            found = () if exited is not None else worked(text)
        except ValueError:
            found = ()
        if not found:
            said = text.strip().splitlines()[-1:] or ["nothing"]
            return _unknown(f"nvidia-smi did not sample and said: {said[0]}")
        return GpuSamples(gpus=found, unknown="")


def start_sampling(command: str = "nvidia-smi", every_ms: int = SAMPLE_MS) -> Sampling:
    """Have ``command`` sample every ``every_ms`` from now on; returns once it said its first row.

    Where there is none, no child runs and the samples are unknown. Never raises.
    """
    program = shutil.which(command)
    if program is None:
        return Sampling(None, None, f"there is no {command} on this machine")
    asked = [program, f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    # It dies with us, also where we are killed outright.
    guarded = [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(os.getpid())]
    try:
        rows = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Sampling.end
        try:
            child = subprocess.Popen(  # noqa: S603 - a program of this machine, our own arguments
                [*guarded, *asked, "-lms", str(every_ms)],
                stdin=subprocess.DEVNULL,
                stdout=rows,
                stderr=subprocess.STDOUT,
            )
        except BaseException:
            rows.close()
            raise
    except OSError as error:
        return Sampling(None, None, printable(f"{command} could not be started: {error}")[:300])
    sampling = Sampling(child, rows)
    deadline_s = time.monotonic() + _FIRST_ROW_S
    try:
        while child.poll() is None and time.monotonic() < deadline_s:
            if os.fstat(rows.fileno()).st_size:
                break
            time.sleep(_POLL_S)
    except BaseException:  # an interrupt: nobody has it yet, so nobody else would end it
        sampling.end()
        raise
    return sampling


def worked(text: str) -> tuple[GpuWork, ...]:
    """The rows of ``--query-gpu``, sampled, a summary for each GPU in the order of their uuids.

    A last row that was cut off is left out. Raises ``ValueError`` for rows that are none.
    """
    whole = text[: text.rfind("\n") + 1]
    by_gpu: dict[str, list[Gpu]] = {}
    for row in whole.splitlines():
        for gpu in read_gpus(row):
            by_gpu.setdefault(gpu.uuid, []).append(gpu)
    return tuple(_summary(uuid, seen) for uuid, seen in sorted(by_gpu.items()))


def work_drift_ppm(blocks: Sequence[tuple[GpuFacts, GpuSamples]]) -> int | None:
    """How far a GPU's clock under work sank below its highest over these blocks, at worst.

    Of each block the median clock of its working samples counts: a clock that ramps up is low in a
    block's first sample and a single prefill may dip under the power limit, and neither is drift;
    a maximum would hide a throttle that left one sample untouched. Blocks with fewer than
    :data:`MIN_WORKING_SAMPLES` say nothing. Evidence from before blocks were sampled is judged by
    the moments after its blocks, as it was. None unless some GPU was seen at work in two blocks.
    """
    if all(samples.gpus is None for _, samples in blocks):
        return clock_drift_ppm([moment for moment, _ in blocks])
    by_gpu: dict[str, list[int]] = {}
    for _, samples in blocks:
        for gpu in samples.gpus or ():
            if gpu.median_mhz is not None and gpu.working >= MIN_WORKING_SAMPLES:
                by_gpu.setdefault(gpu.uuid, []).append(gpu.median_mhz)
    return sunk_ppm(by_gpu.values())


def _summary(uuid: str, seen: Sequence[Gpu]) -> GpuWork:
    clocks = [gpu.working_mhz for gpu in seen if gpu.working_mhz is not None]
    reasons = [gpu.clock_reasons for gpu in seen if gpu.clock_reasons is not None]
    union = 0
    for mask in reasons:
        union |= mask
    return GpuWork(
        uuid=uuid,
        samples=len(seen),
        working=len(clocks),
        least_mhz=min(clocks, default=None),
        median_mhz=median_high(clocks) if clocks else None,
        greatest_mhz=max(clocks, default=None),
        greatest_celsius=greatest(gpu.celsius for gpu in seen),
        greatest_power_mw=greatest(gpu.power_mw for gpu in seen),
        greatest_memory_mib=greatest(gpu.memory_used_mib for gpu in seen),
        clock_reasons=union if reasons else None,
    )


def _unknown(why: str) -> GpuSamples:
    return GpuSamples(unknown=printable(why)[:300])
