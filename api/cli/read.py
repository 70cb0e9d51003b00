"""The reading commands: one arena at one block, as tables or as the HTTP API's JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import tables
from api.cli.options import AtBlock, Database, Format, Netuid, Network, OutputFormat
from api.cli.output import Layout, show
from api.cli.session import opened, settings_of

if TYPE_CHECKING:
    from ledger.queries.scope import Scope


def register(app: typer.Typer) -> None:
    """Add the reading commands to ``app``."""
    for command in (
        status,
        weights,
        emissions,
        treasury,
        payouts,
        submissions,
        reigns,
        contests,
        queue,
        arenas,
    ):
        app.command(command.__name__)(command)


def status(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The arena at a glance: thrones, pool, queue, pauses."""
    from api.reads import status

    _read(status, tables.STATUS, at_block, output_format, network, netuid, database)


def weights(
    sent: Annotated[bool, typer.Option("--sent", help="The vectors sent so far instead.")] = False,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The weight vector, with the reason of each UID's share."""
    from ledger.queries.weights import sent_vectors, vector_view

    if sent:
        _read(sent_vectors, tables.SENT_WEIGHTS, at_block, output_format, network, netuid, database)
    else:
        _read(vector_view, tables.WEIGHTS, at_block, output_format, network, netuid, database)


def emissions(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The pool of each track, and what each epoch paid."""
    from api.reads import emissions

    _read(emissions, tables.EMISSIONS, at_block, output_format, network, netuid, database)


def treasury(
    accounts: Annotated[bool, typer.Option("--accounts", help="The journal's balances.")] = False,
    rentals: Annotated[bool, typer.Option("--rentals", help="Every rental and its cost.")] = False,
    buybacks: Annotated[bool, typer.Option("--buybacks", help="Every buyback.")] = False,
    payments: Annotated[bool, typer.Option("--payments", help="Every payment seen.")] = False,
    unclaimed: Annotated[
        bool, typer.Option("--unclaimed", help="Of the payments, those nobody claimed.")
    ] = False,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The treasury's closed periods, reconciled; or one of its books."""
    from ledger.queries import treasury as books

    if accounts + rentals + buybacks + payments > 1:
        msg = "--accounts, --rentals, --buybacks and --payments are one question each: ask one"
        raise typer.BadParameter(msg)
    if unclaimed and not payments:
        msg = "--unclaimed narrows --payments: give both"
        raise typer.BadParameter(msg)
    query: Callable[[Scope], Any] = books.treasury_lines
    layout = tables.TREASURY
    if accounts:
        query, layout = books.account_balances, tables.ACCOUNTS
    elif rentals:
        query, layout = books.rentals, tables.RENTALS
    elif buybacks:
        query, layout = books.buybacks, tables.BUYBACKS
    elif payments:
        layout = tables.PAYMENTS

        def query(scope: Scope) -> Any:
            return books.payments(scope, unclaimed_only=unclaimed)

    _read(query, layout, at_block, output_format, network, netuid, database)


def payouts(
    address: Annotated[str, typer.Argument(help="A hotkey, or a coldkey for all of its hotkeys.")],
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """A statement: entitled against paid, epoch by epoch."""
    from api.reads import known_statement

    _read(
        lambda scope: known_statement(scope, address),
        tables.PAYOUTS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def submissions(
    hotkey: Annotated[str | None, typer.Argument(help="Only this hotkey's, with logs.")] = None,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every commit: its state, its place in the queue, the codes of its refusal."""
    from ledger.queries.submissions import submissions

    _read(
        lambda scope: submissions(scope, hotkey),
        tables.SUBMISSIONS if hotkey is None else tables.SUBMISSIONS_OF_HOTKEY,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def reigns(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Who held each throne, from when to when, and why it changed hands."""
    from ledger.queries.reigns import reigns

    _read(reigns, tables.REIGNS, at_block, output_format, network, netuid, database)


def contests(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every attempt at a contest, with its entrants and verdicts."""
    from ledger.queries.contests import contests

    _read(contests, tables.CONTESTS, at_block, output_format, network, netuid, database)


def queue(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The submissions that wait for a contest, in the order of judging."""
    from api.reads import queue_lines

    _read(queue_lines, tables.QUEUE, at_block, output_format, network, netuid, database)


def arenas(
    output_format: Format = OutputFormat.TABLE,
    database: Database = None,
) -> None:
    """Every arena of the database and where its log stands."""
    from api.reads import arena_lines

    with opened(settings_of(database)) as services:
        found = arena_lines(services.arenas())
    show(found, tables.ARENAS, output_format)


def _read(
    query: Callable[[Scope], Any],
    layout: Layout,
    at_block: int | None,
    output_format: OutputFormat,
    network: str | None,
    netuid: int | None,
    database: str | None,
) -> None:
    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        found = query(scope)
    show(found, layout, output_format)
