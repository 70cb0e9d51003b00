"""The `evaluate` command: take queued submissions, contest them, record what came of it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.cli.machines import RunnerKind
from api.cli.options import Database, Format, Netuid, Network, OutputFormat
from api.limits import MAX_CHALLENGERS

if TYPE_CHECKING:
    from evaluation.runners.port import Runner


CHALLENGERS: Final = 8


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command(name="evaluate")(evaluate)


def evaluate(
    model: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="The model's directory; containers find it, read-only, at /models.",
        ),
    ],
    once: Annotated[
        bool,
        typer.Option("--once", help="One contest on each track where somebody waits, no more."),
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option("--track", help="Only this track; repeat it. All of the policy by default."),
    ] = None,
    runner: Annotated[
        RunnerKind,
        typer.Option(
            help="docker: containers, confined. process: image directories of this machine, "
            "not confined, for trying things out."
        ),
    ] = RunnerKind.DOCKER,
    images: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="With --runner process: where the images lie."),
    ] = None,
    prompts_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--prompts-file",
            dir_okay=False,
            help="A JSONL file that the policy takes prompts from, by its digest; repeat it.",
        ),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option(help="This worker's name on the machine; the first free number by default."),
    ] = None,
    registry: Annotated[
        list[str] | None,
        typer.Option(
            help="With --runner docker: a registry that is not public and that images, the "
            "baseline's included, may be pulled from, e.g. 'localhost:5000'; repeat it.",
        ),
    ] = None,
    evidence: Annotated[
        str,
        typer.Option(
            envvar="LEDGER_EVIDENCE",
            help="The folder or http(s) URL that evidence is kept at. Its credentials, if any, "
            "belong into the variable; they are not recorded.",
        ),
    ] = "evidence",
    state: Annotated[
        Path,
        typer.Option(
            file_okay=False,
            help="The folder of this machine's workers; give all of them the same one.",
        ),
    ] = Path("evaluators"),
    max_challengers: Annotated[
        int, typer.Option(min=1, max=MAX_CHALLENGERS, help="Challengers of one contest at most.")
    ] = CHALLENGERS,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="The host is mended: do not stand back for earlier faults."),
    ] = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Run the contests of an arena on this machine, until interrupted; --once ends after one each.

    Several may run, here and elsewhere: a contest is claimed by one of them. Blocks come from
    'ingest', which must run beside it. What a killed evaluator left is cleared away first, and its
    attempt is void. How it goes is told on stderr; with --format json what was done is one
    document on stdout. With --once it ends with code 24 where a contest was void, and with 130
    where it was told to end before it had run any.
    """
    from api.cli.cells import printable
    from api.cli.contest_progress import contest_progress
    from api.cli.ending import interrupted_once, wait
    from api.cli.output import show
    from api.cli.record_tables import EVALUATION
    from api.cli.session import opened, settings_of
    from api.errors import ExitCode
    from api.evaluating import Evaluator, copy_finder
    from evaluation.desk import ContestDesk
    from evaluation.object_store import must_keep_evidence, open_evidence
    from evaluation.slots import take_slot
    from evaluation.tokenizers import load_tokenizer

    settings = settings_of(database, network, netuid)
    where = (settings.network, settings.netuid)
    ended = "done"
    with (
        opened(settings) as services,
        take_slot(state, socket.gethostname(), worker) as slot,
        contest_progress() as watcher,
    ):

        def say(line: str) -> None:
            watcher.say(printable(line))

        ledger = services.ledger(*where)
        must_keep_evidence(evidence)
        place = slot.holder.worker.rpartition("/")[2]
        machine = _runner(runner, model, images, place, registry or [])
        evaluator = Evaluator(
            services,
            *where,
            ledger,
            ContestDesk(
                ledger,
                machine,
                open_evidence(evidence),
                tokenizer=load_tokenizer(model),
                holder=slot.holder,
                model_dir=model,
                dead=slot.dead,
                on_fingerprint=copy_finder(
                    services, *where, lambda line: watcher.say(printable(line))
                ),
                evidence_url=public_url(evidence),
                prompts_files=tuple(prompts_file or ()),
            ),
            slot.holder,
            say=say,
            wait=wait,
            tracks=tuple(track or ()),
            max_challengers=max_challengers,
            on_progress=watcher.phase,
            on_block=watcher.block,
            on_measured=watcher.measured,
            sweep=machine.sweep,
        )
        try:
            with interrupted_once("ending, the contest at hand is void and its servers go"):
                if retry:
                    evaluator.forgive()
                if once:
                    evaluator.once()
                else:
                    evaluator.follow()
        except KeyboardInterrupt:
            ended = "stopped"
    report = {
        "network": where[0],
        "netuid": where[1],
        "worker": slot.holder.worker,
        "ended": ended,
        "attempts": evaluator.attempts,
    }
    show(report, EVALUATION, output_format)
    if once and any(attempt.status != "completed" for attempt in evaluator.attempts):
        raise typer.Exit(int(ExitCode.CONTEST_VOID))
    if once and ended == "stopped":
        raise typer.Exit(int(ExitCode.INTERRUPTED))


def _runner(
    kind: RunnerKind, model: Path, images: Path | None, worker: str, registries: list[str]
) -> Runner:
    if kind is RunnerKind.DOCKER:
        from evaluation.runners.docker.runner import DockerRunner

        return DockerRunner(model_dir=model, worker=worker, registries=registries)
    from evaluation.runners.process import ProcessRunner
    from evaluation.runners.reference import ReferenceImages

    if images is None:
        msg = "with --runner process say where the image directories lie"
        raise typer.BadParameter(msg, param_hint="'--images'")
    return ProcessRunner(ReferenceImages(images, model))


def public_url(location: str) -> str | None:
    """The URL of an evidence store without its credentials; None for a folder."""
    from urllib.parse import urlsplit, urlunsplit

    if "://" not in location:
        return None
    parts = urlsplit(location)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
