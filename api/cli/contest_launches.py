"""The launch profiles that a plan's digests stand for, on this machine and on a rented one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.contest_rules import check_reference
from api.cli.machines import Machine, Profiles, RunnerKind, engines_of

if TYPE_CHECKING:
    from api.cli.contest_plan import Chosen


def register(contests: typer.Typer) -> None:
    """Add the command of this module to those of ``contest``."""
    contests.command("launch")(launch)


def launch(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="E.g. 'profile:vllm?…'.")],
    profiles: Profiles = None,
) -> None:
    """Print the digest of a launch profile: what a plan of the ledger names it by."""
    from evaluation.engines.profile import ProfileError, parse_launch

    try:
        found = parse_launch(profile, profiles)
    except ProfileError as error:
        raise typer.BadParameter(str(error), param_hint="'PROFILE'") from error
    sys.stdout.write(f"{found.digest()}\n")


def with_launches(chosen: Chosen, machine: Machine) -> Chosen:
    """The same plan, its launch profiles called by their names in the report.

    A usage error for an image that is neither among the machine's launches nor its directories,
    and for a baseline that cannot be the reference.
    """
    plan, images = chosen.plan, dict(chosen.images)
    named = {"baseline": plan.baseline}
    named |= {entrant.entrant_id: entrant.image for entrant in plan.entrants}
    for entrant_id, image in named.items():
        if not machine.knows(image):
            msg = (
                f"the plan's image of {entrant_id} has the digest {image.digest}, which neither a "
                "--launch nor a directory in --images has; add what it was submitted as"
            )
            raise typer.BadParameter(msg, param_hint="'--launch'")
        launch = machine.launch_of(image)
        images[entrant_id] = images[entrant_id] if launch is None else str(launch)
    check_reference(machine, plan.baseline)
    return chosen._replace(images=images)


def launches_there(
    chosen: Chosen,
    runner: RunnerKind,
    *,
    images: str | None,
    launches: list[str] | None,
    engines: list[str] | None,
    profiles: str | None,
) -> tuple[Chosen, list[str]]:
    """The plan with its launches called by their names, and the words that `contest run` there
    needs for them.

    ``images`` and ``profiles`` are folders of that machine, so that what lies in them is checked
    there alone. A usage error for what will not do, as far as it can be told from here.
    """
    of_processes = {"--images": images, "--launch": launches, "--profiles": profiles}
    of_processes["--engine"] = engines
    if runner is not RunnerKind.PROCESS:
        for option, value in of_processes.items():
            if value:
                msg = "containers are pulled by the plan's own words; give it with --runner process"
                raise typer.BadParameter(msg, param_hint=f"'{option}'")
        return chosen, []
    if images is None and not launches:
        msg = (
            "a plan names images by digest; with --runner process say where they lie there, or "
            "which launch profiles they are with --launch"
        )
        raise typer.BadParameter(msg, param_hint="'--images'")
    found = engines_of(engines)
    if launches and profiles is None and images is None:
        policy = chosen.plan.policy
        machine = Machine(
            runner,
            Path(chosen.plan.model_dir),
            model_name=policy.model,
            gpus=policy.contest.limits.gpus,
            engines=found,
            host_firewall=True,
            launches=launches,
        )
        chosen = with_launches(chosen, machine)
    words = [word for one in launches or () for word in ("--launch", one)]
    words += [word for name, where in found.items() for word in ("--engine", f"{name}={where}")]
    words += ["--images", images] if images else []
    words += ["--profiles", profiles] if profiles else []
    return chosen, words
