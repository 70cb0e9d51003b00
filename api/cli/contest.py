"""`contest`: trying an image at home, and running a whole contest without a ledger."""

from __future__ import annotations

import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import contest_launches, contest_records, contest_remote
from api.cli.contest_calibrate import calibrate, calibration_in, show_calibration
from api.cli.contest_launches import with_launches
from api.cli.contest_plan import plan_by_hand, read_plan
from api.cli.contest_rules import RANDOM, rules_of
from api.cli.contest_sealing import check_writable, kept_until, seal
from api.cli.machines import (
    Engines,
    HostFirewall,
    Launches,
    Machine,
    Model,
    ModelIfAny,
    ModelName,
    Profiles,
    RunnerKind,
    Runs,
    engines_of,
)
from api.cli.options import Format, OutputFormat
from api.errors import ExitCode, InputFileError
from api.limits import MAX_BLOCK, MAX_GPUS

if TYPE_CHECKING:
    from evaluation.calibration import Calibration
    from evaluation.plan import ContestPlan
    from ledger.policy import TrackPolicy

PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="A policy's TOML file; a small built-in one by default."),
]
Track = Annotated[
    str | None, typer.Option("--track", help="Its track; needed where it has several.")
]
PromptsFile = Annotated[
    Path | None,
    typer.Option(help="Where the JSONL file lies that the policy takes its prompts from."),
]
Gpus = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_GPUS, help="GPUs each server gets; the policy's by default."),
]

app = typer.Typer(no_args_is_help=True, help="Contests: tried, run, recorded.")


app.command("calibrate")(calibrate)
app.command("calibration")(show_calibration)


def register(root: typer.Typer) -> None:
    """Add the `contest` commands to ``root``."""
    contest_records.register(app)
    contest_remote.register(app)
    contest_launches.register(app)
    root.add_typer(app, name="contest")


@app.command("check")
def check(
    image: Annotated[
        str,
        typer.Argument(
            help="IMAGE@sha256:DIGEST; with --runner process an image directory or profile:NAME."
        ),
    ],
    model: ModelIfAny = None,
    runner: Runs = RunnerKind.DOCKER,
    model_name: ModelName = None,
    policy: PolicyFile = None,
    track: Track = None,
    gpus: Gpus = None,
    prompts_file: PromptsFile = None,
    host_firewall: HostFirewall = True,
    startup_timeout_s: Annotated[
        int | None, typer.Option(min=1, help="Seconds to become healthy; the policy's by default.")
    ] = None,
    engine: Engines = None,
    profiles: Profiles = None,
    output_format: Format = OutputFormat.TABLE,
) -> None:
    """Try the container contract on one image, before paying: what is wrong, and what to do.

    The contest's own client asks the contest's own kind of prompts, so that a pass means a pass;
    whether the output is right and fast is for a whole contest to say (`contest run`). Ends with
    code 23 where a contest would not take the image, 24 where this machine could not try it.
    """
    import msgspec

    from api.cli.contest_tables import CONTRACT
    from api.cli.output import show
    from evaluation import characters
    from evaluation.contract import check_contract
    from evaluation.contract_book import Asked
    from evaluation.sources import open_texts
    from evaluation.tokenizers import load_tokenizer

    rules = rules_of(policy, track, model, model_name, gpus)
    contest = rules.policy.contest
    if startup_timeout_s is not None:
        contest = msgspec.structs.replace(contest, startup_timeout_s=startup_timeout_s)
    with ExitStack() as stack:
        # An image may carry its weights; then it finds an empty directory at /models.
        empty = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="no-model-")))
        machine = Machine(
            runner,
            empty if model is None else model,
            model_name=rules.policy.model,
            gpus=contest.limits.gpus,
            engines=engines_of(engine),
            host_firewall=host_firewall,
            profiles=profiles,
        )
        tried = machine.image(image, "'IMAGE'")
        if model is None and machine.needs_model(tried):
            msg = "a plain process has no weights of its own; name the model's directory"
            raise typer.BadParameter(msg, param_hint="'--model'")
        report = check_contract(
            tried,
            machine.runner(),
            Asked(
                model_name=rules.policy.model,
                tokenizer=characters if model is None else load_tokenizer(model),
                contest=contest,
                gates=rules.policy.gates,
                seed=secrets.randbits(63),
                confined=machine.confines,
                counts_tokens=model is not None,
                texts=open_texts(contest.source, prompts_file),
            ),
            on_step=_say,
        )
    show(msgspec.structs.replace(report, image=image), CONTRACT, output_format)
    if report.machine_failed:
        raise typer.Exit(int(ExitCode.CONTEST_VOID))
    if not report.passed:
        raise typer.Exit(int(ExitCode.CONTRACT_BROKEN))


@app.command("run")
def run(
    model: Model,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            dir_okay=False,
            help="A contest that 'contest plan' wrote; it settles images, rules and seed.",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The baseline's image, which is the reference too.")
    ] = None,
    entrant: Annotated[
        list[str] | None,
        typer.Option(help="A challenger's image; repeat it, in the order of judging."),
    ] = None,
    king: Annotated[str | None, typer.Option(help="The king's image.")] = None,
    runup: Annotated[str | None, typer.Option(help="The runner-up's image.")] = None,
    runner: Runs = RunnerKind.DOCKER,
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="With --runner process and --plan: where the image directories lie.",
        ),
    ] = None,
    launch: Launches = None,
    model_name: ModelName = None,
    policy: PolicyFile = None,
    track: Track = None,
    gpus: Gpus = None,
    prompts_file: PromptsFile = None,
    host_firewall: HostFirewall = True,
    seed_hash: Annotated[
        str | None,
        typer.Option(
            help=f"The seed block's hash, 0x and 64 hex digits, or '{RANDOM}', the default."
        ),
    ] = None,
    seed_block: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_BLOCK, help="The seed block's number; 0 by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the whole contest into this file, sealed.", dir_okay=False),
    ] = None,
    sign_with: Annotated[
        str | None,
        typer.Option(metavar="WALLET", help="Sign that file with the hotkey of this wallet."),
    ] = None,
    hotkey: Annotated[str, typer.Option(help="The name of that hotkey.")] = "default",
    wallet_path: Annotated[
        Path | None, typer.Option(help="The folder of the wallets (the SDK's own by default).")
    ] = None,
    evidence: Annotated[
        str | None,
        typer.Option(help="Keep the evidence in this folder, or below this http(s) URL."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="The document of the calibration that the policy names; the report then says "
            "where it does not hold.",
        ),
    ] = None,
    engine: Engines = None,
    profiles: Profiles = None,
    output_format: Format = OutputFormat.TABLE,
) -> None:
    """Run one contest here and print its report. Needs no database and no chain.

    Progress goes to stderr. Without a plan or a block's hash the prompts are drawn at random and
    the result is not for the ledger. Ends with code 24 where the contest is void, 0 where it was
    completed, whoever won.
    """
    from api.bundle_signing import signer_with
    from api.chains import wallet
    from api.cli.contest_progress import contest_progress
    from api.cli.contest_tables import CONTEST
    from api.cli.output import show
    from api.contest_report import contest_report
    from evaluation.contest import run_contest
    from evaluation.manifest import read_baseline, read_manifest
    from evaluation.object_store import open_evidence
    from evaluation.sources import open_texts
    from evaluation.tokenizers import load_tokenizer

    def machine_of(settings: TrackPolicy) -> Machine:
        return Machine(
            runner,
            model,
            model_name=settings.model,
            gpus=settings.contest.limits.gpus,
            engines=engines_of(engine),
            host_firewall=host_firewall,
            profiles=profiles,
            images=images,
            launches=launch or (),
        )

    _check_words(runner, plan=plan, images=images, launches=launch, out=out, sign_with=sign_with)
    if plan is not None:
        chosen = read_plan(
            plan,
            model,
            {
                **{"--baseline": baseline, "--entrant": entrant or None, "--king": king},
                **{"--runup": runup, "--model-name": model_name, "--policy": policy},
                **{"--track": track, "--gpus": gpus, "--seed-hash": seed_hash},
                "--seed-block": seed_block,
            },
        )
        machine = machine_of(chosen.plan.policy)
        chosen = with_launches(chosen, machine) if launch else chosen
    else:
        rules = rules_of(policy, track, model, model_name, gpus)
        machine = machine_of(rules.policy)
        chosen = plan_by_hand(
            machine,
            rules,
            model,
            baseline=baseline,
            king=king,
            runner_up=runup,
            challengers=entrant or [],
            seed_hash=seed_hash or RANDOM,
            seed_block=seed_block or 0,
        )
    calibrated = _calibrated(calibration, chosen.plan)
    sign = None
    if sign_with is not None:  # before hours of work: a password may be asked for, or be wrong
        sign = signer_with(wallet(sign_with, hotkey, wallet_path).signer("hotkey"))
    made, texts = machine.runner(), open_texts(chosen.plan.policy.contest.source, prompts_file)
    _say(f"the rules are '{chosen.rules}'; {chosen.seed}")
    with ExitStack() as stack:
        kept = _checked(evidence) or kept_until(stack)
        store, unsealed = open_evidence(kept), None
        with contest_progress() as watcher:
            outcome = run_contest(
                chosen.plan,
                made,
                store,
                tokenizer=load_tokenizer(model),
                on_progress=watcher.phase,
                on_block=watcher.block,
                on_measured=watcher.measured,
                texts=texts,
            )
        manifest = found = None
        if outcome.manifest_digest:
            manifest = read_manifest(store.get(outcome.manifest_digest))
            found = read_baseline(store.get(manifest.baseline_evidence))
            if out is not None:
                unsealed = seal(out, store, outcome.manifest_digest, sign)
        elif out is not None:
            _say(f"there is no evidence to seal, so '{out}' was not written")
        report = contest_report(
            chosen.plan,
            outcome,
            manifest=manifest,
            baseline=found,
            policy=chosen.rules,
            seed_note=chosen.seed,
            runner=dict(made.facts()),
            images=dict(chosen.images),
            calibrated=calibrated,
            bundle=str(out) if out is not None and manifest and not unsealed else None,
        )
        if unsealed:
            stack.pop_all()  # the evidence stays, it is all that is left of the contest
    show(report, CONTEST, output_format)
    if unsealed:
        msg = f"{unsealed}; its evidence is kept in '{kept}'"
        raise InputFileError(msg)
    if outcome.status == "void":
        raise typer.Exit(int(ExitCode.CONTEST_VOID))


def _check_words(
    runner: RunnerKind,
    *,
    plan: Path | None,
    images: Path | None,
    launches: list[str] | None,
    out: Path | None,
    sign_with: str | None,
) -> None:
    """A usage error for options that mean nothing alone, and for a file that cannot be written."""
    if sign_with is not None and out is None:
        msg = "there is no file to sign; name one with --out"
        raise typer.BadParameter(msg, param_hint="'--sign-with'")
    if out is not None:
        check_writable(out)
    if images is not None and plan is None:
        msg = "images are named by their directories; only a --plan names them by digest alone"
        raise typer.BadParameter(msg, param_hint="'--images'")
    if launches and (plan is None or runner is not RunnerKind.PROCESS):
        msg = "only a --plan with --runner process names launch profiles by digest; leave it out"
        raise typer.BadParameter(msg, param_hint="'--launch'")
    if plan is not None and runner is RunnerKind.PROCESS and images is None and not launches:
        msg = (
            "a plan names images by digest; with --runner process say where they lie, or which "
            "launch profiles they are with --launch"
        )
        raise typer.BadParameter(msg, param_hint="'--images'")


def _calibrated(file: Path | None, plan: ContestPlan) -> Calibration | None:
    """The calibration that the plan's policy must name; None without a file."""
    from evaluation.calibrated_gates import must_be_named

    if file is None:
        return None
    digest, found = calibration_in(file)
    must_be_named(digest, found, plan.policy, plan.model_name)
    return found


def _checked(evidence: str | None) -> str | None:
    """The place, or ``EvidenceError`` where nothing can be kept: hours come before it is used."""
    from evaluation.object_store import must_keep_evidence

    if evidence is not None:
        must_keep_evidence(evidence)
    return evidence


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
