"""A machine's GPUs as text that a real one printed, and a program that prints it in its place.

The rows are of an H200 under driver 580.159.04, idle and at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

UUID = "GPU-ceafd5e8-f609-37b4-b5fe-d77f0c8adc00"
IDLE = (
    f"0, {UUID}, NVIDIA H200, 580.159.04, 345, 3201, 1980, 39, 143771, 0, 80.40, "
    "0x0000000000000001\n"
)
BUSY = (
    f"0, {UUID}, NVIDIA H200, 580.159.04, 1785, 3201, 1980, 49, 143771, 1101, 403.72, "
    "0x0000000000000004\n"
)


def busy(mhz: int, celsius: int = 49, reasons: int = 4, uuid: str = UUID) -> str:
    """The row at work, at another clock."""
    row = BUSY.replace("1785", str(mhz)).replace(", 49,", f", {celsius},")
    return row.replace("0x0000000000000004", f"0x{reasons:016x}").replace(UUID, uuid)


def nvidia_smi(
    folder: Path, sampled: Sequence[str], *, moment: str = BUSY, processes: str = ""
) -> Path:
    """An ``nvidia-smi`` in ``folder``: ``sampled`` at once where it is asked to sample, then
    nothing more until it is ended; ``moment`` and ``processes`` where it is asked once.

    Every call's arguments are a line of ``asked`` beside it, and the pid of one that samples is in
    ``sampling``. Rows that are in a file ``sampled.N`` are those of the N-th time it samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sampled").write_text("".join(sampled))
    (folder / "moment").write_text(moment)
    (folder / "processes").write_text(processes)
    program = folder / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        f"cd '{folder}'\n"
        'echo "$*" >> asked\n'
        'case "$*" in\n'
        "*-lms*)\n"
        "  echo $$ >> sampling\n"
        "  turn=$(wc -l < sampling)\n"
        '  if [ -f "sampled.$((turn))" ]; then cat "sampled.$((turn))"; else cat sampled; fi\n'
        "  exec sleep 600 ;;\n"
        "--query-compute-apps*) cat processes ;;\n"
        "*) cat moment ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return program
