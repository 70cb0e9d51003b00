"""Statements for a treasurer, a miner, a validator: `payouts` and `statement`.

As a table or JSON to read, as CSV for a spreadsheet, and as files that Beancount and hledger check.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli import statement_tables as tables
from api.cli.asking import ask
from api.cli.options import (
    Database,
    Limit,
    Netuid,
    Network,
    Offset,
    OutputFormat,
)
from api.cli.output import Layout, show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT, MAX_BLOCK

if TYPE_CHECKING:
    import msgspec

    from api.reads import Window
    from ledger.books.plain_text import Booking, Price
    from ledger.queries.scope import Scope


class StatementFormat(StrEnum):
    """How a statement is written to stdout."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    BEANCOUNT = "beancount"
    HLEDGER = "hledger"


class By(StrEnum):
    """What a miner's statement has a line for."""

    EPOCH = "epoch"
    PERIOD = "period"


Format = Annotated[
    StatementFormat,
    typer.Option(
        "--format",
        help="A table for people, JSON, CSV with the smallest units, or a journal that bean-check "
        "or hledger check proves.",
    ),
]
KnownAt = Annotated[
    int | None,
    typer.Option(
        "--at-block",
        "--known-at",
        min=0,
        max=MAX_BLOCK,
        help="Up to this block, as the log had it then; the newest in the log by default. That at "
        "which a period was closed shows the period as it was closed.",
    ),
]
FromBlock = Annotated[
    int | None, typer.Option(min=0, max=MAX_BLOCK, help="Only epochs from this block on.")
]
ToBlock = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_BLOCK,
        help="Only epochs up to this block; --at-block says as of when they are known.",
    ),
]
Address = Annotated[str, typer.Argument(help="A hotkey, or a coldkey for all of its hotkeys.")]
Hotkey = Annotated[str, typer.Argument(help="A validator's hotkey.")]
Written = Annotated[By, typer.Option("--by", help="A line for each epoch, or for each period.")]


def register(app: typer.Typer) -> None:
    """Add `payouts` and the group `statement` to ``app``."""
    app.command("payouts")(payouts)
    commands = typer.Typer(no_args_is_help=True, help="A statement for outside eyes.")
    for command in (miner, treasury, validator):
        commands.command(command.__name__)(command)
    app.add_typer(commands, name="statement")


def payouts(
    address: Address,
    by: Written = By.EPOCH,
    from_block: FromBlock = None,
    to_block: ToBlock = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: KnownAt = None,
    output_format: Format = StatementFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """A statement: entitled against paid, withheld and its value, by epoch or by period."""
    from api import reads

    if output_format not in (StatementFormat.TABLE, StatementFormat.JSON):
        if limit != DEFAULT_LIMIT or offset:
            msg = "a file has all lines: leave --limit and --offset out, or narrow it by block"
            raise typer.BadParameter(msg)
        _miner(
            address, by, from_block, to_block, at_block, output_format, network, netuid, database
        )
        return
    window = reads.Window(limit, offset)
    ask(
        lambda scope: _page(scope, window, address, by, from_block, to_block),
        tables.PAYOUTS if by is By.EPOCH else tables.PAYOUTS_BY_PERIOD,
        at_block,
        OutputFormat(output_format.value),
        network,
        netuid,
        database,
    )


def miner(
    address: Address,
    by: Written = By.EPOCH,
    from_block: FromBlock = None,
    to_block: ToBlock = None,
    at_block: KnownAt = None,
    output_format: Format = StatementFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """A miner's whole statement, by hotkey or coldkey."""
    _miner(address, by, from_block, to_block, at_block, output_format, network, netuid, database)


def validator(
    hotkey: Hotkey,
    from_block: FromBlock = None,
    to_block: ToBlock = None,
    at_block: KnownAt = None,
    output_format: Format = StatementFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """A validator's dividends, and its vectors with what became of them. CSV has the dividends."""
    from ledger.queries.statements import payout_bookings, validator_statement

    def query(scope: Scope) -> tuple[Any, list[Booking], list[Price]]:
        _must_be_known(scope, hotkey)
        found = validator_statement(scope, hotkey, _within(scope, from_block, to_block))
        return found, *payout_bookings(scope, found.lines)

    title = f"validator {hotkey}"
    _write(
        query, tables.VALIDATOR, "lines", title, at_block, output_format, network, netuid, database
    )


def treasury(
    at_block: KnownAt = None,
    output_format: Format = StatementFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The treasury's flows, balances and closings; as a journal, every entry of its books.

    CSV has the flows by account and period.
    """
    from ledger.queries.statements import treasury_bookings, treasury_statement

    def query(scope: Scope) -> tuple[Any, list[Booking], list[Price]]:
        if output_format in (StatementFormat.BEANCOUNT, StatementFormat.HLEDGER):
            return None, treasury_bookings(scope), []
        return treasury_statement(scope), [], []

    _write(
        query,
        tables.TREASURY,
        "flows",
        "treasury",
        at_block,
        output_format,
        network,
        netuid,
        database,
    )


def _miner(
    address: str,
    by: By,
    from_block: int | None,
    to_block: int | None,
    at_block: int | None,
    output_format: StatementFormat,
    network: str | None,
    netuid: int | None,
    database: str | None,
) -> None:
    from ledger.queries.statements import miner_statement, payout_bookings

    def query(scope: Scope) -> tuple[Any, list[Booking], list[Price]]:
        _must_be_known(scope, address)
        found = miner_statement(scope, address, _within(scope, from_block, to_block))
        return found, *payout_bookings(scope, found.lines)

    layout = tables.MINER if by is By.EPOCH else tables.MINER[:2]
    rows = "lines" if by is By.EPOCH else "periods"
    title = f"payouts {address}"
    _write(query, layout, rows, title, at_block, output_format, network, netuid, database)


def _page(
    scope: Scope,
    window: Window,
    address: str,
    by: By,
    from_block: int | None,
    to_block: int | None,
) -> msgspec.Struct:
    from api import reads

    within = None
    if from_block is not None or to_block is not None:
        within = _within(scope, from_block, to_block)
    return reads.payouts(scope, window, address, by=by.value, within=within)


def _within(scope: Scope, from_block: int | None, to_block: int | None) -> tuple[int, int]:
    """After the first, up to and with the second."""
    start = -1 if from_block is None else from_block - 1
    end = scope.block if to_block is None else min(to_block, scope.block)
    if end < start:
        msg = f"no block lies from {from_block} to {end}, the last one that is asked about"
        raise typer.BadParameter(msg, param_hint="'--from-block'")
    return start, end


def _must_be_known(scope: Scope, address: str) -> None:
    from api.addresses import require_known
    from ledger.addresses import require_ss58

    require_ss58(address)
    require_known(scope, address)


def _write(
    query: Any,
    layout: Layout,
    rows: str,
    title: str,
    at_block: int | None,
    output_format: StatementFormat,
    network: str | None,
    netuid: int | None,
    database: str | None,
) -> None:
    """Ask, and write the answer in its format; ``rows`` is the list of it that CSV has."""
    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        found, bookings, prices = query(scope)
        title = f"{scope.head.network}/{scope.head.netuid} {title} up to block {scope.block}"
    if output_format in (StatementFormat.TABLE, StatementFormat.JSON):
        show(found, layout, OutputFormat(output_format.value))
        return
    _to_stdout(_pieces(output_format, found, rows, title, bookings, prices))


def _pieces(
    output_format: StatementFormat,
    found: Any,
    rows: str,
    title: str,
    bookings: Sequence[Booking],
    prices: Sequence[Price],
) -> Iterable[str]:
    from ledger.books.csv_text import csv_lines
    from ledger.books.plain_text import beancount_journal, hledger_journal

    if output_format is StatementFormat.BEANCOUNT:
        return beancount_journal(title, bookings, prices)
    if output_format is StatementFormat.HLEDGER:
        return hledger_journal(title, bookings, prices)
    import msgspec

    from ledger.queries.payout_sums import PayoutPeriod
    from ledger.queries.payouts import PayoutLine
    from ledger.queries.statements import FlowLine

    kinds = {"lines": PayoutLine, "periods": PayoutPeriod, "flows": FlowLine}
    names: tuple[str, ...] = kinds[rows].__struct_fields__
    return csv_lines(names, [msgspec.structs.asdict(row) for row in getattr(found, rows)])


def _to_stdout(pieces: Iterable[str]) -> None:
    sys.stdout.flush()
    for piece in pieces:
        # Always UTF-8, whatever the terminal's: these are files for other programs.
        sys.stdout.buffer.write(piece.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()
