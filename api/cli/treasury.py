"""`treasury`: the books, what a person books in them, and under `buyback` what spends money."""

from __future__ import annotations

import typer

from api.cli import buyback, claims, read, treasury_book, treasury_close, treasury_reconcile


def register(app: typer.Typer) -> None:
    """Add the `treasury` commands to ``app``; plain `treasury` shows the books."""
    commands = typer.Typer()
    commands.callback(invoke_without_command=True)(read.treasury)
    treasury_reconcile.register(commands)
    commands.add_typer(buyback.commands(), name="buyback")
    treasury_book.register(commands)
    treasury_close.register(commands)
    claims.register_with_treasury(commands)
    app.add_typer(commands, name="treasury")
