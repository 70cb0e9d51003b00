"""What `contest run` runs: a plan that the ledger wrote, or images named in the command line."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import typer

from api.cli.contest_rules import check_reference, entrants_of, seed_of
from api.errors import InputFileError, read_text_file

if TYPE_CHECKING:
    from api.cli.contest_rules import Rules
    from api.cli.machines import Machine
    from evaluation.plan import ContestPlan

MAX_PLAN_BYTES: Final = 2**20
"""Of a plan's file; 256 entrants and a policy take a third of that."""


class Chosen(NamedTuple):
    """A plan; ``rules`` and ``seed`` say where those come from, ``images`` how each was named."""

    plan: ContestPlan
    rules: str
    seed: str
    images: Mapping[str, str]


def read_plan(file: Path, model_dir: Path, given: Mapping[str, object]) -> Chosen:
    """The plan that 'contest plan' wrote into ``file``, over the model of this machine.

    ``given`` are the options that a plan settles, by name; one of them that was given is a usage
    error. Raises :class:`InputFileError` for a file that holds no plan.
    """
    from evaluation.plan import ContestPlan, PlanError, checked

    for option, value in given.items():
        if value is not None:
            msg = "the plan settles that already; leave it out, or leave --plan out"
            raise typer.BadParameter(msg, param_hint=f"'{option}'")
    text = read_text_file(file, max_bytes=MAX_PLAN_BYTES)
    if len(text.encode()) > MAX_PLAN_BYTES:
        msg = f"the file '{file}' is larger than the {MAX_PLAN_BYTES} bytes a plan may have"
        raise InputFileError(msg)
    try:
        plan = checked(msgspec.json.decode(text, type=ContestPlan))
    except (msgspec.MsgspecError, PlanError, RecursionError) as error:
        msg = f"the file '{file}' holds no plan of 'contest plan': {error}; plan the contest again"
        raise InputFileError(msg) from error
    return Chosen(
        plan=msgspec.structs.replace(plan, model_dir=str(model_dir)),
        rules=f"track '{plan.track}' of the ledger that planned it",
        seed=f"the seed is the hash of block {plan.seed_block}, by the ledger's plan",
        images={
            "baseline": str(plan.baseline),
            **{entrant.entrant_id: str(entrant.image) for entrant in plan.entrants},
        },
    )


def plan_by_hand(
    machine: Machine,
    rules: Rules,
    model_dir: Path,
    *,
    baseline: str | None,
    king: str | None,
    runner_up: str | None,
    challengers: list[str],
    seed_hash: str,
    seed_block: int,
) -> Chosen:
    """A contest of the images that the words name; a usage error where one is none."""
    from evaluation.plan import ContestPlan

    for option, word in (("--baseline", baseline), ("--entrant", challengers)):
        if not word:
            msg = "a contest takes a baseline and an entrant; name them, or a --plan of the ledger"
            raise typer.BadParameter(msg, param_hint=f"'{option}'")
    block_hash, note = seed_of(seed_hash)
    images = {"baseline": str(baseline)}
    reference = machine.image(images["baseline"], "'--baseline'")
    check_reference(machine, reference)
    plan = ContestPlan(
        contest_id=f"by-hand-{secrets.token_hex(8)}",
        track=rules.track,
        attempt=1,
        seed_block=seed_block,
        seed_block_hash=block_hash,
        policy=rules.policy,
        model_dir=str(model_dir),
        model_name=rules.policy.model,
        baseline=reference,
        entrants=entrants_of(machine, king, runner_up, challengers, images),
    )
    return Chosen(plan, rules.name, note, images)
