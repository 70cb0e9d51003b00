"""The `ingest` command: follow a node's finalized blocks into an arena's log."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

import typer

from api.cli.options import Database, Netuid, Network
from api.limits import MAX_BLOCK

POLL_S: Final = 6.0
"""How often `--follow` looks for a new finalized block: twice a block time."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command(name="ingest")(ingest)


def ingest(
    node: Annotated[str, typer.Option(help="The node's WebSocket URL, e.g. ws://127.0.0.1:9944.")],
    until_block: Annotated[
        int | None, typer.Option(min=0, max=MAX_BLOCK, help="Stop after this block.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new blocks until interrupted.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds a node has for one answer.")
    ] = 30.0,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Read finalized blocks into an open arena, each exactly once, from where its log stands.

    Commits whose payment the node could not show are deferred and judged as soon as it can.
    """
    from api.cli.session import opened, settings_of
    from api.following import Follower
    from chain.ahead import READ_WORKERS
    from chain.node import NodeChain

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        chain = NodeChain(node, timeout_s=timeout_s)
        try:
            follower = Follower(
                services, chain, settings.network, settings.netuid, workers=READ_WORKERS
            )
            while True:
                result = follower.catch_up(until_block)
                sys.stderr.write(
                    f"{result.blocks} blocks read, the newest is {result.head_block}; "
                    f"{result.judged} deferred commits judged, {result.deferred} still wait\n"
                )
                done = until_block is not None and result.head_block >= until_block
                if not follow or done:
                    return
                time.sleep(POLL_S)
        finally:
            chain.close()
