"""`weights publish`: set the validator's weights, once, and prove what the chain then held."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from api.cli.cells import Kind, printable
from api.cli.ingest import stopping
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
from api.cli.output import Column, Layout, Section, show

if TYPE_CHECKING:
    from threading import Event

    from api.publishing import Publishing, PublishView
    from api.settings import Settings

POLL_S: Final = 6.0
"""How often `--follow` looks at the log and the chain: twice a block time."""

PASSING: Final = frozenset(
    {
        "CHAIN_UNAVAILABLE",
        "CHAIN_REFUSED",
        "CONTENTION",
        "DATABASE_FAILED",
        "VIEW_BEHIND",
    }
)
"""The exit codes of what `--follow` tells and outlasts, by name: that module is loaded late."""

WalletName = Annotated[str, typer.Option("--wallet", help="The bittensor wallet's name.")]
HotkeyName = Annotated[str, typer.Option("--hotkey", help="The name of the wallet's hotkey.")]
WalletPath = Annotated[
    Path | None,
    typer.Option("--wallet-path", help="The folder of the wallets (bittensor's own by default)."),
]
FinalS = Annotated[
    float,
    typer.Option(min=1, max=3_600, help="Seconds to wait until what was sent is final."),
]


def register(commands: typer.Typer) -> None:
    """Add `publish` to the group of the `weights` commands."""
    commands.command("publish")(publish)


def publish(
    node: NodeUrls,
    wallet: WalletName,
    hotkey: HotkeyName,
    wallet_path: WalletPath = None,
    archive_node: ArchiveNode = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on looking until interrupted.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be sent and why; record and send nothing."),
    ] = False,
    timeout_s: TimeoutS = 30.0,
    final_s: FinalS = 120.0,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Set the validator's weights if they are due, and read back what the chain holds.

    What is due: the first vector, changed results, one older than the policy allows, and at once
    the burn vector of a pause. Everything is sent through the first node. With --follow another
    process must ingest the chain; nothing is sent while the log lags. Without it the command ends
    with 8 where something keeps due weights back, and with 19 where the chain did not take them.
    """
    from api.cli.session import settings_of

    settings = settings_of(database, network, netuid)
    names = _Names(wallet, hotkey, wallet_path)
    nodes = _Nodes(node, archive_node, timeout_s)
    with _opened(settings, nodes, names, final_s, dry_run=dry_run) as publishing:
        if not follow:
            view = publishing.look(dry_run=dry_run)
            show(view, LAYOUT, output_format)
            _end(view)
            return
        with stopping() as stop:
            _follow(publishing, stop, output_format, dry_run=dry_run)


def _end(view: PublishView) -> None:
    """End with a code of its own where weights should have been set and were not."""
    from api.errors import ExitCode

    if view.sent is not None and not view.sent.success:
        raise typer.Exit(ExitCode.CHAIN_REFUSED)
    if view.alert is not None:
        raise typer.Exit(ExitCode.REFUSED)


class _Names:
    """How the wallet is named; it is opened where it is needed."""

    def __init__(self, wallet: str, hotkey: str, path: Path | None) -> None:
        self.wallet = wallet
        self.hotkey = hotkey
        self.path = path


class _Nodes(NamedTuple):
    urls: list[str]
    archive: str | None
    timeout_s: float


@contextmanager
def _opened(
    settings: Settings,
    nodes: _Nodes,
    names: _Names,
    final_s: float,
    *,
    dry_run: bool,
) -> Iterator[Publishing]:
    from api.cli.session import opened
    from api.publishing import Publishing
    from chain.node_writer import NodeWriter
    from chain.nodes import Nodes
    from chain.publish import WeightPublisher
    from chain.wallets import open_wallet

    where = (settings.network, settings.netuid)
    with opened(settings) as services:
        ledger = services.ledger(*where)
        wallet = open_wallet(names.wallet, names.hotkey, names.path)
        validator = wallet.address("hotkey")
        # A dry run opens no key: it has nothing to sign.
        signers = [] if dry_run else [wallet.signer("hotkey")]
        genesis = ledger.arena.genesis
        urls, archive, timeout_s = nodes
        reader = Nodes(urls, archive=archive, genesis=genesis, timeout_s=timeout_s)
        writer = NodeWriter(
            urls[0], reader, signers, genesis=genesis, timeout_s=timeout_s, final_s=final_s
        )
        try:
            yield Publishing(
                services,
                WeightPublisher(reader, writer, ledger, validator_hotkey=validator),
                network=where[0],
                netuid=where[1],
                validator_hotkey=validator,
            )
        finally:
            writer.close()
            reader.close()


def _follow(
    publishing: Publishing, stop: Event, output_format: OutputFormat, *, dry_run: bool
) -> None:
    """Look again and again; a result goes to stdout when something was sent, the rest is told.

    What may be otherwise at the next look (a node, a lock, a view that is behind) is told, too; a
    defect, and what only a person can put right, ends it.
    """
    from api.errors import problem_of

    told = ""
    while not stop.is_set():
        try:
            view = publishing.look(dry_run=dry_run)
        except Exception as error:
            problem = problem_of(error)
            if problem.exit_code.name not in PASSING:
                raise
            words = problem.message
        else:
            words = _words(view)
            if view.sent is not None:
                show(view, LAYOUT, output_format)
        if words != told:
            told = words
            sys.stderr.write(f"{printable(words)}\n")
        stop.wait(POLL_S)


def _words(view: PublishView) -> str:
    if view.sent is None:
        return f"block {view.block}: {view.why}"
    if view.sent.success:
        return f"block {view.block}: weights landed in block {view.sent.block} ({view.why})"
    return f"block {view.block}: weights failed: {view.sent.error}"


def _summary(data: Any) -> list[Mapping[str, Any]]:
    sent = data["sent"]
    if sent is None:
        what = "would be sent" if data["send"] else "not sent"
        what = "sent, no answer yet" if data["send"] and not data["dry_run"] else what
    else:
        what = "landed" if sent["success"] else "failed"
    return [
        {
            **data,
            "what": what,
            "landed_block": None if sent is None else sent["block"],
            "error": None if sent is None else sent["error"],
        }
    ]


def _weights(data: Any) -> list[Mapping[str, Any]]:
    pairs = zip(data["uids"], data["values"], strict=True)
    return [{"uid": uid, "value": value} for uid, value in pairs]


LAYOUT: Final[Layout] = (
    Section(
        "Weights",
        (
            Column("for block", "block", Kind.NUMBER),
            Column("result", "what"),
            Column("why", "why", Kind.PROSE),
            Column("landed at", "landed_block", Kind.NUMBER),
            Column("error", "error", Kind.PROSE),
            Column("allowed from", "allowed_from", Kind.NUMBER),
            Column("version key", "version_key", Kind.NUMBER),
            Column("sealed", "commit_reveal"),
            Column("digest", "digest", Kind.ID),
            Column("validator", "validator_hotkey", Kind.ID),
        ),
        _summary,
    ),
    Section(
        "Vector",
        (Column("UID", "uid", Kind.NUMBER), Column("value", "value", Kind.NUMBER)),
        _weights,
    ),
)
