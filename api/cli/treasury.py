"""`treasury`: the books, and under `buyback` what spends the treasury's money."""

from __future__ import annotations

import typer

from api.cli import buyback, claims, read


def register(app: typer.Typer) -> None:
    """Add the `treasury` commands to ``app``; plain `treasury` shows the books."""
    commands = typer.Typer()
    commands.callback(invoke_without_command=True)(read.treasury)
    commands.add_typer(buyback.commands(), name="buyback")
    claims.register_with_treasury(commands)
    app.add_typer(commands, name="treasury")
