"""`contest show`, `rejudge`, `plan`, `void` and `import`: contests as the ledger has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated
from uuid import UUID

import typer

from api.cli.options import Actor, Database, Format, Netuid, Network, OutputFormat
from api.limits import MAX_CHALLENGERS, MAX_CLAIM_BLOCKS

ContestId = Annotated[UUID, typer.Argument(help="The contest's id, as 'contests' shows it.")]

EvidencePlace = Annotated[
    str,
    typer.Option(envvar="LEDGER_EVIDENCE", help="The folder or URL with the evidence."),
]

records = typer.Typer()


def register(contests: typer.Typer) -> None:
    """Add the commands of this module to those of ``contest``."""
    contests.add_typer(records)


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


@records.command("plan")
def plan(
    track: Annotated[str, typer.Option("--track", help="The track to contest.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The file to write the plan to.")],
    worker: Annotated[
        str, typer.Option(help="Who runs it elsewhere; the contest is claimed for that name.")
    ] = "remote",
    for_blocks: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_CLAIM_BLOCKS, help="How long its bundle is waited for, in blocks."
        ),
    ] = 1_500,
    max_challengers: Annotated[
        int, typer.Option(min=1, max=MAX_CHALLENGERS, help="Challengers at most.")
    ] = 8,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Plan a contest that runs away from the ledger; 'contest import' records its bundle.

    It is planned on the newest block, as 'evaluate' does, and claimed: nobody else runs it until
    the claim ends, and then it is void; 'contest void' ends it at once.
    """
    import msgspec

    from api.cli.output import show
    from api.cli.record_tables import PLANNED
    from api.cli.session import opened, settings_of
    from api.evaluating import first_of, track_must_be_known
    from evaluation.desk import plan_of
    from evaluation.importing import BY_BUNDLE
    from ledger.commands.contests import plan_contest
    from ledger.decisions.contest import Holder
    from ledger.queries.submissions import queue

    settings = settings_of(database, network, netuid)
    where = (settings.network, settings.netuid)
    with opened(settings) as services, _written_whole(out) as written:
        ledger = services.ledger(*where)
        track_must_be_known(ledger, track)
        head = ledger.head().effective_block
        with services.at(*where) as scope:
            waiting = queue(scope, track)
        contest = plan_contest(
            ledger,
            track=track,
            challengers=first_of(ledger, waiting, head, max_challengers),
            seed_block=head,
            holder=Holder(worker, BY_BUNDLE),
            claim_blocks=for_blocks,
        )
        planned = plan_of(ledger, contest, "")
        written.write(msgspec.json.format(msgspec.json.encode(planned), indent=2) + b"\n")
    show(planned, PLANNED, output_format)


@contextmanager
def _written_whole(out: Path) -> Iterator[IO[bytes]]:
    """A file that stands under its name when all of it is written. It is opened before anything is
    done that it is to tell of: a plan that nobody can have blocks its track."""
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@records.command("void")
def void(
    contest: ContestId,
    reason: Annotated[str, typer.Option(help="Why; it is recorded and shown to everybody.")],
    actor: Actor,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """End an open contest, whoever claims it; its submissions wait again and lose no attempt.

    For a contest whose worker or bundle will not come. An evaluator that runs it finds its claim
    lost and records nothing.
    """
    from api.cli.session import opened, settings_of
    from ledger.commands.contests import stop_contest

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        stop_contest(ledger, contest, reason=reason, actor=actor)
    typer.echo(f"contest {contest} is void; its submissions wait again")


@records.command("import")
def import_contest(
    bundle: Annotated[Path, typer.Argument(help="The sealed bundle that 'contest run' wrote.")],
    signer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SS58",
            help="Take the bundle only if this account signed it; repeat it for any of several. "
            "That servers ran, and as fast as it says, is the word of whoever made it.",
        ),
    ] = None,
    evidence: EvidencePlace = "evidence",
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Check a contest's bundle and record it with its evidence, as if it had run here.

    Refused where it is damaged or incomplete, where its verdict does not follow from its evidence,
    and where it is not the contest that is due here. Importing it again changes nothing. Ends with
    code 24 where the contest counts for nobody, e.g. because evaluation was paused meanwhile.
    """
    from api.bundle_signing import verifier_of
    from api.cli.evaluate import public_url
    from api.cli.output import show
    from api.cli.record_tables import IMPORTED
    from api.cli.session import opened, settings_of
    from api.errors import ExitCode
    from api.evaluating import copy_finder, settle_imported
    from evaluation.bundle import read_bundle
    from evaluation.importing import import_bundle
    from evaluation.object_store import open_evidence
    from ledger.queries.submissions import queue

    found = read_bundle(bundle, verify=verifier_of(signer) if signer else None)
    settings = settings_of(database, network, netuid)
    where = (settings.network, settings.netuid)
    with opened(settings) as services:
        ledger = services.ledger(*where)
        with services.at(*where) as scope:
            waiting = queue(scope, found.manifest.plan.track)
        imported = import_bundle(
            ledger, found, open_evidence(evidence), waiting=waiting, url=public_url(evidence)
        )
        finder = copy_finder(services, *where, lambda line: typer.echo(line, err=True))
        settle_imported(services, *where, UUID(imported.contest_id), finder)
    show(imported, IMPORTED, output_format)
    if imported.outcome == "void":
        raise typer.Exit(int(ExitCode.CONTEST_VOID))
