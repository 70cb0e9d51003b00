"""`arena`: opening one, its policies, and its two switches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.options import (
    Actor,
    ArchiveNode,
    AtBlock,
    Database,
    Format,
    Netuid,
    Network,
    OptionalNodeUrls,
    OutputFormat,
    TimeoutS,
)
from api.cli.output import show
from api.cli.session import opened, opened_or_made, settings_of
from api.cli.tables import POLICY
from api.limits import MAX_BLOCK

if TYPE_CHECKING:
    from api.app import Services
    from api.opening import Opened
    from ledger.policy import Policy

Reason = Annotated[str, typer.Option(help="Why; it is recorded and shown to everybody.")]
Switch = Annotated[Literal["evaluation", "emission"], typer.Argument(help="What it is about.")]


def register(app: typer.Typer) -> None:
    """Add the `arena` commands to ``app``."""
    commands = typer.Typer(no_args_is_help=True, help="Arenas: opening, policies, pauses.")
    commands.command("open")(open_arena)
    commands.command("pause")(pause)
    commands.command("resume")(resume)
    policies = typer.Typer(no_args_is_help=True, help="The rules, as data with a first block.")
    policies.command("adopt")(adopt)
    policies.command("show")(show_policy)
    policies.command("examples")(examples)
    commands.add_typer(policies, name="policy")
    app.add_typer(commands, name="arena")


def open_arena(
    policy: Annotated[Path, typer.Option(help="The TOML file of its first policy.")],
    actor: Actor,
    node: OptionalNodeUrls = None,
    archive_node: ArchiveNode = None,
    genesis: Annotated[
        str | None,
        typer.Option(help="The chain's genesis hash, 0x and 64 hex digits; a node tells its own."),
    ] = None,
    at_block: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_BLOCK,
            help="The finalized block its log begins at; with a node the newest by default.",
        ),
    ] = None,
    timeout_s: TimeoutS = 30.0,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Open an arena; opening it again alike changes nothing.

    With --node the genesis hash and the newest finalized block come from the node, and who holds
    what there is recorded at once: UIDs, the subnet's owner, the treasury's balances. --at-block
    opens it earlier in history, where the node or an archive node still has the state. Without
    --node, --genesis and --at-block are taken as given, and `ingest` records the rest.
    """
    settings, rules = settings_of(database, network, netuid), _policy_file(policy)
    if not node and (genesis is None or at_block is None):
        msg = "give --node, or both --genesis and --at-block"
        raise typer.BadParameter(msg)
    if archive_node is not None and not node:
        msg = "--archive-node stands beside --node: give both"
        raise typer.BadParameter(msg)
    with opened_or_made(settings) as services:
        if node:
            found = _open_from_node(
                services, node, archive_node, genesis, timeout_s, rules, at_block, actor
            )
        else:
            found = _open_as_given(services, genesis or "", rules, at_block or 0, actor)
    name = f"arena {settings.network}/{settings.netuid}"
    if found.was_open:
        _say(f"{name} was open already, just so; nothing changed")
    else:
        _say(
            f"{name} is open from block {found.at_block} under policy '{rules.name}' "
            f"({rules.digest()})"
        )


def _open_as_given(
    services: Services, genesis: str, policy: Policy, at_block: int, actor: str
) -> Opened:
    from api.opening import Opened
    from ledger.commands.arena import open_arena
    from ledger.keys import ArenaKey

    key = ArenaKey(genesis, services.settings.netuid)
    was_open = key in {head.arena for head in services.arenas()}
    network = services.settings.network
    open_arena(services.engine, key, network=network, at_block=at_block, policy=policy, actor=actor)
    return Opened(key, at_block, was_open)


def _open_from_node(
    services: Services,
    node: list[str],
    archive_node: str | None,
    genesis: str | None,
    timeout_s: float,
    policy: Policy,
    at_block: int | None,
    actor: str,
) -> Opened:
    from api.opening import open_from_node
    from chain.nodes import Nodes
    from ledger.keys import ArenaKey

    settings = services.settings
    if genesis is not None:
        ArenaKey(genesis, settings.netuid)  # its form, before a node is asked for it
    nodes = Nodes(node, archive=archive_node, genesis=genesis, timeout_s=timeout_s)
    try:
        return open_from_node(
            services,
            nodes,
            settings.network,
            settings.netuid,
            policy=policy,
            at_block=at_block,
            actor=actor,
        )
    finally:
        nodes.close()


def pause(
    switch: Switch,
    reason: Reason,
    actor: Actor,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Pause evaluation or emission, from the newest finalized block on."""
    from ledger.commands.arena import pause

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        paused = switch in ledger.arena_state().paused
        pause(ledger, switch, reason=reason, actor=actor)
        block = ledger.head().effective_block
    _say(f"{switch} was paused already" if paused else f"{switch} is paused from block {block} on")


def resume(
    switch: Switch,
    reason: Reason,
    actor: Actor,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Resume evaluation or emission, from the newest finalized block on."""
    from ledger.commands.arena import resume

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        paused = switch in ledger.arena_state().paused
        resume(ledger, switch, reason=reason, actor=actor)
        block = ledger.head().effective_block
    _say(f"{switch} goes on from block {block} on" if paused else f"{switch} was not paused")


def adopt(
    file: Annotated[Path, typer.Argument(help="The policy's TOML file.")],
    from_block: Annotated[
        int,
        typer.Option(min=0, max=MAX_BLOCK, help="The first block it is in force at; not the past."),
    ],
    actor: Actor,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Adopt a policy from a block on."""
    from ledger.commands.arena import adopt_policy

    settings, rules = settings_of(database, network, netuid), _policy_file(file)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        adopt_policy(ledger, rules, from_block=from_block, actor=actor)
    _say(f"policy '{rules.name}' ({rules.digest()}) is adopted from block {from_block} on")
    _warn_of_errors(rules)


def show_policy(
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Show the policy in force, with every default written out."""
    from api import reads

    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        found = reads.policy(scope)
    show(found, POLICY, output_format)


def examples(
    name: Annotated[
        str | None, typer.Argument(help="Write only this one, to stdout.", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Write all of them into this folder, as NAME.toml.")
    ] = None,
) -> None:
    """The policies of past phases and of our own rule: their names, one, or all as files.

    They are examples to begin from: the treasury's address is the arena's own.
    """
    from ledger.policies import load, names

    if name is not None and folder is not None:
        msg = "NAME goes to stdout and --folder takes all: give one of them"
        raise typer.BadParameter(msg)
    if name is not None:
        sys.stdout.write(load(name))
        return
    for known in names():
        if folder is None:
            _say(known)
            continue
        path = folder / f"{known}.toml"
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text(encoding="utf-8") != load(known):
            msg = f"'{path}' is there already and says something else; name another folder"
            raise typer.BadParameter(msg)
        path.write_text(load(known), encoding="utf-8")
        _say(str(path))


def _policy_file(path: Path) -> Policy:
    from api.errors import read_text_file
    from ledger.policy import MAX_POLICY_BYTES, parse_policy_toml

    return parse_policy_toml(read_text_file(path, max_bytes=MAX_POLICY_BYTES))


def _warn_of_errors(rules: Policy) -> None:
    """An interval for each challenger alone crowns by chance more often than its level says."""
    from ledger.policy import ScoreInterval

    for name, track in sorted(rules.tracks.items()):
        scoring = track.scoring
        if isinstance(scoring, ScoreInterval) and scoring.error_of == "comparison":
            sys.stderr.write(
                f"track '{name}' promises its error for each challenger alone, so that a round of "
                "several crowns by chance more often (docs/benchmarks.md, false_crowns); write "
                'error_of = "round" under its scoring to promise it for the whole round\n'
            )


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
