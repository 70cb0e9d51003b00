"""The GPUs of a contest in a line each, from the records of its baseline; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from evaluation.gpu_strangers import MAX_STRANGERS
from evaluation.gpus import Gpu, GpuProcess, greatest
from evaluation.records import ArmRecord

HELD_BACK: Final = (
    (0x04, "power limit"),
    (0x08, "hardware slowdown"),
    (0x20, "too hot (software)"),
    (0x40, "too hot (hardware)"),
    (0x80, "power brake"),
)
"""The bits of a clock's reasons that say what held it back (NVML, ``nvmlClocksEventReasons``)."""


class _OfAGpu(Protocol):
    @property
    def uuid(self) -> str: ...


One = TypeVar("One", bound=_OfAGpu)


class GpuLine(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU over the baseline's part of a contest; what was never known is None.

    ``least_mhz`` and ``greatest_mhz`` are of its clock under work, sampled in the baseline's blocks
    or, in evidence from before they were sampled, right after them. ``celsius_before`` is before
    the baseline's first start, ``celsius_after`` after its last block, ``greatest_celsius`` while
    it answered. ``memory_mib`` is what it has, ``used_mib`` the most in use while it answered.
    ``held_back`` says in words what held its clock back; empty where nothing did or none was asked.
    """

    index: int
    uuid: str
    name: str
    driver: str
    least_mhz: int | None
    greatest_mhz: int | None
    celsius_before: int | None
    celsius_after: int | None
    greatest_celsius: int | None
    memory_mib: int | None
    used_mib: int | None
    held_back: tuple[str, ...] = ()


def gpu_lines(records: Sequence[ArmRecord]) -> tuple[GpuLine, ...]:
    """The GPUs that the records of the baseline's runs name, in the order of their numbers."""
    starts = [start.gpus_before for record in records for start in record.starts]
    blocks = [block for record in records for block in record.blocks]
    moments = [*starts, *(block.gpus for block in blocks)]
    found: dict[str, list[Gpu]] = {}
    for gpu in (gpu for facts in moments for gpu in facts.gpus or ()):
        found.setdefault(gpu.uuid, []).append(gpu)
    return tuple(
        _line(
            seen,
            before=next((gpu for facts in starts for gpu in _of(uuid, facts.gpus)), None),
            after=[gpu for block in blocks for gpu in _of(uuid, block.gpus.gpus)],
            records=records,
        )
        for uuid, seen in sorted(found.items(), key=lambda one: (one[1][0].index, one[0]))
    )


def engine_of(records: Sequence[ArmRecord]) -> str | None:
    """What the baseline's servers said of their version, each once; None where none did."""
    said = [start.engine_version for record in records for start in record.starts]
    return ", ".join(dict.fromkeys(one for one in said if one is not None)) or None


def gpus_unknown(records: Sequence[ArmRecord]) -> str:
    """Why nothing is known of the GPUs, in the words of who asked; empty where something is."""
    if gpu_lines(records):
        return ""
    said = [start.gpus_before.unknown for record in records for start in record.starts]
    return next((why for why in said if why), "no GPU was found")


def named_gpus(count: int, seen: Iterable[GpuLine]) -> str:
    """How many GPUs a server gets and what they are, e.g. ``2 x NVIDIA H100``; empty where none
    was seen."""
    names = ", ".join(sorted({one.name for one in seen}))
    return f"{count} x {names}" if names and count > 1 else names


def in_one_line(line: GpuLine) -> str:
    """A GPU as text, every figure with its unit."""
    parts = [
        f"{line.name}, driver {line.driver}",
        f"{_known(line.least_mhz)} to {_known(line.greatest_mhz)} MHz under work",
        f"{_known(line.celsius_before)} °C before, {_known(line.celsius_after)} °C after",
        f"{_known(line.used_mib)} of {_known(line.memory_mib)} MiB in use",
    ]
    if line.held_back:
        parts.append(f"held back by {', '.join(line.held_back)}")
    return "; ".join(parts)


def stranger_in_one_line(one: GpuProcess) -> str:
    """A process on a GPU that is no server's, as text."""
    return f"{one.name} (process {one.pid}, {_known(one.memory_mib)} MiB on {one.gpu_uuid})"


def strangers_in_words(strangers: Sequence[GpuProcess] | None) -> str:
    """Who was on the GPUs and should not have been, as text; says so where it is unknown.

    At most :data:`~evaluation.gpu_strangers.MAX_STRANGERS` by name: where programs come and go, the
    evidence has a stranger more for every one of them.
    """
    if strangers is None:
        return "unknown"
    named = [stranger_in_one_line(one) for one in strangers[:MAX_STRANGERS]]
    more = len(strangers) - len(named)
    return ", ".join([*named, *([f"and {more} more"] if more else [])]) or "none"


def _line(
    seen: Sequence[Gpu],
    *,
    before: Gpu | None,
    after: Sequence[Gpu],
    records: Sequence[ArmRecord],
) -> GpuLine:
    gpu = seen[0]
    work = [
        sampled
        for record in records
        for block in record.blocks
        for sampled in _of(gpu.uuid, block.gpu_samples.gpus)
    ]
    clocks = [mhz for one in work for mhz in (one.least_mhz, one.greatest_mhz)]
    if not work:
        clocks = [one.working_mhz for one in after]
    reasons = 0
    masks = [one.clock_reasons for one in work]
    masks += [moment.clock_reasons for moment in after if moment.working_mhz is not None]
    for mask in masks:
        reasons |= mask or 0
    known = [mhz for mhz in clocks if mhz is not None]
    return GpuLine(
        index=gpu.index,
        uuid=gpu.uuid,
        name=gpu.name,
        driver=gpu.driver,
        least_mhz=min(known, default=None),
        greatest_mhz=max(known, default=None),
        celsius_before=None if before is None else before.celsius,
        celsius_after=after[-1].celsius if after else None,
        greatest_celsius=greatest(
            [*(one.greatest_celsius for one in work), *(one.celsius for one in after)]
        ),
        memory_mib=gpu.memory_mib,
        used_mib=greatest(
            [*(one.greatest_memory_mib for one in work), *(one.memory_used_mib for one in after)]
        ),
        held_back=tuple(words for bit, words in HELD_BACK if reasons & bit),
    )


def _of(uuid: str, gpus: Sequence[One] | None) -> list[One]:
    """Those of this GPU."""
    return [gpu for gpu in gpus or () if gpu.uuid == uuid]


def _known(figure: int | None) -> str:
    return "unknown" if figure is None else str(figure)
