"""`rentals`: machines rented for contests, asked for, stopped, swept, and held against invoices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from api.cli.options import (
    Actor,
    AtBlock,
    Database,
    DryRun,
    Format,
    Limit,
    Netuid,
    Network,
    NewProvider,
    Offset,
    OutputFormat,
    must_stand_behind,
)
from api.cli.output import show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.app import Services
    from api.settings import Settings
    from evaluation.pods.desk import RentalDesk
    from evaluation.pods.port import Provider
    from evaluation.pods.sweep import Swept
    from ledger.application import Ledger
    from ledger.queries.rentals import Reliability

SWEEP_EVERY_S: Final = 60
PASSING: Final = frozenset({"CONTENTION", "DATABASE_FAILED", "VIEW_BEHIND"})
"""The exit codes of what `sweep --follow` tells and outlasts, by name: that module is loaded late.
"""


class InvoiceFormat(StrEnum):
    """How an invoice's file is written."""

    CSV = "csv"
    JSON = "json"


RentalId = Annotated[UUID, typer.Argument(metavar="RENTAL", help="The rental's id.")]
Tier = Annotated[str | None, typer.Option(help="Of this tier of the policy only.")]


def register(app: typer.Typer) -> None:
    """Add the `rentals` commands to ``app``; plain `rentals` lists them."""
    commands = typer.Typer(help="Rented machines: what they cost, and what keeps none running.")
    commands.callback(invoke_without_command=True)(list_all)
    commands.command("offers")(offers)
    commands.command("start")(start)
    commands.command("stop")(stop)
    commands.command("show")(show_one)
    commands.command("sweep")(sweep)
    commands.command("invoices")(invoices)
    commands.command("accept-bill")(accept_bill)
    commands.command("price")(price)
    app.add_typer(commands, name="rentals")


def list_all(
    context: typer.Context,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every rental with its meter, its cost and what was billed for it."""
    command = context.invoked_subcommand
    if command is not None:
        must_stand_behind(context, command)
        return
    from api import reads
    from api.cli.asking import ask
    from api.cli.tables import RENTALS

    window = reads.Window(limit, offset)
    ask(
        lambda scope: reads.rentals(scope, window),
        RENTALS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def offers(
    tier: Tier = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """What could be rented now, by the policy's tiers; records and asks for nothing."""
    from api.cli.rental_tables import OFFERS
    from ledger.queries.rentals import Reliability

    with _arena(database, network, netuid) as (services, settings, ledger):
        seen = {(one.provider, one.offer): one for one in _seen(services, settings)}
        with _desk(services, settings, ledger, "offers") as desk:
            found = desk.offers(tier)
    lines = [
        {
            "tier": one.name,
            "provider": offer.provider,
            "gpu": offer.gpu,
            "count": offer.count,
            "usd_micros_per_hour": offer.usd_micros_per_hour,
            "offer": offer.offer,
            "region": offer.region,
            "requests": record.requests,
            "stopped": record.stopped,
        }
        for one, fitting in found
        for offer in fitting
        for record in (
            seen.get((offer.provider, offer.offer), Reliability(offer.provider, offer.offer)),
        )
    ]
    show({"items": lines}, OFFERS, output_format)


def start(
    round_: Annotated[
        str, typer.Option("--round", help="What it is for; budgets count by it, e.g. qwen:3.")
    ],
    actor: Actor,
    tier: Tier = None,
    contest: Annotated[
        UUID | None, typer.Option(help="The contest that it is rented for, if that is known.")
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Rent a machine and wait until it runs. What no contest uses is stopped by the sweep."""
    from api.cli.ending import interrupted_once
    from api.cli.rental_tables import RENTED

    with (
        _arena(database, network, netuid) as (services, settings, ledger),
        _desk(services, settings, ledger, actor) as desk,
        interrupted_once("what was asked for stays in the log; 'rentals sweep' finishes it"),
    ):
        rented = desk.rent(round_, tier=tier, contest_id=contest)
    answer = {
        "rental_id": str(rented.rental),
        "provider": rented.provider,
        "instance": rented.instance,
        "address": rented.address,
        "usd_micros_per_hour": rented.usd_micros_per_hour,
    }
    show(answer, RENTED, output_format)


def stop(
    rental: RentalId,
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why; recorded with the stop.")] = "asked for",
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Stop a machine, book its cost and delete its volumes. Code 27 where it is not gone yet."""
    from api.errors import ExitCode

    with _arena(database, network, netuid) as (services, settings, ledger):
        with _desk(services, settings, ledger, actor) as desk:
            ended = desk.stop(rental, f"{reason} ({actor})")
        _show_one(services, settings, rental, output_format)
    if not ended.over:
        sys.stderr.write(f"cacheon-ledger: {ended.detail}; 'rentals sweep' goes on with it\n")
        raise typer.Exit(int(ExitCode.NO_MACHINE))


def show_one(
    rental: RentalId,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """One rental in full."""
    with _arena(database, network, netuid) as (services, settings, _):
        _show_one(services, settings, rental, output_format)


def sweep(
    follow: Annotated[
        bool, typer.Option("--follow", help="Sweep again and again until it is interrupted.")
    ] = False,
    every: Annotated[
        int, typer.Option(min=1, max=86_400, help="With --follow: seconds between sweeps.")
    ] = SWEEP_EVERY_S,
    dry_run: DryRun = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Stop and book what no open contest owns, and look up what a crash left open.

    Only machines under our own tag are touched. One installation of the ledger must have the
    providers' accounts to itself. Code 26 where a provider could not be asked, 27 where something
    goes on and another sweep is needed.
    """
    from api.cli.ending import interrupted_once, wait
    from api.cli.rental_tables import SWEPT
    from api.providers import load_provider_settings, opened_providers

    with (
        _arena(database, network, netuid) as (services, settings, ledger),
        opened_providers(load_provider_settings()) as providers,
    ):
        if not follow:
            swept = _sweep(services, settings, ledger, providers, dry_run=dry_run)
            show(swept, SWEPT, output_format)
            _end(swept)
            return
        with interrupted_once("the sweep ends; what it did is recorded"):
            while True:
                with _outlasting_what_passes():
                    swept = _sweep(services, settings, ledger, providers, dry_run=dry_run)
                    if swept.lines or swept.unasked or output_format is OutputFormat.JSON:
                        show(swept, SWEPT, output_format)
                        sys.stdout.flush()
                wait(every)


def invoices(
    file: Annotated[Path, typer.Argument(help="The invoice: CSV with a heading line, or JSON.")],
    provider: Annotated[str, typer.Option(help="Whose invoice it is, e.g. shadeform.")],
    new_provider: NewProvider = False,
    file_format: Annotated[
        InvoiceFormat | None,
        typer.Option(help="How the file is written; by the end of its name, if not said."),
    ] = None,
    about_block: Annotated[
        int | None,
        typer.Option(min=0, help="The block that lines without a booked rental are about."),
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Import a provider's invoice and match its lines to rentals; the whole file or nothing.

    It names: invoice, line, instance, amount_usd, and where known tag, seconds, from, to.
    """
    from api.cli.rental_tables import INVOICE
    from api.errors import read_text_file
    from evaluation.pods.invoices import MAX_FILE_BYTES, InvoiceFileError, read_invoice
    from ledger.commands.invoices import import_invoice

    text = read_text_file(file, max_bytes=MAX_FILE_BYTES)
    if len(text.encode()) > MAX_FILE_BYTES:
        msg = f"the file '{file}' is larger than {MAX_FILE_BYTES} bytes; split it"
        raise InvoiceFileError(msg)
    ending = file.suffix.lower().removeprefix(".")
    kind = file_format or (InvoiceFormat(ending) if ending in set(InvoiceFormat) else None)
    if kind is None:
        msg = f"'{file}' does not say how it is written; give --file-format csv or json"
        raise typer.BadParameter(msg)
    lines = read_invoice(text, kind.value)
    with _arena(database, network, netuid) as (_, _, ledger):
        done = import_invoice(
            ledger, provider, lines, about_block=about_block, new_provider=new_provider
        )
    show({"items": done}, INVOICE, output_format)
    alone = sum(one.rental_id is None for one in done)
    if alone:
        sys.stderr.write(f"{alone} of {len(done)} lines bill no rental that the log knows\n")


def accept_bill(
    rental: RentalId,
    reason: Annotated[str, typer.Option(help="Why the bill counts; recorded with it.")],
    actor: Actor,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Take what the provider billed for what a rental cost."""
    from ledger.commands import rentals as record

    with _arena(database, network, netuid) as (services, settings, ledger):
        record.accept_bill(ledger, rental, reason=reason, actor=actor)
        _show_one(services, settings, rental, output_format)


def price(
    rental: RentalId,
    usd_per_hour: Annotated[str, typer.Option(help="What an hour of it costs, e.g. 25.44.")],
    reason: Annotated[str, typer.Option(help="Where that is known from; recorded with it.")],
    actor: Actor,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """State the price of a machine whose provider never did; one that has ended is booked by it."""
    from ledger.units import usd_micros_of

    stated = usd_micros_of(usd_per_hour).value
    with _arena(database, network, netuid) as (services, settings, ledger):
        with _desk(services, settings, ledger, actor) as desk:
            desk.state_price(rental, stated, reason)
        _show_one(services, settings, rental, output_format)


# -- inside ---------------------------------------------------------------------------------------


@contextmanager
def _arena(
    database: str | None, network: str | None, netuid: int | None
) -> Iterator[tuple[Services, Settings, Ledger]]:
    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        yield services, settings, services.ledger(settings.network, settings.netuid)


@contextmanager
def _desk(
    services: Services, settings: Settings, ledger: Ledger, actor: str
) -> Iterator[RentalDesk]:
    from api.providers import chooser, load_provider_settings, opened_providers
    from evaluation.pods.desk import RentalDesk, Waits

    own = load_provider_settings()
    with opened_providers(own) as providers:
        yield RentalDesk(
            ledger,
            providers,
            choose=chooser(_seen(services, settings)),
            by=actor,
            waits=Waits(look_every_s=own.rental_look_every_s),
            say=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201  progress
        )


def _seen(services: Services, settings: Settings) -> Sequence[Reliability]:
    from ledger.queries.rentals import reliability

    with services.at(settings.network, settings.netuid) as scope:
        return reliability(scope)


def _sweep(
    services: Services,
    settings: Settings,
    ledger: Ledger,
    providers: Sequence[Provider],
    *,
    dry_run: bool,
) -> Swept:
    from evaluation.pods.sweep import Sweep
    from ledger.queries.rentals import open_rentals

    def still_open() -> list[UUID]:
        with services.at(settings.network, settings.netuid) as scope:
            return open_rentals(scope)

    return Sweep(ledger, providers, still_open, dry_run=dry_run).run()


@contextmanager
def _outlasting_what_passes() -> Iterator[None]:
    """A database that is busy or gone for a moment must not end what stops forgotten machines."""
    from api.errors import problem_of

    try:
        yield
    except Exception as error:
        problem = problem_of(error)
        if problem.exit_code.name not in PASSING:
            raise
        sys.stderr.write(f"cacheon-ledger: {problem.message}; the next sweep goes on\n")
        sys.stderr.flush()


def _end(swept: Swept) -> None:
    from api.errors import ExitCode

    if swept.unasked:
        raise typer.Exit(int(ExitCode.PROVIDER_UNAVAILABLE))
    if not swept.is_over:
        raise typer.Exit(int(ExitCode.NO_MACHINE))


def _show_one(
    services: Services, settings: Settings, rental: UUID, output_format: OutputFormat
) -> None:
    from api import reads
    from api.cli.rental_tables import RENTAL

    with services.at(settings.network, settings.netuid) as scope:
        found = reads.rental(scope, rental)
    show(found, RENTAL, output_format)
