"""What ``nvidia-smi`` says of the machine's GPUs: facts for the evidence, unknown where it is not.

Every figure is as ``nvidia-smi`` prints it, in the unit of the field's name; one that it prints as
not available is None. Unknown is never zero.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from evaluation.client import printable
from ledger.units import PPM

TIMEOUT_S: Final = 10.0
"""How long one call of it may take; a moment takes two."""
MAX_GPUS_READ: Final = 64
MAX_PROCESSES_READ: Final = 256
_MAX_TEXT_CHARS: Final = 120
_IDLE: Final = 0x1
"""The bit of the clock's reasons that says: nothing runs, so the clock may sink."""

GPU_FIELDS: Final = (
    "index",
    "uuid",
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "temperature.gpu",
    "memory.total",
    "memory.used",
    "power.draw",
    "clocks_event_reasons.active",
)
"""What :func:`read_gpus` reads, in the words of ``nvidia-smi --query-gpu``."""
_PROCESS_FIELDS: Final = ("gpu_uuid", "pid", "process_name", "used_memory")


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at one moment. ``clock_reasons`` is the bit mask of why its clock is what it is."""

    index: int
    uuid: str
    name: str
    driver: str
    sm_mhz: int | None
    memory_mhz: int | None
    max_sm_mhz: int | None
    celsius: int | None
    memory_mib: int | None
    memory_used_mib: int | None
    power_mw: int | None
    clock_reasons: int | None

    @property
    def working_mhz(self) -> int | None:
        """Its clock while it had work; None where it was idle or that is not known."""
        if self.sm_mhz is None or self.clock_reasons is None or self.clock_reasons & _IDLE:
            return None
        return self.sm_mhz


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that computes on a GPU; ``pid`` is as the driver numbers it."""

    gpu_uuid: str
    pid: int
    name: str
    memory_mib: int | None


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's GPUs and who uses them. ``gpus`` is None where nothing could be asked, and
    ``unknown`` says why; a machine without GPUs has no ``nvidia-smi`` and is unknown too."""

    gpus: tuple[Gpu, ...] | None = None
    processes: tuple[GpuProcess, ...] = ()
    unknown: str = "not asked"


def gpu_facts(command: str = "nvidia-smi") -> GpuFacts:
    """Ask ``command`` now; takes some 30 ms where there is one, at most 20 s, and never raises."""
    program = shutil.which(command)
    if program is None:
        return GpuFacts(unknown=f"there is no {command} on this machine")
    try:
        gpus = read_gpus(_asked(program, "--query-gpu", GPU_FIELDS))
        processes = read_processes(_asked(program, "--query-compute-apps", _PROCESS_FIELDS))
    except (OSError, ValueError) as error:
        return GpuFacts(unknown=printable(f"{command} could not be read: {error}")[:300])
    return GpuFacts(gpus=gpus, processes=processes, unknown="")


def read_gpus(text: str) -> tuple[Gpu, ...]:
    """The rows of ``--query-gpu``; raises ``ValueError`` for rows that are none."""
    return tuple(
        Gpu(
            index=int(row[0]),
            uuid=_text(row[1]),
            name=_text(row[2]),
            driver=_text(row[3]),
            sm_mhz=_whole(row[4]),
            memory_mhz=_whole(row[5]),
            max_sm_mhz=_whole(row[6]),
            celsius=_whole(row[7]),
            memory_mib=_whole(row[8]),
            memory_used_mib=_whole(row[9]),
            power_mw=_milli(row[10]),
            clock_reasons=_bits(row[11]),
        )
        for row in _rows(text, len(GPU_FIELDS))[:MAX_GPUS_READ]
    )


def read_processes(text: str) -> tuple[GpuProcess, ...]:
    """The rows of ``--query-compute-apps``; raises ``ValueError`` for rows that are none."""
    return tuple(
        GpuProcess(
            # Its name is a program's own to choose, commas too.
            gpu_uuid=_text(row[0]),
            pid=int(row[1]),
            name=_text(", ".join(row[2:-1])),
            memory_mib=_whole(row[-1]),
        )
        for row in _rows(text, len(_PROCESS_FIELDS), more=True)[:MAX_PROCESSES_READ]
    )


def clock_drift_ppm(moments: Sequence[GpuFacts]) -> int | None:
    """How far the working clock of a GPU sank below its highest over these moments, at worst.

    Idle moments say nothing; None unless some GPU was seen at work twice.
    """
    by_gpu: dict[str, list[int]] = {}
    for facts in moments:
        for gpu in facts.gpus or ():
            if gpu.working_mhz is not None:
                by_gpu.setdefault(gpu.uuid, []).append(gpu.working_mhz)
    return sunk_ppm(by_gpu.values())


def sunk_ppm(clocks_by_gpu: Iterable[Sequence[int]]) -> int | None:
    """How far a GPU's clock sank below its highest, at worst; None where none was seen twice."""
    drifts = [
        (max(clocks) - min(clocks)) * PPM // max(clocks)
        for clocks in clocks_by_gpu
        if len(clocks) > 1 and max(clocks) > 0
    ]
    return max(drifts, default=None)


def greatest(values: Iterable[int | None]) -> int | None:
    """The greatest of what is known; None where nothing is."""
    return max((value for value in values if value is not None), default=None)


def _asked(program: str, query: str, fields: Sequence[str]) -> str:
    words = [program, f"{query}={','.join(fields)}", "--format=csv,noheader,nounits"]
    child = subprocess.Popen(  # noqa: S603 - a program of this machine, with our own arguments
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        said, complaint = child.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        # Not waited for, as subprocess.run would: in a driver that hangs it never ends.
        child.kill()
        if isinstance(error, subprocess.TimeoutExpired):
            msg = f"it did not answer within {TIMEOUT_S:g} s"
            raise TimeoutError(msg) from error
        raise
    if child.returncode != 0:
        words_said = (complaint or said).decode(errors="replace").strip()
        msg = f"it exited with code {child.returncode} and said: {words_said or 'nothing'}"
        raise OSError(msg)
    return said.decode(errors="replace")


def _rows(text: str, columns: int, *, more: bool = False) -> list[list[str]]:
    """The cells of each row: so many, or ``more`` where one of them is free text."""
    rows = [
        [cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()
    ]
    for row in rows:
        if len(row) < columns or (len(row) > columns and not more):
            msg = f"a row of {len(row)} columns where {columns} were asked for"
            raise ValueError(msg)
    return rows


def _text(cell: str) -> str:
    return printable(cell)[:_MAX_TEXT_CHARS]


def _whole(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _milli(cell: str) -> int | None:
    whole, _, part = cell.partition(".")
    if not whole.isdecimal() or (part and not part.isdecimal()):
        return None
    return int(whole) * 1_000 + int((part + "000")[:3])


def _bits(cell: str) -> int | None:
    try:
        return int(cell, 16)
    except ValueError:
        return None  # printed as not supported, or not active
