"""`contest calibrate`: honest starts, here or elsewhere, and the gates that their noise asks for;
and `contest calibration`, which shows such a document."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.contest_rules import RANDOM, check_reference, entrants_of, rules_of, seed_of
from api.cli.contest_sealing import check_writable, kept_until, seal
from api.cli.machines import (
    Engines,
    HostFirewall,
    Machine,
    ModelIfAny,
    ModelName,
    Profiles,
    RunnerKind,
    Runs,
    engines_of,
)
from api.cli.options import Format, OutputFormat
from api.errors import ExitCode, InputFileError, read_text_file

if TYPE_CHECKING:
    from api.cli.contest_rules import Rules
    from evaluation.calibration import Calibration
    from evaluation.honest_runs import HonestRuns
    from evaluation.plan import ContestPlan
    from ledger.gate_policy import GatePolicy

MIN_STARTS: Final = 2
MAX_STARTS: Final = 64
DEFAULT_STARTS: Final = 4
DEFAULT_SLACK_PERCENT: Final = 100
"""As the calibration's own default."""
MAX_SLACK_PERCENT: Final = 1_000
MAX_CALIBRATION_BYTES: Final = 2**20
_PPM_A_PERCENT: Final = 10_000


def calibrate(
    out: Annotated[Path, typer.Option(help="Write the calibration document here.", dir_okay=False)],
    image: Annotated[
        str | None, typer.Argument(help="The image that is known to be honest; none with --bundle.")
    ] = None,
    model: ModelIfAny = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            dir_okay=False,
            help="Run nothing: take the honest runs of this contest, sealed elsewhere. Repeat it.",
        ),
    ] = None,
    entrant: Annotated[
        list[str] | None,
        typer.Option(
            help="With --bundle: only entrants of this name are honest; all by default. Repeat it."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The reference; the same image by default.")
    ] = None,
    starts: Annotated[
        int | None,
        typer.Option(
            min=MIN_STARTS,
            max=MAX_STARTS,
            help=f"How often it is started, {DEFAULT_STARTS} times by default.",
        ),
    ] = None,
    slack: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_SLACK_PERCENT,
            help="Percent that limits lie beyond the greatest honest figure. Less catches more, "
            "and is safe only if the starts show every honest engine there is.",
        ),
    ] = DEFAULT_SLACK_PERCENT,
    keep: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Seal the contest of these starts into this file, for --bundle."
        ),
    ] = None,
    runner: Runs = RunnerKind.DOCKER,
    model_name: ModelName = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="A policy's TOML file; a built-in one by default, with --bundle the contests' own."
        ),
    ] = None,
    track: Annotated[str | None, typer.Option(help="Its track.")] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="Which GPU this is, e.g. 'NVIDIA H200'; what the machine says by default."
        ),
    ] = None,
    engine_name: Annotated[
        str | None,
        typer.Option(help="Which engine this is; its image and version by default."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs each server gets.")] = None,
    host_firewall: HostFirewall = True,
    engine: Engines = None,
    profiles: Profiles = None,
) -> None:
    """Propose gates from the noise of honest runs: an image run against itself, several starts
    (A/A), or contests that were sealed elsewhere (--bundle).

    The document holds for this model, GPU and engine; a track's policy names it by its digest,
    which is printed. Nothing is adopted. Ends with code 24 where the contest was void.
    """
    from evaluation.calibration import calibrate as calibrated
    from evaluation.calibration import calibration_digest, canonical_calibration

    check_writable(out)
    given: dict[str, Any] = {"IMAGE": image, "--model": model, "--baseline": baseline}
    given |= {"--starts": starts, "--keep": keep, "--model-name": model_name, "--gpus": gpus}
    given |= {"--engine": engine, "--profiles": profiles}
    unsealed = None
    if bundle:
        _refuse(given, "with --bundle nothing is run, and this is taken from the bundles")
        found = _sealed(bundle, entrant or [], gpu, engine_name)
        gates = _gates(found, policy, track)
    else:
        _refuse({"--entrant": entrant}, "entrants are chosen among those of a --bundle")
        if image is None or model is None:
            msg = "name an image and its --model, or contests that were sealed with --bundle"
            raise typer.BadParameter(msg)
        if keep is not None:
            check_writable(keep)
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
        plan = _plan(machine, rules, model, image, baseline or image, starts or DEFAULT_STARTS)
        found, unsealed = _measured(machine, plan, model, keep, (gpu, engine_name, image))
        gates = rules.policy.gates
    for sentence in found.left_out:
        sys.stderr.write(sentence + "\n")
    document = calibrated(
        found.runs,
        found.facts,
        gates=gates,
        slack_ppm=slack * _PPM_A_PERCENT,
        digests=found.digests,
        engine_version=found.version or "",
    )
    out.write_bytes(canonical_calibration(document))  # nothing more: its digest is the file's too
    sys.stdout.write(f"{calibration_digest(document)}\n")
    if unsealed is not None:
        raise typer.Exit(int(ExitCode.UNREADABLE_FILE))


def show_calibration(
    file: Annotated[Path, typer.Argument(help="A document of 'contest calibrate'.")],
    output_format: Format = OutputFormat.TABLE,
) -> None:
    """Show a calibration: what it holds for, the noise it saw, the gates it proposes, and the
    digest by which a track's policy names it."""
    from api.cli.calibration_tables import CALIBRATION
    from api.cli.output import show

    digest, found = calibration_in(file)
    show({"digest": digest, "calibration": found}, CALIBRATION, output_format)


def calibration_in(file: Path) -> tuple[str, Calibration]:
    """The document in a file and its digest; :class:`InputFileError` for anything else."""
    from evaluation.calibration import CalibrationError, read_calibration
    from evaluation.evidence import digest_of

    data = read_text_file(file, max_bytes=MAX_CALIBRATION_BYTES).encode()
    if len(data) > MAX_CALIBRATION_BYTES:
        msg = f"the file '{file}' is larger than the {MAX_CALIBRATION_BYTES} bytes of a calibration"
        raise InputFileError(msg)
    try:
        found = read_calibration(data)
    except CalibrationError as error:
        msg = f"'{file}': {error}; name a document that 'contest calibrate' wrote"
        raise InputFileError(msg) from error
    return digest_of(data), found


# -- inside ---------------------------------------------------------------------------------


def _refuse(given: dict[str, Any], why: str) -> None:
    for name, value in given.items():
        if value is not None and value != []:
            raise typer.BadParameter(why, param_hint=f"'{name}'")


def _sealed(
    bundles: list[Path], named: list[str], gpu: str | None, engine: str | None
) -> HonestRuns:
    """The honest runs of contests that were sealed; each is checked and judged again first."""
    from evaluation.bundle import BundleError, read_bundle
    from evaluation.honest_runs import HonestContest, honest_runs

    contests = []
    for path in bundles:
        try:
            opened = read_bundle(path)
        except BundleError as error:
            msg = f"'{path}' calibrates nothing: {error}"
            raise BundleError(msg) from error
        contests.append(HonestContest(str(path), opened.manifest, opened))
    return honest_runs(contests, named, gpu=gpu, engine=engine)


def _gates(found: HonestRuns, policy: Path | None, track: str | None) -> GatePolicy:
    """Those whose limits the noise replaces: the policy's, or the ones all bundles agree on."""
    from evaluation.calibration import CalibrationError

    if policy is not None:
        return rules_of(policy, track, None, None, None).policy.gates
    _refuse({"--track": track}, "a track is one of a policy's; give its file with --policy")
    if len(found.gates) > 1:
        msg = "the bundles were judged by different gates; say by --policy which are to be replaced"
        raise CalibrationError(msg)
    return found.gates[0]


def _plan(
    machine: Machine, rules: Rules, model: Path, image: str, baseline: str, starts: int
) -> ContestPlan:
    """A contest of the image against itself, its prompts drawn at random."""
    from evaluation.plan import ContestPlan

    reference = machine.image(baseline, "'--baseline'")
    check_reference(machine, reference)
    block_hash, _ = seed_of(RANDOM)
    return ContestPlan(
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


def _measured(
    machine: Machine,
    plan: ContestPlan,
    model: Path,
    keep: Path | None,
    named: tuple[str | None, str | None, str],
) -> tuple[HonestRuns, str | None]:
    """Run it here; its starts, and why its bundle could not be written, if so."""
    import msgspec

    from api.cli.contest_progress import contest_progress
    from evaluation.contest import run_contest
    from evaluation.evidence import EvidenceStore
    from evaluation.honest_runs import HonestContest, engine_words, honest_runs
    from evaluation.manifest import read_manifest
    from evaluation.tokenizers import load_tokenizer

    unsealed = None
    gpu, engine, image = named
    with ExitStack() as stack:
        folder = kept_until(stack)
        store = EvidenceStore(Path(folder))
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
        if keep is not None and outcome.manifest_digest:
            unsealed = seal(keep, store, outcome.manifest_digest, None)
            if unsealed:
                stack.pop_all()  # the evidence stays, it is all that can be brought home
                unsealed = f"{unsealed}; its evidence is kept in '{folder}'"
                # At once: a void contest, or runs that calibrate nothing, end this another way.
                sys.stderr.write(unsealed + "\n")
        if outcome.status == "void":
            sys.stderr.write(f"the contest is void ({outcome.void_cause}): {outcome.detail}\n")
            raise typer.Exit(int(ExitCode.CONTEST_VOID))
        contest = HonestContest(
            plan.contest_id, read_manifest(store.get(outcome.manifest_digest)), store
        )
        # All are meant to be honest: one that failed is no run to leave out in silence.
        found = honest_runs(
            [contest], [one.entrant_id for one in plan.entrants], gpu=gpu, engine=engine
        )
    if engine is None:  # a profile's name says more than its digest
        facts = msgspec.structs.replace(found.facts, engine=engine_words(image, found.version))
        found = found._replace(facts=facts)
    return found, unsealed
