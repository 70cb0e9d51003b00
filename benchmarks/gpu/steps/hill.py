"""``hill``: king of the hill over three rounds, recorded in a ledger on the same host.

Each round is planned by ``contest plan``, run by ``contest run --plan`` and recorded by ``contest
import``; each time a faster server comes, so that the crown changes back to back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu.hill_ledger import MINERS, HillLedger
from benchmarks.gpu.hill_rounds import BURN, HillError, Standing, keep_answers, play
from benchmarks.gpu.policies import policy_of
from benchmarks.gpu.program import VOID_EXIT, StepError
from benchmarks.gpu.tables import contest_table, table_of
from evaluation.runners.local import LocalImages

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign

_ALPHA: int = 10**9


def run(campaign: Campaign) -> str:
    """Three rounds; run again in the same folder it goes on with the round that was interrupted."""
    program = campaign.program
    launches = campaign.engines.climbers()
    baseline, *climbers = digests_of(campaign, launches)
    manner = replace(campaign.manner, baseline_image=baseline)
    policy = policy_of(campaign.model_name, campaign.size, manner)
    hill = HillLedger(program.folder / "hill.db", policy)
    told: list[str] = []

    def bundle_of(number: int, plan: Path) -> Path:
        name = f"hill-{number}"
        if program.bundle(name).exists():
            return program.bundle(name)
        ran = program.planned(name, plan, launches)
        document = ran.document
        names = [f"{line['role']} {line['image']}" for line in document["entrants"]]
        told.append(contest_table(f"{name} in {ran.seconds:.0f} s", names, document))
        if ran.exit_code == VOID_EXIT:
            if program.bundle(name).exists():
                program.bundle(name).rename(program.bundle(f"{name}.void"))
            msg = (
                f"round {number} is void, {document['void_cause']}: {document['detail']}; run "
                "the step again in this folder"
            )
            raise StepError(msg)
        return program.bundle(name)

    def on_round(number: int) -> None:
        program.clock.must_not_be_over(f"hill-{number}")

    try:
        standings = play(hill, program, climbers, bundle_of, program.folder, on_round=on_round)
        keep_answers(hill, program)
    except (StepError, HillError) as error:
        raise StepError("\n".join((str(error), *told))) from error
    finally:
        hill.close()
    return "\n".join((*told, _told(standings)))


def digests_of(campaign: Campaign, launches: Sequence[str]) -> list[str]:
    """The digest of each launch, by which policy and submissions name it."""
    local = LocalImages(
        campaign.program.model,
        model_name=campaign.model_name,
        profiles=campaign.program.profiles,
    )
    return [local.named(launch).digest for launch in launches]


def _told(standings: Sequence[Standing]) -> str:
    rows = [
        [
            *(one.round, one.block, one.king, one.runner_up),
            *(one.shares_ppm.get(name, 0) / 10_000 for name in (*MINERS, BURN)),
            *(one.earned_alpha[name] / _ALPHA for name in MINERS),
        ]
        for one in standings
    ]
    heads = ["round", "block", "king", "runner-up"]
    heads += [f"{name} %" for name in (*MINERS, BURN)]
    heads += [f"{name} earned" for name in MINERS]
    return table_of("the hill: weights, and alpha earned so far", heads, rows)
