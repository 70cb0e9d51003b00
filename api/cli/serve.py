"""`serve`: the HTTP API and the page."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from api.cli.options import Database, Netuid, Network
from api.cli.session import opened, settings_of


def register(app: typer.Typer) -> None:
    """Add `serve` to ``app``."""
    app.command("serve")(serve)


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on (LEDGER_HOST, else 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65_535, help="The port, 0 for any free one (LEDGER_PORT, else 8014)."
        ),
    ] = None,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Serve the HTTP API and the page until interrupted."""
    from api.http.server import serve

    settings = settings_of(database, network, netuid, host, port)
    with opened(settings) as services:
        serve(services, settings.host, settings.port, ready=_say_where)


def _say_where(url: str) -> None:
    sys.stderr.write(f"serving {url} (Ctrl-C ends it)\n")
    sys.stderr.flush()
