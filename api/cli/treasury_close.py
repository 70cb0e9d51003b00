"""`treasury close | periods | costs`: what a period came to, and what machines cost whom."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.asking import ask
from api.cli.cells import Kind
from api.cli.options import (
    Actor,
    ArchiveNode,
    AtBlock,
    Database,
    DryRun,
    Format,
    Limit,
    Netuid,
    Network,
    Offset,
    OptionalNodeUrls,
    OutputFormat,
    TimeoutS,
)
from api.cli.output import Column, Layout, Rows, Section, show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT, MAX_BLOCK

if TYPE_CHECKING:
    from ledger.application import Ledger
    from ledger.queries.periods import PeriodLine
    from ledger.queries.scope import Scope

DEFAULT_TIMEOUT_S: Final = 30.0

KnownAt = Annotated[
    int | None,
    typer.Option(
        min=0, max=MAX_BLOCK, help="As the log had it at this block; all of it by default."
    ),
]


def register(commands: typer.Typer) -> None:
    """Add them to the `treasury` commands."""
    commands.command("close")(close)
    commands.command("periods")(periods)
    commands.command("costs")(costs)


def close(
    to_block: Annotated[
        int, typer.Option(min=0, max=MAX_BLOCK, help="The last block of the period.")
    ],
    actor: Actor,
    node: OptionalNodeUrls = None,
    archive_node: ArchiveNode = None,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    dry_run: DryRun = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Close a period: fees pay for rental first, and what is left is proposed for a buyback.

    With a node the treasury's finalized balances at that block are recorded first. A period that
    is closed stays as it is: what is recorded of it later shows in the open one.
    """
    from ledger.commands.treasury import close_period
    from ledger.queries.periods import closing_at, line_of, periods

    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        ledger = services.ledger(settings.network, settings.netuid)
        with services.at(settings.network, settings.netuid) as scope:
            known = next((one for one in periods(scope) if one.to_block == to_block), None)
            if known is None:
                closing_at(scope, to_block)  # refused before anything is observed for it
        if known is not None:
            _answer(output_format, known, (), "was closed already")
            return
        seen, unknown = _observe(
            ledger, node, archive_node, timeout_s, to_block, record=not dry_run
        )
        with services.at(settings.network, settings.netuid) as scope:
            found = closing_at(scope, to_block, closing_rao=seen)
        warnings = (*unknown, *found.warnings)
        new = not dry_run and close_period(ledger, found, actor)
        how = "is closed" if new else "was closed already"
        if dry_run:
            how = "would be closed so; nothing was recorded"
        line = line_of(found, actor, ledger.head().effective_block)
        _answer(output_format, line, warnings, how, dry_run=dry_run, new=new)


def periods(
    known_at: KnownAt = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The closed periods, with the figures that each closing froze."""
    from api import books, reads

    window = reads.Window(limit, offset)

    def query(scope: Scope) -> Any:
        return books.periods(scope, window)

    ask(query, PERIODS, known_at, output_format, network, netuid, database)


def costs(
    contest: Annotated[
        str | None, typer.Option(help="One contest, with all its attempts; its UUID.")
    ] = None,
    submission: Annotated[
        str | None, typer.Option(help="One submission: its fee against its cost; its UUID.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """What each contest cost on rented machines, and which submission bears how much of it."""
    from api import books, reads

    if contest is not None and submission is not None:
        msg = "--contest and --submission are one question each: ask one"
        raise typer.BadParameter(msg)
    window = reads.Window(limit, offset)
    query: Callable[[Scope], Any]
    if contest is not None:
        query, layout = (lambda scope: books.contest_costs(scope, contest)), CONTEST_COSTS
    elif submission is not None:
        query, layout = (
            (lambda scope: books.submission_costs(scope, submission)),
            SUBMISSION_COSTS,
        )
    else:
        query, layout = (lambda scope: books.costs(scope, window)), COSTS
    ask(query, layout, at_block, output_format, network, netuid, database)


# -- tables ---------------------------------------------------------------------------------------


_FIGURES: Final = (
    Column("period", "number", Kind.NUMBER),
    Column("after", "from_block", Kind.NUMBER),
    Column("up to", "to_block", Kind.NUMBER),
    Column("fees TAO", "fees_rao", Kind.TAO),
    Column("of it late", "late_fees_rao", Kind.TAO),
    Column("rental USD", "rental_due_usd_micros", Kind.USD),
    Column("of it late", "late_rental_usd_micros", Kind.USD),
    Column("USD per TAO", "price_usd_micros_per_tao", Kind.USD),
    Column("by", "price_source"),
    Column("rental TAO", "rental_due_rao", Kind.TAO),
    Column("carried in", "carried_in_rao", Kind.TAO),
    Column("surplus", "surplus_rao", Kind.TAO),
    Column("deficit", "deficit_rao", Kind.TAO),
    Column("reserve", "reserve_rao", Kind.TAO),
    Column("proposed buyback", "proposed_buyback_rao", Kind.TAO),
    Column("status", "status"),
)

PERIODS: Final[Layout] = (Section("Closed periods: rental first", _FIGURES),)

CLOSING: Final[Layout] = (
    Section("The period: rental first", _FIGURES, lambda data: [data["period"]]),
)


def _arms(attempts: Rows) -> Rows:
    return [
        {**arm, "seed_block": one["seed_block"], "attempt": one["attempt"], "basis": one["basis"]}
        for one in attempts
        for arm in one["arms"]
    ]


_ATTEMPTS: Final = (
    Column("seed block", "seed_block", Kind.NUMBER),
    Column("attempt", "attempt", Kind.NUMBER),
    Column("status", "status"),
    Column("seconds", "seconds", Kind.NUMBER),
    Column("cost", "usd_micros", Kind.USD),
    Column("parted by", "basis"),
    Column("contest", "contest_id", Kind.ID),
)

COSTS: Final[Layout] = (
    Section(
        "Costs of contests (USD)",
        _ATTEMPTS,
        lambda data: data["contests"]["items"],
    ),
    Section(
        "Used by none (USD)",
        (Column("cost", "unused_usd_micros", Kind.USD),),
        lambda data: [data],
    ),
)

CONTEST_COSTS: Final[Layout] = (
    Section("The attempts (USD)", _ATTEMPTS, lambda data: data["attempts"]),
    Section(
        "What each image bears (USD)",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("role", "role"),
            Column("hotkey", "hotkey", Kind.ID),
            Column("GPU ms", "gpu_ms", Kind.NUMBER),
            Column("cost", "usd_micros", Kind.USD),
            Column("parted by", "basis"),
            Column("submission", "submission_id", Kind.ID),
        ),
        lambda data: _arms(data["attempts"]),
    ),
    Section("In all (USD)", (Column("cost", "usd_micros", Kind.USD),), lambda data: [data]),
)


def _fee(data: Mapping[str, Any]) -> Rows:
    own = data["submission"]
    stated = own["price"] or {"usd_micros_per_tao": None, "source": None}
    return [{**own, **stated}]


SUBMISSION_COSTS: Final[Layout] = (
    Section(
        "Fee against cost",
        (
            Column("hotkey", "hotkey", Kind.ID),
            Column("fee TAO", "fee_rao", Kind.TAO),
            Column("credited", "credited"),
            Column("USD per TAO", "usd_micros_per_tao", Kind.USD),
            Column("by", "source"),
            Column("price of", "price_of"),
            Column("fee USD", "fee_usd_micros", Kind.USD),
            Column("cost USD", "cost_usd_micros", Kind.USD),
            Column("fee less cost", "margin_usd_micros", Kind.USD),
        ),
        _fee,
    ),
    Section(
        "Its contests (USD)",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("status", "status"),
            Column("as", "role"),
            Column("GPU ms", "gpu_ms", Kind.NUMBER),
            Column("its part", "usd_micros", Kind.USD),
            Column("parted by", "basis"),
            Column("contest", "contest_id", Kind.ID),
        ),
        lambda data: data["submission"]["parts"],
    ),
)


# -- inside ---------------------------------------------------------------------------------------


def _observe(
    ledger: Ledger,
    node: list[str] | None,
    archive: str | None,
    timeout_s: float,
    block: int,
    *,
    record: bool,
) -> tuple[int | None, tuple[str, ...]]:
    """The treasury's TAO at the block by a node, if one is named, and what stays unknown."""
    if not node:
        return None, ()
    from api import chains
    from chain.balances import balances_at, observe_balances_at

    genesis = ledger.arena.genesis
    with chains.reading(node, timeout_s, archive=archive, genesis=genesis) as chain:
        if record:
            return None, observe_balances_at(chain, ledger, block)  # the log has them now
        known, unknown = balances_at(chain, ledger, block)
    return next((amount for asset, _, amount, _ in known if asset == "TAO"), None), unknown


def _answer(
    output_format: OutputFormat,
    period: PeriodLine,
    warnings: tuple[str, ...],
    how: str,
    *,
    dry_run: bool = False,
    new: bool = False,
) -> None:
    """The figures and what to do with them; warnings to stderr, or all of it as JSON."""
    plan = _plan_of(period)
    content = {
        "dry_run": dry_run,
        "new": new,
        "period": period,
        "warnings": warnings,
        "plan": plan,
    }
    show(content, CLOSING, output_format)
    if output_format is OutputFormat.JSON:
        return
    sys.stdout.write(f"period {period.number} {how}\n")
    if plan is not None:
        sys.stdout.write(f"plan the buyback that is proposed by: {plan}\n")
    for warning in warnings:
        sys.stderr.write(f"{warning}\n")


def _plan_of(period: PeriodLine) -> str | None:
    """The command that plans what is proposed; None where nothing is, or that is not known."""
    from ledger.units import decimal_text

    if not period.proposed_buyback_rao:
        return None
    amount = decimal_text(period.proposed_buyback_rao, "TAO").replace(",", "")
    request = f"period-{period.number}"
    return (
        f"cacheon-ledger treasury buyback --max-tao {amount} --max-slippage PERCENT "
        f"--request {request}"
    )
