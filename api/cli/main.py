"""The entry point of `cacheon-ledger`.

Starting up loads no database, web or chain library: every command imports what it needs when it
runs, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated, Final

import typer

from api.cli import (
    arena,
    contest,
    database,
    demo,
    evaluate,
    ingest,
    logs,
    miner,
    read,
    rentals,
    serve,
    statements,
    treasury,
    weights,
)
from api.cli.failures import ReportingGroup

EPILOG: Final = (
    "Exit codes: 0 done; 2 wrong usage; 3 unknown arena; 4 block not in the log; 5 malformed key; "
    "6 impossible policy; 7 unreadable file; 8 refused by a rule; 9 database cannot be opened or "
    "used as it is (missing, unreachable, login refused, another schema, tables missing); 10 "
    "database failed in use (locked, full, connection lost); 11 port in use; 12 chain unavailable; "
    "13 unknown account; 14 conflict with a recorded fact; 15 other writers were faster; 16 wrong "
    "setting; 17 a view is behind; 18 unreadable log; 19 refused by the chain; 20 cannot listen "
    "there; 21 another ledger gives no answer; 22 wallet cannot be opened; "
    "23 the image breaks the container contract; 24 the contest came to nothing; 25 a verdict is "
    "not what its evidence gives; 26 a provider of machines cannot be asked; 27 no machine to be "
    "had, or one not gone yet; 28 the books hold something unexplained; 29 a library "
    "is not installed; 70 a defect of this program; 130 interrupted; 141 the reader of the output "
    "went away."
)

app = typer.Typer(
    name="cacheon-ledger",
    cls=ReportingGroup,
    help="The ledger of Cacheon (SN14): facts, weights, the treasury and payouts, at any block.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="LEDGER_DEBUG", help="Show the traceback of an error, and debug logs."
        ),
    ] = False,
) -> None:
    """Everything but a command's result goes to stderr."""
    logs.configure(debug=debug)


for module in (
    *(read, statements, weights, treasury, rentals, miner, contest),
    *(arena, database, serve, demo, ingest, evaluate),
):
    module.register(app)


def main() -> None:
    """Run the command line; ends the process with a documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names and reasons come from outside: one that the terminal cannot show is escaped.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="cacheon-ledger")
