"""`contest show` and `contest rejudge`: contests as the ledger has them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from api.cli.options import Database, Format, Netuid, Network, OutputFormat

ContestId = Annotated[UUID, typer.Argument(help="The contest's id, as 'contests' shows it.")]

EvidencePlace = Annotated[
    str,
    typer.Option(envvar="LEDGER_EVIDENCE", help="The folder or URL with the evidence."),
]

records = typer.Typer(no_args_is_help=True, help="Contests: what is recorded of them.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.add_typer(records, name="contest")


@records.callback()
def _group() -> None:
    """Contests: what is recorded of them."""


@records.command("show")
def show_contest(
    contest: ContestId,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """One contest: each entrant's verdict in words, its own log, its figures against the limits."""
    from api.cli.output import show
    from api.cli.record_tables import SHOWN
    from api.cli.session import opened, settings_of
    from api.contest_shown import contest_shown

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        shown = contest_shown(services, settings.network, settings.netuid, contest)
    show(shown, SHOWN, output_format)


@records.command("rejudge")
def rejudge(
    contest: ContestId,
    evidence: EvidencePlace = "evidence",
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Compute a verdict again from its evidence alone; ends with code 25 where the log differs."""
    from api.cli.output import show
    from api.cli.record_tables import REJUDGED
    from api.cli.session import opened, settings_of
    from api.errors import ExitCode
    from evaluation.object_store import open_evidence
    from evaluation.rejudging import rejudge_contest

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        rejudged = rejudge_contest(ledger, contest, open_evidence(evidence))
    show(rejudged, REJUDGED, output_format)
    if not rejudged.agrees:
        raise typer.Exit(int(ExitCode.VERDICT_DIFFERS))
