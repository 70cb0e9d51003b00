"""The reading commands: one arena at one block, as tables or as the HTTP API's JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import tables
from api.cli.asking import ask as _read
from api.cli.options import (
    AtBlock,
    Database,
    Format,
    Limit,
    Netuid,
    Network,
    Offset,
    OutputFormat,
    must_stand_behind,
)
from api.cli.output import show
from api.cli.session import opened, settings_of
from api.cli.submissions import submissions
from api.limits import DEFAULT_LIMIT

if TYPE_CHECKING:
    from ledger.queries.scope import Scope


def register(app: typer.Typer) -> None:
    """Add the reading commands to ``app``; those of the treasury are a group (api.cli.treasury)."""
    for command in (
        status,
        emissions,
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
    from api import reads

    _read(reads.status, tables.STATUS, at_block, output_format, network, netuid, database)


def emissions(
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The pool of each track, and what each epoch paid."""
    from api import reads

    window = reads.Window(limit, offset)
    _read(
        lambda scope: reads.emissions(scope, window),
        tables.EMISSIONS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def treasury(
    context: typer.Context,
    accounts: Annotated[bool, typer.Option("--accounts", help="The journal's balances.")] = False,
    rentals: Annotated[bool, typer.Option("--rentals", help="Every rental and its cost.")] = False,
    buybacks: Annotated[bool, typer.Option("--buybacks", help="Every buyback.")] = False,
    payments: Annotated[bool, typer.Option("--payments", help="Every payment seen.")] = False,
    unclaimed: Annotated[
        bool, typer.Option("--unclaimed", help="Of the payments, those nobody claimed.")
    ] = False,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The treasury's closed periods, reconciled; or one of its books.

    As JSON, a book is that list of the HTTP API's treasury answer.
    """
    command = context.invoked_subcommand
    if command is not None:
        must_stand_behind(context, command)
        return
    from api import reads

    if accounts + rentals + buybacks + payments > 1:
        msg = "--accounts, --rentals, --buybacks and --payments are one question each: ask one"
        raise typer.BadParameter(msg)
    if unclaimed and not payments:
        msg = "--unclaimed narrows --payments: give both"
        raise typer.BadParameter(msg)
    window = reads.Window(limit, offset)
    query: Callable[[Scope], Any]
    if accounts:
        query, layout = (lambda scope: reads.treasury(scope, window).balances), tables.ACCOUNTS
    elif rentals:
        query, layout = (lambda scope: reads.treasury(scope, window).rentals), tables.RENTALS
    elif buybacks:
        query, layout = (lambda scope: reads.treasury(scope, window).buybacks), tables.BUYBACKS
    elif payments:
        query = lambda scope: reads.payments(scope, window, unclaimed_only=unclaimed)  # noqa: E731
        layout = tables.PAYMENTS
    else:
        query, layout = (lambda scope: reads.treasury(scope, window)), tables.TREASURY
    _read(query, layout, at_block, output_format, network, netuid, database)


def reigns(
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Who held each throne, from when to when, and why it changed hands."""
    from api import reads

    window = reads.Window(limit, offset)
    _read(
        lambda scope: reads.reigns(scope, window),
        tables.REIGNS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def contests(
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every attempt at a contest, with its entrants and verdicts."""
    from api import reads

    window = reads.Window(limit, offset)
    _read(
        lambda scope: reads.contests(scope, window),
        tables.CONTESTS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def queue(
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The submissions that wait for a contest, in the order of judging."""
    from api import reads

    window = reads.Window(limit, offset)
    _read(
        lambda scope: reads.queue(scope, window),
        tables.QUEUE,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def arenas(
    output_format: Format = OutputFormat.TABLE,
    database: Database = None,
) -> None:
    """Every arena of the database and where its log stands."""
    from api import reads

    with opened(settings_of(database)) as services:
        found = reads.arenas(services.arenas())
    show(found, tables.ARENAS, output_format)
