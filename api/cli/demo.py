"""The `demo` command: play a season, print what it came to, serve the page."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli.options import Format, OutputFormat

DEFAULT_FOLDER: Final = Path("var/demo")

_PAGE: Final = "demo/14"


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command(name="demo")(demo)


def demo(
    database: Annotated[
        str | None,
        typer.Option(
            help="A SQLAlchemy URL (LEDGER_DATABASE_URL, else ledger.db in the demo's folder)."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where the demo keeps its chain, images, evidence and, without a database named, "
            "its ledger: var/demo, or a folder beside it for each other database.",
            file_okay=False,
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the page when the season is over.")
    ] = True,
    host: Annotated[str | None, typer.Option(help="Where to serve the page.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Its port.")] = None,
    output_format: Format = OutputFormat.TABLE,
) -> None:
    """Play a whole season on a simulated chain, with real contests, and print what it came to.

    A second run over the same database adds no fact, wherever its folder is; a killed one goes on
    where it stopped, in the folder it began in.
    """
    from api.cli.output import show
    from api.cli.progress import season_progress
    from api.cli.session import opened_or_made as opened
    from api.cli.session import settings_of
    from api.demo.layout import REPORT
    from api.demo.play import Season, is_over
    from api.demo.report import season_report
    from api.demo.season import ENDS_AT, NETUID, NETWORK, OPENS_AT
    from api.demo.world import open_world
    from api.http.server import listening
    from api.http.server import serve as serve_page

    settings = settings_of(database, NETWORK, NETUID, host, port)
    named = database is not None or "database_url" in settings.model_fields_set
    if folder is None:
        folder = _folder_of(settings.database_url) if named else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not named:
        settings = settings_of(f"sqlite:///{folder / 'ledger.db'}", NETWORK, NETUID, host, port)
    if serve:
        with listening(settings.host, settings.port):
            pass  # a taken port is said now, not after the season
    with opened(settings) as services:
        if not is_over(services):
            world = open_world(folder)
            try:
                with season_progress(OPENS_AT, ENDS_AT) as watcher:
                    Season(services, world, watcher).play()
            finally:
                world.close()
        show(season_report(services), REPORT, output_format)
        if serve:
            serve_page(services, settings.host, settings.port, ready=_say_where)


def _folder_of(database_url: str) -> Path:
    """A chain belongs to one ledger: another database gets a chain of its own."""
    digest = hashlib.sha256(database_url.encode()).hexdigest()
    return DEFAULT_FOLDER.with_name(f"demo-{digest[:8]}")


def _say_where(url: str) -> None:
    sys.stdout.write(f"the page is served at {url}{_PAGE} (Ctrl-C ends it)\n")
    sys.stdout.flush()
