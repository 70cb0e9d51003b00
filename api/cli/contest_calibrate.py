"""`contest calibrate`: honest starts of one image, and the gates that their noise asks for."""

from __future__ import annotations

import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli.contest_rules import RANDOM, check_reference, entrants_of, rules_of, seed_of
from api.cli.machines import (
    Engines,
    HostFirewall,
    Machine,
    Model,
    ModelName,
    Profiles,
    RunnerKind,
    Runs,
    engines_of,
)
from api.errors import ExitCode

MIN_STARTS: Final = 2
MAX_STARTS: Final = 64
DEFAULT_SLACK_PERCENT: Final = 100
"""As the calibration's own default."""
MAX_SLACK_PERCENT: Final = 1_000
_PPM_A_PERCENT: Final = 10_000


def calibrate(
    image: Annotated[str, typer.Argument(help="The image that is known to be honest.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="Write the calibration document here.", dir_okay=False)],
    baseline: Annotated[
        str | None, typer.Option(help="The reference; the same image by default.")
    ] = None,
    starts: Annotated[
        int, typer.Option(min=MIN_STARTS, max=MAX_STARTS, help="How often it is started.")
    ] = 4,
    slack: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_SLACK_PERCENT,
            help="Percent that limits lie beyond the greatest honest figure. Less catches more, "
            "and is safe only if the starts show every honest engine there is.",
        ),
    ] = DEFAULT_SLACK_PERCENT,
    runner: Runs = RunnerKind.DOCKER,
    model_name: ModelName = None,
    policy: Annotated[
        Path | None, typer.Option(help="A policy's TOML file; a built-in one by default.")
    ] = None,
    track: Annotated[str | None, typer.Option(help="Its track.")] = None,
    gpu: Annotated[str, typer.Option(help="Which GPU this is, e.g. 'H100'.")] = "",
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs each server gets.")] = None,
    host_firewall: HostFirewall = True,
    engine: Engines = None,
    profiles: Profiles = None,
) -> None:
    """Run an image against itself, several starts (A/A), and propose gates from what was seen.

    The document holds for this model, GPU and engine; a track's policy names it by its digest,
    which is printed. Nothing is adopted. Ends with code 24 where the contest was void.
    """
    from api.cli.contest_progress import contest_progress
    from evaluation.calibration import (
        CalibrationFacts,
        calibration_digest,
        canonical_calibration,
    )
    from evaluation.calibration import calibrate as calibrated
    from evaluation.contest import run_contest
    from evaluation.evidence import EvidenceStore, read_evidence
    from evaluation.plan import ContestPlan
    from evaluation.tokenizers import load_tokenizer

    rules = rules_of(policy, track, model, model_name, gpus)
    machine = Machine(
        runner,
        model,
        model_name=rules.policy.model,
        gpus=rules.policy.contest.limits.gpus,
        engines=engines_of(engine),
        host_firewall=host_firewall,
        profiles=profiles,
    )
    reference = machine.image(baseline or image, "'--baseline'")
    check_reference(machine, reference)
    block_hash, _ = seed_of(RANDOM)
    plan = ContestPlan(
        contest_id=f"calibration-{secrets.token_hex(8)}",
        track=rules.track,
        attempt=1,
        seed_block=0,
        seed_block_hash=block_hash,
        policy=rules.policy,
        model_dir=str(model),
        model_name=rules.policy.model,
        baseline=reference,
        entrants=entrants_of(machine, None, None, [image] * starts, {}),
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calibration-")))
        store = EvidenceStore(folder)
        with contest_progress() as watcher:
            outcome = run_contest(
                plan,
                machine.runner(),
                store,
                tokenizer=load_tokenizer(model),
                on_progress=watcher.phase,
                on_block=watcher.block,
                on_measured=watcher.measured,
            )
        if outcome.status == "void":
            sys.stderr.write(f"the contest is void ({outcome.void_cause}): {outcome.detail}\n")
            raise typer.Exit(int(ExitCode.CONTEST_VOID))
        runs = [read_evidence(store.get(verdict.evidence_digest)) for verdict in outcome.verdicts]
    found = calibrated(
        runs,
        CalibrationFacts(model=rules.policy.model, gpu=gpu, engine=image),
        gates=rules.policy.gates,
        slack_ppm=slack * _PPM_A_PERCENT,
    )
    out.write_bytes(canonical_calibration(found))  # nothing more: its digest is the file's too
    sys.stdout.write(f"{calibration_digest(found)}\n")
