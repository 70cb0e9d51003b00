"""`treasury reconcile` and `treasury journal`: the books against the outside, and postings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from api.cli.asking import ask
from api.cli.cells import Kind
from api.cli.options import (
    AtBlock,
    Database,
    Format,
    Limit,
    Netuid,
    Network,
    Offset,
    OutputFormat,
)
from api.cli.output import Column, Layout, Rows, Section, show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT, MAX_BLOCK
from api.words import in_words

MAX_NAME_CHARS: Final = 200

KnownAt = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_BLOCK,
        help="As known when this block was the newest; a closed period is always shown as closed.",
    ),
]
FromBlock = Annotated[int | None, typer.Option(min=0, max=MAX_BLOCK, help="After this block.")]
ToBlock = Annotated[
    int | None, typer.Option(min=0, max=MAX_BLOCK, help="Up to and with this block.")
]


def register(commands: typer.Typer) -> None:
    """Add both commands to the `treasury` group."""
    commands.command("reconcile")(reconcile)
    commands.command("journal")(journal)


def reconcile(
    period: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_BLOCK, help="A period's number; the open one by default."),
    ] = None,
    from_block: FromBlock = None,
    to_block: ToBlock = None,
    known_at: KnownAt = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Hold each account of the books against what the outside states.

    Ends with exit code 28 where a light is red: something is unexplained.
    """
    from api import reads
    from api.errors import ExitCode

    if period is not None and not (from_block is None and to_block is None):
        msg = "--period is a stretch of its own: give it without --from-block and --to-block"
        raise typer.BadParameter(msg)
    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, known_at) as scope,
    ):
        found = reads.reconciled(scope, period=period, from_block=from_block, to_block=to_block)
    show(found, RECONCILED, output_format)
    if found.light == "red":
        raise typer.Exit(int(ExitCode.UNEXPLAINED))


def journal(
    account: Annotated[
        str | None, typer.Option(help="An account and its sub-accounts, e.g. assets:treasury.")
    ] = None,
    asset: Annotated[str | None, typer.Option(help="TAO, USD or ALPHA:<netuid>.")] = None,
    from_block: Annotated[
        int | None, typer.Option(min=0, max=MAX_BLOCK, help="What moved in this block or later.")
    ] = None,
    to_block: ToBlock = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The postings of the journal, each with its event and its account's running balance."""
    from api import reads
    from ledger.queries.treasury import Asked

    asked = Asked(account, asset, from_block, to_block)
    window = reads.Window(limit, offset)
    ask(
        lambda scope: reads.journal(scope, window, asked),
        JOURNAL,
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


# -- layouts ----------------------------------------------------------------------------------


def _lines(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    totals = [{**line, "account": "total"} for line in data["totals"]]
    return [
        {**line, "observed": _time(line["observed_at_ms"])} for line in (*data["accounts"], *totals)
    ]


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _late(data: Mapping[str, Any]) -> Rows:
    return [
        line
        for line in _lines(data)
        if line["late_inflows"] or line["late_outflows"] or line["residual_now"] != line["residual"]
    ]


def _breaks(name: str) -> Any:
    def rows(data: Mapping[str, Any]) -> Rows:
        return [
            {
                **found,
                "kind": in_words(found["kind"]),
                "where": _where(found["from_block"], found["to_block"]),
            }
            for line in data["accounts"]
            for found in line[name]
            if name == "breaks" or line["breaks_now"] != line["breaks"]
        ]

    return rows


def _where(after: int, up_to: int) -> str:
    return str(up_to) if up_to == after + 1 else f"after {after}, up to {up_to}"


def _adjustments(data: Mapping[str, Any]) -> Rows:
    return [
        {**found, "period": "before the first" if found["period"] is None else found["period"]}
        for line in data["accounts"]
        for found in line["adjustments"]
    ]


_BREAK_COLUMNS: Final = (
    Column("account", "account"),
    Column("asset", "asset"),
    Column("what", "kind"),
    Column("amount", "amount", Kind.AMOUNT),
    Column("in block", "where"),
    Column("reference", "reference", Kind.ID),
    Column("in words", "detail", Kind.PROSE),
)

RECONCILED: Final[Layout] = (
    Section(
        "The books against the outside: opening + inflows - outflows + residual = closing",
        (
            Column("light", "light"),
            Column("account", "account"),
            Column("asset", "asset"),
            Column("after", "from_block", Kind.NUMBER),
            Column("up to", "to_block", Kind.NUMBER),
            Column("opening", "opening", Kind.AMOUNT),
            Column("inflows", "inflows", Kind.AMOUNT),
            Column("outflows", "outflows", Kind.AMOUNT),
            Column("residual", "residual", Kind.AMOUNT),
            Column("closing", "closing", Kind.AMOUNT),
            Column("unexplained", "unexplained", Kind.AMOUNT),
            Column("observed at", "observed_block", Kind.NUMBER),
            Column("blocks ago", "behind_blocks", Kind.NUMBER),
            Column("time", "observed"),
        ),
        _lines,
    ),
    Section("Breaks", _BREAK_COLUMNS, _breaks("breaks"), only_if_any=True),
    Section(
        "With what was recorded after the closing",
        (
            Column("account", "account"),
            Column("asset", "asset"),
            Column("late inflows", "late_inflows", Kind.AMOUNT),
            Column("late outflows", "late_outflows", Kind.AMOUNT),
            Column("residual now", "residual_now", Kind.AMOUNT),
            Column("unexplained now", "unexplained_now", Kind.AMOUNT),
            Column("now", "status_now"),
        ),
        _late,
        only_if_any=True,
    ),
    Section("Breaks that are left now", _BREAK_COLUMNS, _breaks("breaks_now"), only_if_any=True),
    Section(
        "Adjustments of closed periods that were recorded in this one",
        (
            Column("period", "period"),
            Column("account", "account"),
            Column("asset", "asset"),
            Column("amount", "amount", Kind.AMOUNT),
            Column("about block", "about_block", Kind.NUMBER),
            Column("why", "reason", Kind.PROSE),
            Column("reference", "reference", Kind.ID),
            Column("event", "fact_key", Kind.ID),
        ),
        _adjustments,
        only_if_any=True,
    ),
    Section(
        "Statements that were corrected",
        (
            Column("account", "account"),
            Column("asset", "asset"),
            Column("about block", "about_block", Kind.NUMBER),
            Column("was", "was", Kind.AMOUNT),
            Column("is", "corrected_to", Kind.AMOUNT),
            Column("why", "reason", Kind.PROSE),
            Column("by", "actor"),
            Column("event", "fact_key", Kind.ID),
        ),
        lambda data: data["corrections"],
        only_if_any=True,
    ),
)

JOURNAL: Final[Layout] = (
    Section(
        "Journal (debits above zero)",
        (
            Column("position", "position", Kind.NUMBER),
            Column("about block", "about_block", Kind.NUMBER),
            Column("recorded at", "recorded_at_block", Kind.NUMBER),
            Column("account", "account"),
            Column("asset", "asset"),
            Column("amount", "amount", Kind.AMOUNT),
            Column("balance", "balance", Kind.AMOUNT),
            Column("event", "event"),
            Column("key", "fact_key", Kind.ID),
            Column("reference", "reference", Kind.ID),
        ),
    ),
)
