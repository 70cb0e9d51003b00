"""``aa``: the baseline against copies of itself: the noise within a start and between starts.

Resident servers give one start an arm; ``--restart`` gives one an arm and block.
"""

from __future__ import annotations

from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.gpu.policies import policy_of
from benchmarks.gpu.program import StepError
from benchmarks.gpu.tables import contest_table, table_of
from benchmarks.gpu.throughput import answers_by_arm, block_walls_us, kept

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign


def run(campaign: Campaign) -> str:
    """One contest, and the calibration that follows from its bundle."""
    name = "aa-restarted" if campaign.manner.restart else "aa"
    image = campaign.engines.baseline()
    policy = policy_of(campaign.model_name, campaign.size, campaign.manner)
    ran = campaign.program.contest(
        name, policy, image, [image] * campaign.copies, campaign.seed_hash(name)
    )
    names = [f"copy-{number}" for number in range(1, campaign.copies + 1)]
    told = [contest_table(f"{name} in {ran.seconds:.0f} s", names, ran.document)]
    if ran.document["bundle"]:
        told.append(_noise(campaign, name))
    if ran.exit_code == 0:
        told.append(_calibration(campaign, name))
    return "\n".join(told)


def _noise(campaign: Campaign, name: str) -> str:
    """Each arm's block times, its spread, and its mean against the mean of all arms."""
    bundle = kept(campaign.program.bundle(name))
    size = campaign.size.prompts_per_block
    walls = {
        arm: block_walls_us(answers, size)
        for arm, answers in answers_by_arm(bundle).items()
        if len(answers) == campaign.size.prompts
    }
    if not walls:
        msg = f"{name}: no arm answered everything; see {name}.log"
        raise StepError(msg)
    mean_us = fmean(fmean(own) for own in walls.values())
    rows = [
        [
            arm,
            median(own) / 1_000_000,
            100 * stdev(own) / fmean(own) if len(own) > 1 else None,
            100 * (fmean(own) / mean_us - 1),
        ]
        for arm, own in walls.items()
    ]
    heads = ("arm", "median block s", "spread over blocks %", "mean against all %")
    return table_of("noise of one start's blocks, and between arms", heads, rows)


def _calibration(campaign: Campaign, name: str) -> str:
    out = campaign.program.folder / f"{name}.calibration.json"
    words = ["--bundle", str(campaign.program.bundle(name)), "--out", str(out)]
    done = campaign.program.command(f"{name}-calibrate", ["contest", "calibrate", *words])
    if done.exit_code != 0:
        return f"no calibration: {done.said}"
    found: dict[str, Any] = msgspec.json.decode(out.read_bytes())
    rows = [
        [figure, own["samples"], own["least"], own["median"], own["greatest"]]
        for figure, own in (
            ("wall within, ppm", found["wall_within_ppm"]),
            ("wall between, ppm", found["wall_between_ppm"]),
            *found["figures"].items(),
        )
        if own is not None
    ]
    heads = ("figure", "runs", "least", "median", "greatest")
    return table_of("calibration", heads, rows)
