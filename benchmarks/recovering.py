"""Contests under SIGKILL: how often everything is as if nothing had happened, but for time."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measuring import CannotMeasureError, tell
from benchmarks.recovery import DockerMachine, Machine, Run, Victim, killed_run
from benchmarks.registry import Measurement, benchmark

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED: Final = 5
MOMENTS: Final = 20
"""Killings of each victim."""
TRIES: Final = 5
"""How often a moment is drawn anew where the contest was over before it."""
VICTIMS: Final[tuple[Victim, ...]] = ("evaluator", "dockerd", "server")


@benchmark(
    "Share of contests through which evaluator, Docker Engine or a server was killed at a random "
    "moment, after which no contest is counted twice, no container, network or firewall rule is "
    "left, and no fee is lost",
    goal=1,
)
def contest_recovery() -> Measurement:
    """Real containers, real kills; the moments come from a seed."""
    from tests.engine.engine import EngineUnavailableError, shared_engine

    try:
        engine = shared_engine()
    except EngineUnavailableError as error:
        raise CannotMeasureError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="ledger-recovery-") as name:
        folder = Path(name)
        machine = DockerMachine(folder / "machine", engine)
        return measured(machine, folder, VICTIMS, MOMENTS, SEED)


def measured(
    machine: Machine, folder: Path, victims: Sequence[Victim], moments: int, seed: int
) -> Measurement:
    """Kill each victim at so many moments of a contest, drawn from its undisturbed length."""
    chance = random.Random(seed)  # noqa: S311  moments, no secrets
    whole = killed_run(machine, folder / "whole", None, 0, chance)
    if whole.faults:
        msg = f"an undisturbed contest went wrong already: {'; '.join(whole.faults)}"
        raise CannotMeasureError(msg)
    tell(f"undisturbed: {whole.took_s:.0f} s")
    seen: dict[Victim, list[bool]] = {victim: [] for victim in victims}
    killed = 0
    for moment in range(moments):
        for victim in victims:
            after_s, run = _hit(machine, folder / f"{victim}-{moment}", victim, whole, chance)
            seen[victim].append(run.killed and not run.faults)
            killed += run.killed
            tell(
                f"{victim} killed after {after_s:.1f} s: "
                + ("; ".join(run.faults) if run.faults else f"as it should be, {run.took_s:.0f} s")
                + ("" if run.killed else "; but it was never there, so this counts as a failure")
            )
    runs = sum(len(one) for one in seen.values())
    well = sum(sum(one) for one in seen.values())
    each = ", ".join(f"{victim} {sum(one)} of {len(one)}" for victim, one in seen.items())
    note = (
        f"{each}; {killed} of {runs} victims were there to be killed; moments from seed {seed}; "
        f"{os.cpu_count()} cores"
    )
    return Measurement(well / runs, 1, note)


def _hit(
    machine: Machine, folder: Path, victim: Victim, whole: Run, chance: random.Random
) -> tuple[float, Run]:
    """A run whose victim was there to be killed: machines are not equally fast every time."""
    longest_s = whole.took_s
    for number in range(TRIES):
        after_s = chance.uniform(0, longest_s)
        run = killed_run(
            machine, folder.with_name(f"{folder.name}-{number}"), victim, after_s, chance
        )
        if run.killed or run.faults:
            break
        longest_s = run.took_s
    return after_s, run
