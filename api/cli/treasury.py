"""`treasury`: the books, and under `buyback` what spends the treasury's money."""

from __future__ import annotations

import typer

from api.cli import buyback, read, treasury_reconcile


def register(app: typer.Typer) -> None:
    """Add the `treasury` commands to ``app``; plain `treasury` shows the books."""
    commands = typer.Typer()
    commands.callback(invoke_without_command=True)(read.treasury)
    treasury_reconcile.register(commands)
    commands.add_typer(buyback.commands(), name="buyback")
    app.add_typer(commands, name="treasury")
