"""``hill``: king of the hill over three rounds, recorded in a ledger on the same host.

Each round is planned by ``contest plan``, run by ``contest run --plan`` and recorded by ``contest
import``; each time a faster server comes, so that the crown changes back to back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.gpu.hill_ledger import MINERS, HillLedger
from benchmarks.gpu.hill_rounds import BURN, Standing, keep_answers, play
from benchmarks.gpu.policies import policy_of
from benchmarks.gpu.program import VOID_EXIT, StepError
from benchmarks.gpu.tables import contest_table, table_of
from evaluation.runners.local import LocalImages

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign

_ALPHA: int = 10**9


def run(campaign: Campaign) -> str:
    """Three rounds; a ledger of an earlier run in the same folder is not taken up again."""
    program = campaign.program
    database = program.folder / "hill.db"
    if database.exists():
        msg = f"{database.name} is there already: a hill is played once; give another --out"
        raise StepError(msg)
    launches = campaign.engines.climbers()
    baseline, *climbers = digests_of(campaign, launches)
    manner = replace(campaign.manner, baseline_image=baseline)
    hill = HillLedger(database, policy_of(campaign.model_name, campaign.size, manner))
    told: list[str] = []

    def bundle_of(number: int, plan: Path) -> Path:
        name = f"hill-{number}"
        ran = program.planned(name, plan, launches)
        names = [f"{line['role']} {line['image']}" for line in ran.document["entrants"]]
        told.append(contest_table(f"{name} in {ran.seconds:.0f} s", names, ran.document))
        if ran.exit_code == VOID_EXIT:
            document = ran.document
            msg = f"round {number} is void, {document['void_cause']}: {document['detail']}"
            raise StepError(msg)
        return program.bundle(name)

    try:
        standings = play(hill, program, climbers, bundle_of, program.folder)
        keep_answers(hill, program)
    except StepError as error:
        msg = f"{error}\n" + "\n".join(told)
        raise StepError(msg) from error
    finally:
        hill.close()
    (program.folder / "hill.standings.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(standings), indent=2)
    )
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
