"""What A/A runs took: the form of the files in ``benchmarks/data`` and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

DATA: Final = Path(__file__).resolve().parents[1] / "data"
MEASURED: Final = DATA / "aa_reference.json"
"""A/A runs of the reference servers, measured by ``python -m benchmarks.noise.measure``."""

REFERENCE: Final = "kv_cache"
"""The server that meets itself."""
BASELINE: Final = "recompute"
"""The server whose own time tells of drift."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of one server: what it answered after its warm-up, prompt by prompt.

    ``round`` counts the rounds in which every kind was started in turn, ``place`` is where in the
    order of its round it ran. ``ready_ms`` is the time from the launch to the first healthy answer.
    ``e2e_us[i]`` is the time from the send to the last token of prompt ``i``, the same prompt in
    every start of its kind.
    """

    round: int
    place: int
    ready_ms: int
    e2e_us: tuple[int, ...]


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """All starts of a measurement by kind of server, and under what they were taken."""

    what: str
    host: Mapping[str, str]
    context_tokens: int
    output_tokens: int
    warmup_prompts: int
    prompts_seed: int
    starts: Mapping[str, tuple[Start, ...]]


def read_timings(path: Path = MEASURED) -> Timings:
    """The measured timings; raises ``msgspec.ValidationError`` or ``ValueError`` for a file that is
    none, e.g. one whose starts did not all answer the same number of prompts."""
    timings = msgspec.json.decode(path.read_bytes(), type=Timings)
    for kind, starts in timings.starts.items():
        lengths = {len(start.e2e_us) for start in starts}
        if len(lengths) != 1 or 0 in lengths:
            msg = f"{path.name}: every start of {kind} answers the same prompts, got {lengths}"
            raise ValueError(msg)
    if any(us < 1 for starts in timings.starts.values() for start in starts for us in start.e2e_us):
        msg = f"{path.name}: a time below 1 us was never measured"
        raise ValueError(msg)
    return timings


def write_timings(timings: Timings, path: Path = MEASURED) -> None:
    """One line a start, so that the file can be read and compared by eye."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.structs.asdict(timings)
    starts = head.pop("starts")
    lines = [f' "{name}":{msgspec.json.encode(value).decode()},\n' for name, value in head.items()]
    kinds = [
        f'  "{kind}":[\n'
        + ",\n".join(f"   {msgspec.json.encode(one).decode()}" for one in runs)
        + "]"
        for kind, runs in starts.items()
    ]
    text = "{\n" + "".join(lines) + ' "starts":{\n' + ",\n".join(kinds) + "}\n}\n"
    path.write_text(text, encoding="utf-8")
