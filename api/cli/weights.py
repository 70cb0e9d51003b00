"""The `weights` commands: the vector, why it is so, what validators hold, and how it stands.

The one that sends weights is :mod:`api.cli.publish`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import publish, tables, weight_tables
from api.cli.asking import ask
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
from api.limits import DEFAULT_LIMIT

if TYPE_CHECKING:
    from ledger.queries.scope import Scope


def register(app: typer.Typer) -> None:
    """Add the `weights` commands to ``app``."""
    commands = typer.Typer(invoke_without_command=True)
    commands.callback()(weights)
    commands.command("compare")(compare)
    commands.command("explain")(explain)
    commands.command("status")(status)
    publish.register(commands)
    app.add_typer(commands, name="weights")


def weights(
    context: typer.Context,
    sent: Annotated[bool, typer.Option("--sent", help="The vectors sent so far instead.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The weight vector, with the reason of each UID's share."""
    from api import reads

    command = context.invoked_subcommand
    if command is not None:
        must_stand_behind(context, command)
        return
    window = reads.Window(limit, offset)
    query: Callable[[Scope], Any] = reads.weights
    layout = tables.WEIGHTS
    if sent:
        query, layout = (lambda scope: reads.sent(scope, window)), tables.SENT_WEIGHTS
    ask(query, layout, at_block, output_format, network, netuid, database)


def compare(
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The vector computed, submitted and on chain, for every validator, and each difference."""
    from api import reads

    window = reads.Window(limit, offset)
    ask(
        lambda scope: reads.compared_weights(scope, window),
        weight_tables.COMPARISON,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def explain(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Each UID's share, and why it has it."""
    from api import reads

    layout = weight_tables.EXPLANATION
    ask(reads.explained_weights, layout, at_block, output_format, network, netuid, database)


def status(
    node: Annotated[
        str | None, typer.Option(help="A node's WebSocket URL, to see how far ingest lags.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds the node has to answer.")
    ] = 30.0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The last safe block, what holds weights back, and what was sent, landed and is held."""
    from ledger.queries.comparison import weights_status

    node_head = None if node is None else _finalized(node, timeout_s)
    ask(
        lambda scope: weights_status(scope, node_head),
        weight_tables.STATUS,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def _finalized(node: str, timeout_s: float) -> int:
    from chain.node import NodeChain

    chain = NodeChain(node, timeout_s=timeout_s)
    try:
        return chain.finalized_head().number
    finally:
        chain.close()
