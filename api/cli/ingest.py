"""The `ingest` command: follow a node's finalized blocks into an arena's log."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Annotated, Final

import typer

from api.cli.options import (
    ArchiveNode,
    Database,
    Format,
    Netuid,
    Network,
    NodeUrls,
    OutputFormat,
    TimeoutS,
)
from api.limits import MAX_BLOCK

ENDED_BY: Final = (signal.SIGINT, signal.SIGTERM)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command(name="ingest")(ingest)


def ingest(
    node: NodeUrls,
    archive_node: ArchiveNode = None,
    from_block: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_BLOCK,
            help="Begin at this block: blocks before it that are not in the log are left out as a "
            "gap, recorded ones from it on are read again and compared, besides the new ones. Each "
            "run begins with this anew: leave it out where a service restarts the command.",
        ),
    ] = None,
    until_block: Annotated[
        int | None, typer.Option(min=0, max=MAX_BLOCK, help="Stop after this block.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new blocks until interrupted.")
    ] = False,
    timeout_s: TimeoutS = 30.0,
    stall_s: Annotated[
        float,
        typer.Option(
            min=1, max=86_400, help="With --follow: seconds without a new block until an alert."
        ),
    ] = 120.0,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Read finalized blocks into an open arena, each exactly once, from where its log stands.

    Blocks that no node holds any longer become a recorded gap, which a later run fills with a node
    that has them. Commits whose payment the node could not show are deferred and judged as soon as
    it can. How it goes is told on stderr; with --format json what was done is one line on stdout.
    """
    from api.cli.output import show
    from api.cli.progress import blocks_progress
    from api.cli.session import opened, settings_of
    from api.following import Follower
    from api.ingesting import Ingest
    from chain.ahead import READ_WORKERS
    from chain.nodes import Nodes
    from chain.watchdog import BlockWatchdog
    from ledger.queries.standing import safe_block

    if from_block is not None and until_block is not None and from_block > until_block:
        msg = f"--from-block {from_block} lies after --until-block {until_block}"
        raise typer.BadParameter(msg)
    settings = settings_of(database, network, netuid)
    where = (settings.network, settings.netuid)
    with opened(settings) as services, stopping() as stop, blocks_progress() as (on_block, say):
        ledger = services.ledger(*where)
        genesis = ledger.arena.genesis
        nodes = Nodes(node, archive=archive_node, genesis=genesis, timeout_s=timeout_s)
        try:
            run = Ingest(
                ledger,
                lambda: Follower(
                    services, nodes, *where, workers=READ_WORKERS, from_block=from_block
                ),
                until_block=until_block,
                stop=stop,
                say=say,
                on_block=on_block,
            )
            watchdog = BlockWatchdog(nodes, patience_s=stall_s)
            ended = run.follow(watchdog) if follow else run.once()
        finally:
            nodes.close()
        with services.at(*where) as scope:
            report = run.totals.report(*where, scope.block, safe_block(scope), ended)
    if output_format is OutputFormat.JSON:
        show(report, (), output_format)


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one interrupts what is at hand."""
    stop = Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        name = signal.Signals(number).name
        sys.stderr.write(f"{name}: ending after the block at hand; once more ends at once\n")

    before = {number: signal.signal(number, ask) for number in ENDED_BY}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
