"""`arena`: opening one, its policies, and its two switches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.options import (
    Actor,
    AtBlock,
    Database,
    Format,
    Netuid,
    Network,
    OutputFormat,
)
from api.cli.output import show
from api.cli.session import opened, opened_or_made, settings_of
from api.cli.tables import POLICY
from api.limits import MAX_BLOCK

if TYPE_CHECKING:
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
    commands.add_typer(policies, name="policy")
    app.add_typer(commands, name="arena")


def open_arena(
    policy: Annotated[Path, typer.Option(help="The TOML file of its first policy.")],
    genesis: Annotated[str, typer.Option(help="The chain's genesis hash, 0x and 64 hex digits.")],
    at_block: Annotated[
        int, typer.Option(min=0, max=MAX_BLOCK, help="The finalized block its log begins at.")
    ],
    actor: Actor,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Open an arena; opening it again alike changes nothing.

    The genesis hash and the block are taken as given, without asking a node: look them up on the
    chain first. (Opening from a node is not part of this command yet.)
    """
    from ledger.commands.arena import open_arena
    from ledger.keys import ArenaKey

    settings = settings_of(database, network, netuid)
    key, rules = ArenaKey(genesis, settings.netuid), _policy_file(policy)
    with opened_or_made(settings) as services:
        known = {head.arena for head in services.arenas()}
        open_arena(
            services.engine,
            key,
            network=settings.network,
            at_block=at_block,
            policy=rules,
            actor=actor,
        )
    name = f"arena {settings.network}/{settings.netuid}"
    if key in known:
        _say(f"{name} was open already, just so; nothing changed")
    else:
        _say(f"{name} is open from block {at_block} under policy '{rules.name}' ({rules.digest()})")


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


def _policy_file(path: Path) -> Policy:
    from api.errors import read_text_file
    from ledger.policy import MAX_POLICY_BYTES, parse_policy_toml

    return parse_policy_toml(read_text_file(path, max_bytes=MAX_POLICY_BYTES))


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
