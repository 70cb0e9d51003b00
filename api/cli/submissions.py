"""``cacheon-ledger submissions``: every commit, for people, in short for programs, or in full."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from api.cli import tables
from api.cli.options import AtBlock, Database, Format, Limit, Netuid, Network, Offset, OutputFormat
from api.cli.output import show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT


def submissions(
    hotkey: Annotated[str | None, typer.Argument(help="Only this hotkey's, with logs.")] = None,
    details: Annotated[
        bool, typer.Option("--details", help="JSON: all fields, as HTTP gives them.")
    ] = False,
    limit: Limit | None = None,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every commit ever seen: its state, its place in the queue, why it was refused.

    As JSON a list with one short object for each, also for those still sealed, and all of them
    unless --limit is given. With --details the page of the HTTP API, with every field.
    """
    from api import reads

    window = reads.Window(DEFAULT_LIMIT if limit is None else limit, offset)
    settings = settings_of(database, network, netuid)
    in_short = output_format is OutputFormat.JSON and not details
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        if in_short:
            lines, total = reads.every_commit(scope, hotkey, limit=limit, offset=offset)
        else:
            full = reads.submissions(scope, window, hotkey)
            sealed = reads.sealed_commits(scope, hotkey)
    if in_short:
        show(lines, (), output_format)
        _say_if_cut(len(lines), total)
        return
    if output_format is OutputFormat.JSON:
        show(full, (), output_format)
    else:
        layout = tables.SUBMISSIONS if hotkey is None else tables.SUBMISSIONS_OF_HOTKEY
        show({"items": full.items, "sealed": sealed}, layout, output_format)
    _say_if_cut(len(full.items), full.total)


def _say_if_cut(shown: int, total: int) -> None:
    if shown < total:
        sys.stderr.write(f"{shown} of {total} items shown; see --limit and --offset for the rest\n")
