"""What is kept of a bundle for the page: small JSON files in ``benchmarks/data/gpu``.

Integers with their unit in the name; None is unknown. The bundles themselves are too large to lie
here; a summary names its bundle by the manifest's digest, so that whoever has the bundle can make
the summary anew (:mod:`benchmarks.gpu.extract`) and compare.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from evaluation.conditions import Conditions
from evaluation.figures import GateFigures
from evaluation.gpu_lines import GpuLine, named_gpus
from ledger.gate_policy import GatePolicy

DATA: Final = Path(__file__).resolve().parents[1] / "data" / "gpu"
SUMMARY_FORM: Final = "cacheon-gpu-summary/1"
MAX_SUMMARY_BYTES: Final = 256 * 1024
"""A summary that is larger holds what belongs in its bundle."""
BASELINE: Final = "baseline"

What = Literal["aa", "honest", "cheats", "evidence", "reference", "parallel", "rounds"]
"""Why a bundle was made. ``aa``: every arm is the baseline's own launch. ``evidence``: with and
without logprobs. ``reference``: under another reference. ``parallel``: on several GPUs a server.
``rounds``: a round of a king of the hill."""

MARGINS_MILLI: Final = (
    *(0, 1, 2, 5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 400, 500, 700),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000),
)
"""Where the distribution of the tokens' margins is kept."""


class BlockTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One block of one arm, in the words of the rule: its time is the sum of ``e2e_us``.

    ``start`` counts the arm's starts. ``wall_us`` is from the first send to the last byte.
    ``margin_milli`` (clipped as the gates do), ``first_choices`` and ``forced`` are sums over its
    tokens under the reference, ``delta_milli`` and ``claims`` over the claimed logprobs; all five
    are None for the baseline, which is not forced.
    """

    block: int
    start: int
    tokens: int
    wall_us: int
    e2e_us: tuple[int, ...]
    place: int | None = None
    margin_milli: int | None = None
    first_choices: int | None = None
    forced: int | None = None
    delta_milli: int | None = None
    claims: int | None = None


class ArmTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of one arm. ``gpu_ms`` is its machine time times its GPUs, starting included;
    ``repeats_ms`` is how long its repeated prompts took, with those asked between them."""

    arm: str
    name: str
    image: str
    ready_ms: tuple[int | None, ...]
    gpu_ms: int
    repeats_ms: int
    blocks: tuple[BlockTimes, ...]


class ArmVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one entrant.

    ``expected`` is the code it has to get: empty for an honest one. ``code`` was given under the
    bundle's own gates, ``calibrated_code`` follows under those of the calibration for its model,
    GPU and engine; None where there is none. ``beyond[i]`` is how many tokens have a margin above
    :data:`MARGINS_MILLI` ``[i]``. ``saved_ppm`` is the part of the baseline's time that is saved by
    the mean of its blocks, below 0 where it is slower, with the interval's bounds; a score is never
    below 0.
    """

    arm: str
    name: str
    role: str
    expected: str
    status: str
    code: str
    calibrated_code: str | None
    detail: str
    figures: GateFigures | None
    tokens: int
    beyond: tuple[int, ...]
    score_ppm: int | None = None
    saved_ppm: int | None = None
    lower_ppm: int | None = None
    upper_ppm: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in the words of ``ContestPolicy``."""

    order: str
    restart_each_block: bool
    streams: int
    prompts: int
    prompts_per_block: int
    context_tokens: int
    output_tokens: int
    gpus: int
    start_together: bool
    ask_logprobs: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a round did to the throne, as :class:`evaluation.throne.ThroneStep`."""

    what: str
    arm: str
    undecided: bool
    needed_ppm: int | None
    reached_ppm: int | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle. ``gpus`` are over all of its arms; ``strangers`` names the processes on them that
    were no server's, None where that is unknown."""

    form: str = SUMMARY_FORM
    name: str
    what: What
    about: str
    manifest_digest: str
    track: str
    model: str
    engine: str
    host: dict[str, str]
    plan: Plan
    gates: GatePolicy
    status: str
    void: str
    conditions: Conditions
    gpus: tuple[GpuLine, ...]
    strangers: tuple[str, ...] | None
    arms: tuple[ArmTimes, ...]
    verdicts: tuple[ArmVerdict, ...]
    steps: tuple[Step, ...]
    king: str | None

    @property
    def gpu(self) -> str:
        """The GPUs of one of its servers, as :func:`~evaluation.gpu_lines.named_gpus` says it."""
        return named_gpus(self.plan.gpus, self.gpus)


def read_summaries(folder: Path = DATA) -> list[Summary]:
    """All summaries by name, none where the folder has none.

    Raises ``ValueError`` for a file of another form or one beyond :data:`MAX_SUMMARY_BYTES`.
    """
    found = []
    for path in sorted(folder.glob("bundle-*.json")):
        if path.stat().st_size > MAX_SUMMARY_BYTES:
            msg = f"{path.name} is larger than {MAX_SUMMARY_BYTES} bytes; keep fewer arms of it"
            raise ValueError(msg)
        summary = msgspec.json.decode(path.read_bytes(), type=Summary)
        if summary.form != SUMMARY_FORM:
            msg = f"{path.name} has the form {summary.form[:64]!r}, not {SUMMARY_FORM!r}"
            raise ValueError(msg)
        found.append(summary)
    return found


def write_summary(summary: Summary, folder: Path = DATA) -> Path:
    """Write one summary, a line for each arm's and each verdict's part; its path.

    Raises ``ValueError`` where it is larger than may be read again.
    """
    text = _by_lines(msgspec.to_builtins(summary))
    if len(text) > MAX_SUMMARY_BYTES:
        msg = f"the summary of {summary.name} has {len(text)} bytes, at most {MAX_SUMMARY_BYTES}"
        raise ValueError(msg)
    path = folder / f"bundle-{summary.name}.json"
    path.write_bytes(text)
    return path


def _by_lines(fields: dict[str, object]) -> bytes:
    """JSON with one field a line, and one member of a list a line, to be compared by eye."""
    lines = []
    for name, value in fields.items():
        head = f" {msgspec.json.encode(name).decode()}: "
        if isinstance(value, list | tuple) and value:
            members = ",\n".join(f"  {msgspec.json.encode(one).decode()}" for one in value)
            lines.append(f"{head}[\n{members}\n ]")
        else:
            lines.append(head + msgspec.json.encode(value).decode())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
