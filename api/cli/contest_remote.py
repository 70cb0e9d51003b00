"""`contest remote`: a planned contest on a rented machine, driven from here over SSH."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from api.cli.machines import Launches, RunnerKind, Runs
from api.cli.options import Database, Format, Netuid, Network, OutputFormat

if TYPE_CHECKING:
    from api.cli.contest_plan import Chosen
    from api.contest_report import ContestReport
    from api.remote_contests import Meter
    from evaluation.bundle import Bundle
    from evaluation.pods.host import MachineFacts

remotely = typer.Typer()


def register(contests: typer.Typer) -> None:
    """Add the command of this module to those of ``contest``."""
    contests.add_typer(remotely)


@remotely.command("remote")
def remote(
    plan: Annotated[
        Path, typer.Option("--plan", dir_okay=False, help="A contest that 'contest plan' wrote.")
    ],
    model: Annotated[
        str, typer.Option("--model", help="The model's directory on that machine, from / on.")
    ],
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="The file for the sealed bundle, here.")
    ],
    ssh_key: Annotated[
        Path,
        typer.Option(
            envvar="LEDGER_SSH_KEY",
            dir_okay=False,
            help="The file of a private key without a passphrase, whose public half is there.",
        ),
    ],
    host: Annotated[
        str | None, typer.Option("--host", metavar="USER@HOST:PORT", help="Where its SSH listens.")
    ] = None,
    rental: Annotated[
        UUID | None,
        typer.Option(
            "--rental", help="A running rental of the ledger, to whose cost the contest is noted."
        ),
    ] = None,
    host_key: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256:…", help="The machine's own key, where its provider shows it."
        ),
    ] = None,
    state: Annotated[
        Path, typer.Option(file_okay=False, help="Where the keys of machines are pinned.")
    ] = Path("hosts"),
    boot_s: Annotated[
        int | None,
        typer.Option(min=0, max=3_600, help="Seconds its SSH may take to answer at first."),
    ] = None,
    limit_s: Annotated[
        int, typer.Option(min=1, max=86_400, help="Seconds the contest may take there.")
    ] = 21_600,
    runner: Runs = RunnerKind.DOCKER,
    images: Annotated[
        str | None,
        typer.Option(help="With --runner process: where the image directories lie there."),
    ] = None,
    launch: Launches = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COMMAND",
            help="Where a launch profile's engine is on that machine; may be repeated.",
        ),
    ] = None,
    profiles: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="With --runner process: a folder there of further launch profiles."
        ),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(
            metavar="VENV",
            help="An environment there that has this program; by default it is sent and installed.",
        ),
    ] = None,
    keep_program: Annotated[
        bool, typer.Option("--keep-program", help="Leave it there for a next contest.")
    ] = False,
    pull: Annotated[bool, typer.Option(help="Pull the baseline's image before it begins.")] = True,
    docker_socket: Annotated[
        str, typer.Option(help="Its Docker Engine's socket, by which that is done.")
    ] = "/var/run/docker.sock",
    host_firewall: Annotated[
        bool, typer.Option(help="Keep containers from that machine's own services too.")
    ] = True,
    sign_with: Annotated[
        str | None,
        typer.Option(metavar="WALLET", help="Sign the bundle, here, with this wallet's hotkey."),
    ] = None,
    hotkey: Annotated[str, typer.Option(help="The name of that hotkey.")] = "default",
    wallet_path: Annotated[
        Path | None, typer.Option(help="The folder of the wallets (the SDK's own by default).")
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Run a planned contest on a rented machine, and bring its bundle home; 'contest import' next.

    The program is installed there, runs there and is watched from here; called again after it was
    cut off, it takes up the contest that runs or has ended there. An interrupt ends it there too.
    Ends with code 24 where the contest is void or the machine cannot be used.
    """
    from api.bundle_signing import signer_with
    from api.chains import wallet
    from api.cli.contest_launches import launches_there
    from api.cli.contest_plan import read_plan
    from api.cli.contest_sealing import check_writable
    from api.cli.contest_tables import CONTEST
    from api.cli.ending import interrupted_once
    from api.cli.output import show
    from api.errors import ExitCode
    from api.remote_contests import Steps, run_there
    from evaluation.pods.address import parse_address
    from evaluation.pods.host import BOOT_S, connect
    from evaluation.pods.host_keys import Pin
    from evaluation.pods.remote import Order
    from evaluation.pods.ssh import Ssh

    if (host is None) == (rental is None):
        msg = "name the machine: either its --host or its --rental"
        raise typer.BadParameter(msg, param_hint="'--host'")
    for option, path in (
        ("--model", model),
        ("--images", images),
        ("--profiles", profiles),
        ("--program", program),
        ("--docker-socket", docker_socket),
    ):
        if path is not None and not path.startswith("/"):
            msg = f"{path!r} is no path from / on; it is one of the machine, not of here"
            raise typer.BadParameter(msg, param_hint=f"'{option}'")
    check_writable(out)
    chosen, words = launches_there(
        read_plan(plan, Path(model), {}),
        runner,
        images=images,
        launches=launch,
        engines=engine,
        profiles=profiles,
    )
    sign = None
    if sign_with is not None:  # before hours of work: a password may be asked for, or be wrong
        sign = signer_with(wallet(sign_with, hotkey, wallet_path).signer("hotkey"))
    more = ["--runner", runner.value, *words]
    more += [] if host_firewall else ["--no-host-firewall"]
    with (
        interrupted_once("the contest is ended on its machine"),
        _metered(rental, chosen, database, network, netuid) as (address, known_key, meter),
    ):
        where = parse_address(address or str(host))
        pin = Pin(state / (f"rental-{rental}" if rental else f"{where.host}-{where.port}"))
        patience_s = (BOOT_S if rental else 0.0) if boot_s is None else float(boot_s)
        found = connect(
            Ssh(where, ssh_key, pin),
            expected_key=host_key or known_key,
            boot_s=patience_s,
            say=_say,
        )
        meter.met(found.host_key)
        _say(_described(found.facts()))
        bundle = run_there(
            found,
            Order(
                plan=chosen.plan,
                model=model,
                more=tuple(more),
                limit_s=limit_s,
                confined=runner is RunnerKind.DOCKER,
            ),
            out,
            steps=Steps(
                venv=program,
                keep_program=keep_program,
                pull_baseline=pull,
                docker_socket=docker_socket,
            ),
            sign=sign,
            meter=meter,
            say=_say,
        )
    report = _report(chosen, bundle, out)
    show(report, CONTEST, output_format)
    if report.status == "void":
        raise typer.Exit(int(ExitCode.CONTEST_VOID))


@contextmanager
def _metered(
    rental: UUID | None,
    chosen: Chosen,
    database: str | None,
    network: str | None,
    netuid: int | None,
) -> Iterator[tuple[str | None, str | None, Meter]]:
    """A rental's address and key, and who records its work; nothing is opened without one."""
    from api.cli.session import opened, settings_of
    from api.remote_contests import NoMeter, RentalMeter
    from ledger.commands.rental_contests import (
        begin_contest_on,
        end_contest_on,
        host_key_of,
        note_host_key,
        running_address,
    )

    if rental is None:
        yield None, None, NoMeter()
        return
    try:
        contest = UUID(chosen.plan.contest_id)
    except ValueError as error:
        msg = "the plan is of no ledger's contest, so no rental can be charged with it"
        raise typer.BadParameter(msg, param_hint="'--rental'") from error
    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        meter = RentalMeter(
            lambda key, now_s: note_host_key(ledger, rental, key, now_s),
            lambda now_s: begin_contest_on(ledger, rental, contest, now_s),
            lambda now_s: end_contest_on(ledger, rental, contest, now_s),
        )
        yield running_address(ledger, rental), host_key_of(ledger, rental), meter


def _report(chosen: Chosen, bundle: Bundle, out: Path) -> ContestReport:
    """As `contest run` tells it, from the bundle alone: nothing the machine says besides."""
    import msgspec

    from api.contest_report import contest_report
    from evaluation.manifest import read_baseline

    manifest = bundle.manifest
    outcome = msgspec.structs.replace(manifest.outcome, manifest_digest=bundle.manifest_digest)
    return contest_report(
        chosen.plan,
        outcome,
        manifest=manifest,
        baseline=read_baseline(bundle.get(manifest.baseline_evidence)),
        policy=chosen.rules,
        seed_note=chosen.seed,
        runner=manifest.runner,
        images=dict(chosen.images),
        bundle=str(out),
    )


def _described(facts: MachineFacts) -> str:
    """A machine by its own word, on one line."""
    if facts.gpus is None:
        gpus = facts.gpus_unknown
    else:
        gpus = ", ".join(f"{gpu.name} ({gpu.memory_mib} MiB)" for gpu in facts.gpus) or "no GPU"
    memory = "unknown" if facts.memory_bytes is None else f"{facts.memory_bytes >> 30} GiB"
    return (
        f"{facts.address} has the key {facts.host_key}, {facts.cores or 'unknown'} cores, memory: "
        f"{memory}, GPUs: {gpus}"
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
