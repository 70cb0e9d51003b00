"""Options that several commands share."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import Annotated, Final

import typer

from api.limits import MAX_BLOCK, MAX_LIMIT, MAX_NETUID, MAX_OFFSET


class OutputFormat(StrEnum):
    """How a result is written to stdout."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[
    OutputFormat,
    typer.Option("--format", help="A table for people, or the JSON that the HTTP API gives."),
]
AtBlock = Annotated[
    int | None,
    typer.Option(
        min=0, max=MAX_BLOCK, help="Ask as of this block; the newest in the log by default."
    ),
]
Limit = Annotated[
    int, typer.Option(min=1, max=MAX_LIMIT, help="How many items of each list at most.")
]
Offset = Annotated[int, typer.Option(min=0, max=MAX_OFFSET, help="How many items to leave out.")]
Network = Annotated[
    str | None, typer.Option(help="The arena's network (LEDGER_NETWORK, else finney).")
]
Netuid = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_NETUID, help="The arena's subnet (LEDGER_NETUID, else 14)."),
]
Database = Annotated[
    str | None,
    typer.Option(help="A SQLAlchemy URL (LEDGER_DATABASE_URL, else sqlite:///ledger.db)."),
]


def your_name() -> str:
    """The name of the user that runs the program; a usage error where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        msg = "the system knows no name of your user; say who acts by --actor or LEDGER_ACTOR"
        raise typer.BadParameter(msg, param_hint="'--actor'") from error


Actor = Annotated[
    str,
    typer.Option(
        envvar="LEDGER_ACTOR",
        default_factory=your_name,
        show_default="your user name",
        help="Who does this; it is recorded with the fact.",
    ),
]
NODES_VARIABLE: Final = "LEDGER_NODE"
ARCHIVE_VARIABLE: Final = "LEDGER_ARCHIVE_NODE"
"""A command's arguments are seen by every user of the machine; a URL may hold a key."""

NodeUrls = Annotated[
    list[str],
    typer.Option(
        "--node",
        envvar=NODES_VARIABLE,
        help="A node's WebSocket URL, e.g. ws://127.0.0.1:9944; give several in order of "
        "preference, and whichever answers is read. A URL with a key belongs into the variable "
        "(several with blanks between), where other users do not see it.",
    ),
]
OptionalNodeUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        envvar=NODES_VARIABLE,
        help="A node's WebSocket URL; give several in order of preference.",
    ),
]
ArchiveNode = Annotated[
    str | None,
    typer.Option(
        envvar=ARCHIVE_VARIABLE,
        help="The URL of a node that keeps all states, asked for what others lack.",
    ),
]
TimeoutS = Annotated[float, typer.Option(min=1, max=600, help="Seconds a node has for one answer.")]
NewProvider = Annotated[
    bool,
    typer.Option(
        "--new-provider",
        help="The provider is new here on purpose; without it only a known name is taken.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done; record and send nothing.")
]


def must_stand_behind(context: typer.Context, command: str) -> None:
    """Refuse an option that stands before the ``command`` of a group: it would do nothing there.

    Whoever calls a group's callback for a command calls this first.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE":
            msg = f"give {option.opts[0]} behind '{command}'"
            raise typer.BadParameter(msg)
